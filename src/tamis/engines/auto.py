"""The engine `auto`, and the plan of a bundle for a host: the engine for each batch size, by measurement.

It follows the bundle's plan for this host; without a plan it uses ONNX Runtime.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

from tamis._base import DataError, Host, TamisError, host_facts, parse_document
from tamis.bundle import Bundle, Signature
from tamis.engines.chunking import choose_chunk, in_chunks
from tamis.engines.engine import Arrays, Engine, Options, Runner, find_engine
from tamis.engines.gate import pass_gate
from tamis.records import EnginePlan

UNPLANNED_ENGINE = "onnxruntime"  # runs every model, needs no compiler


def fingerprint(host: Host | None = None) -> str:
    """Return a 12-digit hash of the host's processor, instruction sets and cache size: what a plan depends on."""
    facts = host or host_facts()
    parts = (facts.cpu, *sorted(facts.instruction_sets), str(facts.largest_cache_bytes))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:12]


def plan_name(host: Host | None = None) -> str:
    """Return the file name of a host's plan in a bundle."""
    return f"plan-{fingerprint(host)}.json"


def read_plan(bundle: Bundle) -> EnginePlan | None:
    """Return the plan for this host, or None if the bundle has none or its model has changed since."""
    name = plan_name()
    if name not in bundle.manifest.files:
        return None
    plan = parse_document(bundle.text(name), EnginePlan, f"{bundle.path / name}")
    if not plan.choices:
        raise DataError(f"{bundle.path / name}: field choices is empty; run `tamis tune` again")
    return plan if plan.model == bundle.manifest.files["model.onnx"].sha256 else None


def other_plans(bundle: Bundle) -> list[str]:
    """Return the file names of the plans for other hosts in a bundle."""
    return [name for name in bundle.manifest.files if name.startswith("plan-") and name != plan_name()]


