"""The engine `auto`: follows the bundle's plan for this host, or goes by what is sound without one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

from tamis._base import TamisError
from tamis.bundle import Bundle, Signature
from tamis.engines.chunking import choose_chunk, in_chunks
from tamis.engines.engine import Arrays, Engine, Options, Runner, find_engine
from tamis.engines.gate import pass_gate
from tamis.engines.plan import other_plans, read_plan
from tamis.records import EnginePlan

SOUND = "onnxruntime"  # runs every model, needs no compiler


class AutoEngine(Engine):
    """Each batch size goes to the engine that was measured to be the fastest for it here; every one of them passes the gate."""

    name = "auto"
    cuts_batches = True

    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Load a model that has no bundle, and so no plan."""
        return find_engine(SOUND).load(model, signature, options)

    def open(self, bundle: Bundle, options: Options) -> Runner:
        """Open every engine of the plan."""
        plan = read_plan(bundle)
        chunk = bundle.manifest.signature.fixed_batch or options.chunk
        if plan is None:
            others = other_plans(bundle)
            there = f"; those it has are for other hosts ({', '.join(others)})" if others else ""
            why = f"{SOUND}: {bundle.name} has no plan for this host{there}; `tamis tune` makes one"
            runner = find_engine(SOUND).open(bundle, options)
            found = _whole(bundle, runner, chunk or choose_chunk(bundle.manifest))
            found.explanation, found.computed_by = why, _told(SOUND)
            return found
        return _Planned(bundle, plan, options, chunk).runner()

    @classmethod
    def version(cls) -> str:
        """Return our own version."""
        from tamis._base import library_versions

        return library_versions(("tamis",)).get("tamis", "")


def _open(bundle: Bundle, name: str, options: Options) -> Runner:
    """Open an engine, and let it show what it computes."""
    engine = find_engine(name)
    engine.prepare()
    runner = engine.open(bundle, options)
    signature = bundle.manifest.signature
    whole = engine.cuts_batches or signature.rows == "none"
    step = None if whole else signature.fixed_batch or choose_chunk(bundle.manifest)
    pass_gate(bundle, engine, lambda arrays: _pieces(runner, arrays, step))
    return runner


def _told(*names: str) -> str:
    return " and ".join(f"{name} {find_engine(name).version()}" for name in dict.fromkeys(names))


def _pieces(runner: Runner, arrays: Arrays, chunk: int | None) -> Arrays:
    if chunk is None or len(arrays[0]) <= chunk:
        return runner.run(arrays)
    return in_chunks(runner.run, arrays, chunk)


def _whole(bundle: Bundle, runner: Runner, chunk: int | None) -> Runner:
    """Return a runner of one engine: itself, or one that cuts batches into its pieces."""
    return runner if chunk is None or bundle.manifest.signature.rows == "none" else _Pieces(runner, chunk)


class _Pieces(Runner):
    """An engine that is given pieces."""

    def __init__(self, runner: Runner, chunk: int) -> None:
        self._runner, self._chunk = runner, chunk
        self.thread_safe = runner.thread_safe
        super().__init__(self._run)

    def _run(self, arrays: Arrays) -> Arrays:
        return _pieces(self._runner, arrays, self._chunk)

    def bind(self, arrays: Arrays, results: Arrays) -> Callable[[], object]:
        """Bind each piece."""
        events, chunk = len(arrays[0]), self._chunk
        if events <= chunk:
            return self._runner.bind(arrays, results)
        starts = range(0, events, chunk)
        calls = [
            self._runner.bind([a[i : i + chunk] for a in arrays], [r[i : i + chunk] for r in results])
            for i in starts
        ]

        def call() -> None:
            for one in calls:
                one()

        return call

    def close(self) -> None:
        """Close the engine."""
        self._runner.close()


class _Part(NamedTuple):
    """What does a batch size."""

    engine: str
    runner: Runner
    chunk: int | None
    why: str


class _Planned:
    """The engines of a plan, as far as they can be opened here."""

    def __init__(self, bundle: Bundle, plan: EnginePlan, options: Options, chunk: int | None) -> None:
        self._bundle, self._plan, self._options = bundle, plan, options
        self._opened: dict[str, Runner | str] = {}
        batches = [choice.batch for choice in plan.choices]
        parts = [self._of(place) for place in range(len(batches))]
        self._runners = [_whole(bundle, part.runner, chunk or part.chunk) for part in parts]
        self._computed_by = _told(*(part.engine for part in parts))
        # Between two sizes that were measured, the nearer one counts, as their logarithms have it.
        self._bounds = [sqrt(low * high) for low, high in pairwise(batches)]
        self._why = "\n".join(f"{batch}: {part.why}" for batch, part in zip(batches, parts, strict=True))

    def _of(self, place: int) -> _Part:
        """Return the engine that a choice names, or the next best that can be opened."""
        choice = self._plan.choices[place]
        wanted = [(choice.engine, choice.chunk)]
        wanted += [(one.engine, one.chunk) for one in self._plan.ranked(choice.batch)]
        failed = ""
        for name, chunk in [*dict.fromkeys(wanted), (SOUND, None)]:
            runner = self._runner(name)
            if isinstance(runner, Runner):
                why = f"{name}, since {failed}" if failed else f"{name}: {choice.why}"
                return _Part(name, runner, chunk, why)
            failed = failed or f"{name} cannot be opened here ({runner})"
        raise TamisError(f"no engine of the plan of {self._bundle.name} can be opened: {failed}")

    def _runner(self, name: str) -> Runner | str:
        found = self._opened.get(name)
        if found is None:
            try:
                found = _open(self._bundle, name, self._options)
            except TamisError as error:
                found = str(error)
            self._opened[name] = found
        return found

    def runner(self) -> Runner:
        """Return a runner by batch size: that of the one engine where it is only one."""
        first = self._runners[0]
        alone = all(one is first for one in self._runners)
        found = first if alone else _Several(self._runners, self._bounds)
        found.explanation, found.computed_by = self._why, self._computed_by
        return found


class _Several(Runner):
    """Engines by batch size."""

    def __init__(self, runners: Sequence[Runner], bounds: Sequence[float]) -> None:
        self._runners, self._bounds = runners, bounds
        self.thread_safe = all(one.thread_safe for one in runners)
        super().__init__(self._run)

    def _for(self, events: int) -> Runner:
        return self._runners[bisect_right(self._bounds, events)]

    def _run(self, arrays: Arrays) -> Arrays:
        return self._for(len(arrays[0])).run(arrays)

    def bind(self, arrays: Arrays, results: Arrays) -> Callable[[], object]:
        """Bind on the engine of that size."""
        return self._for(len(arrays[0])).bind(arrays, results)

    def close(self) -> None:
        """Close all of them."""
        for one in dict.fromkeys(self._runners):
            one.close()