class AutoEngine(Engine):
    """Runs each batch size on the engine that was measured to be fastest for it here; each one passes the gate."""

    name = "auto"
    library = "tamis"
    cuts_batches = True

    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Load a model without a bundle, hence without a plan."""
        return find_engine(UNPLANNED_ENGINE).load(model, signature, options)

    def open(self, bundle: Bundle, options: Options) -> Runner:
        """Open every engine of the plan."""
        plan = read_plan(bundle)
        chunk = bundle.manifest.signature.fixed_batch or options.chunk
        if plan is None:
            others = other_plans(bundle)
            elsewhere = f"; it has plans for other hosts ({', '.join(others)})" if others else ""
            why = f"{UNPLANNED_ENGINE}: {bundle.name} has no plan for this host{elsewhere}; `tamis tune` makes one"
            engine = find_engine(UNPLANNED_ENGINE).open(bundle, options)
            runner = _chunked(bundle, engine, chunk or choose_chunk(bundle.manifest))
            runner.explanation, runner.engines = why, (UNPLANNED_ENGINE,)
            return runner
        return _PlannedEngines(bundle, plan, options, chunk).runner()


def _open(bundle: Bundle, name: str, options: Options) -> Runner:
    """Open an engine that passes the gate."""
    engine = find_engine(name)
    engine.prepare()
    runner = engine.open(bundle, options)
    signature = bundle.manifest.signature
    takes_any_batch = engine.cuts_batches or signature.rows == "none"
    chunk = None if takes_any_batch else signature.fixed_batch or choose_chunk(bundle.manifest)
    pass_gate(bundle, engine, lambda arrays: _run_chunked(runner, arrays, chunk))
    return runner


def _run_chunked(runner: Runner, arrays: Arrays, chunk: int | None) -> Arrays:
    if chunk is None or len(arrays[0]) <= chunk:
        return runner.run(arrays)
    return in_chunks(runner.run, arrays, chunk)


def _chunked(bundle: Bundle, runner: Runner, chunk: int | None) -> Runner:
    """Return the runner, wrapped to split batches into chunks where the model has events as rows."""
    return runner if chunk is None or bundle.manifest.signature.rows == "none" else _Chunked(runner, chunk)


class _Chunked(Runner):
    """A runner that splits batches into chunks for another one."""

    def __init__(self, runner: Runner, chunk: int) -> None:
        self._runner, self._chunk = runner, chunk
        self.thread_safe = runner.thread_safe
        super().__init__(self._run)

    def _run(self, arrays: Arrays) -> Arrays:
        return _run_chunked(self._runner, arrays, self._chunk)

    def bind(self, arrays: Arrays, results: Arrays) -> Callable[[], object]:
        """Bind each chunk."""
        events, chunk = len(arrays[0]), self._chunk
        if events <= chunk:
            return self._runner.bind(arrays, results)
        starts = range(0, events, chunk)
        calls = [
            self._runner.bind([a[i : i + chunk] for a in arrays], [r[i : i + chunk] for r in results])
            for i in starts
        ]

        def call() -> None:
            for call_chunk in calls:
                call_chunk()

        return call

    def close(self) -> None:
        """Close the engine."""
        self._runner.close()


class _OpenedChoice(NamedTuple):
    """The engine that runs a batch size."""

    engine: str
    runner: Runner
    chunk: int | None
    why: str


class _PlannedEngines:
    """The engines of a plan that can be opened here."""

    def __init__(self, bundle: Bundle, plan: EnginePlan, options: Options, chunk: int | None) -> None:
        self._bundle, self._plan = bundle, plan
        self._options = replace(options, dims={**plan.dims, **options.dims})
        self._opened: dict[str, Runner | str] = {}
        batches = [choice.batch for choice in plan.choices]
        opened = [self._open_choice(index) for index in range(len(batches))]
        self._runners = [_chunked(bundle, choice.runner, chunk or choice.chunk) for choice in opened]
        engines = [name for choice in opened for name in choice.runner.engines or (choice.engine,)]
        self._engines = tuple(dict.fromkeys(engines))
        # A batch size between two measured ones goes with the nearer one on a logarithmic scale.
        self._bounds = [sqrt(low * high) for low, high in pairwise(batches)]
        self._why = "\n".join(f"{batch}: {choice.why}" for batch, choice in zip(batches, opened, strict=True))
        fixed = dict.fromkeys(choice.runner.fixed_sizes for choice in opened)
        self._fixed_sizes = "\n".join(filter(None, fixed))

    def _open_choice(self, index: int) -> _OpenedChoice:
        """Open the engine of a choice, or the next fastest one that can be opened."""
        choice = self._plan.choices[index]
        candidates = [(choice.engine, choice.chunk)]
        candidates += [(entry.engine, entry.chunk) for entry in self._plan.ranked(choice.batch)]
        failed = ""
        for name, chunk in [*dict.fromkeys(candidates), (UNPLANNED_ENGINE, None)]:
            runner = self._runner(name)
            if isinstance(runner, Runner):
                why = f"{name}, since {failed}" if failed else f"{name}: {choice.why}"
                return _OpenedChoice(name, runner, chunk, why)
            failed = failed or f"{name} cannot be opened here ({runner})"
        raise TamisError(f"no engine of the plan of {self._bundle.name} can be opened: {failed}")

    def _runner(self, name: str) -> Runner | str:
        """Return an opened engine, or the reason why it cannot be opened."""
        runner = self._opened.get(name)
        if runner is None:
            try:
                runner = _open(self._bundle, name, self._options)
            except TamisError as error:
                runner = str(error)
            self._opened[name] = runner
        return runner

    def runner(self) -> Runner:
        """Return a runner that dispatches by batch size, or the engine itself if it runs all sizes."""
        first = self._runners[0]
        is_single = all(runner is first for runner in self._runners)
        runner = first if is_single else _ByBatchSize(self._runners, self._bounds)
        runner.explanation, runner.engines = self._why, self._engines
        runner.fixed_sizes = self._fixed_sizes
        return runner


class _ByBatchSize(Runner):
    """Runners of several engines, chosen by batch size."""

    def __init__(self, runners: Sequence[Runner], bounds: Sequence[float]) -> None:
        self._runners, self._bounds = runners, bounds
        self.thread_safe = all(runner.thread_safe for runner in runners)
        super().__init__(self._run)

    def _for(self, events: int) -> Runner:
        return self._runners[bisect_right(self._bounds, events)]

    def _run(self, arrays: Arrays) -> Arrays:
        return self._for(len(arrays[0])).run(arrays)

    def bind(self, arrays: Arrays, results: Arrays) -> Callable[[], object]:
        """Bind on the engine for this batch size."""
        return self._for(len(arrays[0])).bind(arrays, results)

    def close(self) -> None:
        """Close all engines."""
        for runner in dict.fromkeys(self._runners):
            runner.close()
