"""The session: an opened, verified engine. Arrays in, arrays out."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from tamis._base import InputMismatchError, UsageError
from tamis.bundle import BATCH, Bundle, contiguous
from tamis.engines.chunking import LARGEST, choose_chunk, choose_request, in_chunks
from tamis.engines.engine import Arrays, Engine, Options, Remote, Runner, find_engine
from tamis.engines.gate import pass_gate

DEFAULT_ENGINE = "auto"  # what the plan of the bundle says for this host, else ONNX Runtime
SHAPES_KNOWN = 256


def open(  # noqa: A001 - tamis.open is the front door
    bundle: str | Path | Bundle,
    engine: str = DEFAULT_ENGINE,
    *,
    threads: int = 1,
    chunk: int | None = None,
    remote: Remote | None = None,
) -> Session:
    """Open a bundle (a path, or the name of a shipped one) on an engine: load, verify, warm up.

    `auto` follows the plan that `tamis tune` has put into the bundle for this host, or takes onnxruntime.
    """
    if not isinstance(bundle, Bundle):
        bundle = Bundle.open(bundle)
    return Session(bundle, find_engine(engine), Options(threads=threads, chunk=chunk, remote=remote))


class Session:
    """A model on an engine that has passed the gate. Safe to call from several threads."""

    def __init__(self, bundle: Bundle, engine: Engine, options: Options, *, verify: bool = True) -> None:
        """Load and pass the gate; only measuring how far an engine is off may leave the gate open."""
        self.bundle, self.engine, self.options = bundle, engine, options
        self.signature = bundle.manifest.signature
        self.verified = False
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._runner: Runner | None = engine.open(bundle, options)
        self._turn = None if self._runner.thread_safe else threading.Lock()
        self._chunk = self.signature.fixed_batch or options.chunk or _chunk(bundle, engine)
        self._names = [spec.name for spec in self.signature.outputs]
        self._score = self._names.index(bundle.manifest.score) if bundle.manifest.score else None
        self._dtypes = [np.dtype(spec.dtype) for spec in self.signature.inputs]
        mends = bundle.manifest.nan == "propagate" and engine.computes
        self._watched = [i for i, dtype in enumerate(self._dtypes) if mends and dtype.kind == "f"]
        self._known: set[tuple[tuple[int, ...], ...]] = set()
        if verify and engine.computes:
            try:
                pass_gate(bundle, engine, self._execute)
            except BaseException:
                self.close()
                raise
            self.verified = True

    def __call__(self, *arrays: np.ndarray, **named: np.ndarray) -> np.ndarray:
        """Return the score of every event."""
        if self._score is None:
            raise UsageError(
                f"the bundle {self.bundle.name} names no score; call session.run(...) for all outputs "
                f"({', '.join(self._names)}), or pack it with --score"
            )
        return self._outputs(arrays, named)[self._score]

    def run(self, *arrays: np.ndarray, **named: np.ndarray) -> dict[str, np.ndarray]:
        """Return every output by name."""
        return dict(zip(self._names, self._outputs(arrays, named), strict=True))

    def submit(self, *arrays: np.ndarray, **named: np.ndarray) -> Future[dict[str, np.ndarray]]:
        """Begin what `run` does, and return at once; `result()` waits. The arrays are not to be changed until then.

        Servers have `Remote.in_flight` calls to do at a time, other engines one; further ones wait for their turn.
        """
        runner = self._live()
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(runner.in_flight, thread_name_prefix="tamis-call")
            return self._pool.submit(self.run, *arrays, **named)

    async def run_async(self, *arrays: np.ndarray, **named: np.ndarray) -> dict[str, np.ndarray]:
        """Return every output by name, without keeping the event loop from other things."""
        import asyncio  # whoever awaits has loaded it

        return await asyncio.wrap_future(self.submit(*arrays, **named))

    def bind(self, *arrays: np.ndarray, **named: np.ndarray) -> Callable[[], Arrays]:
        """Return a call on these very buffers, for loops that fill them again and again.

        Outputs are overwritten by the next call, and nothing is checked any more: keep shapes, mind NaN yourself.
        """
        ordered = self._checked(arrays, named)
        given = [*arrays, *named.values()]
        if not all(any(one is other for other in given) for one in ordered):
            raise InputMismatchError(
                "a buffer to bind has to be contiguous, or what is filled in later would not be seen: "
                "pass numpy.ascontiguousarray(...) and fill that"
            )
        return self._bound(ordered)

    def plain(self, *arrays: np.ndarray) -> Callable[[], Arrays]:
        """Return a call of the engine alone, on all events at once: what a plain loop over its library would measure.

        Nothing is checked, nothing is cut into chunks, and NaN is what the engine makes of it.
        """
        ordered, run = self._checked(arrays, {}), self._live().run
        return partial(run if self._turn is None else self._one_at_a_time, ordered)

    def _bound(self, arrays: Arrays) -> Callable[[], Arrays]:
        runner, chunk = self._live(), self._chunk
        results = [np.array(output, copy=True) for output in self._execute(arrays)]
        if self.signature.rows == "none" or 0 < len(arrays[0]) <= chunk:
            calls = [runner.bind(arrays, results)]
        else:
            pieces = [slice(start, start + chunk) for start in range(0, len(arrays[0]), chunk)]
            calls = [runner.bind([a[p] for a in arrays], [r[p] for r in results]) for p in pieces]
        if self._turn is None:
            return _in_turn(calls, results, arrays)
        lock, every = self._turn, _in_turn(calls, results, arrays)

        def alone() -> Arrays:
            with lock:
                return every()

        return alone

    @property
    def explanation(self) -> str:
        """Return which engine does it, and why."""
        return self._live().explanation or f"{self.engine.name}: it was asked for"

    @property
    def computed_by(self) -> str:
        """Return the engine and its version, as records and files keep them; of `auto`, those that it goes to."""
        return self._live().computed_by or f"{self.engine.name} {self.engine.version()}"

    @property
    def chunk(self) -> int:
        """Return how many events go through the engine at once."""
        return self._chunk

    @property
    def pays(self) -> int:
        """Return up to how many events it pays to bring together: beyond that an engine goes through them in pieces."""
        return self.signature.fixed_batch or min(self._chunk, choose_chunk(self.bundle.manifest))

    def close(self) -> None:
        """Give back what the engine holds; a closed session says so when it is called."""
        with self._lock:
            runner, self._runner = self._runner, None
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        if runner is not None:
            runner.close()

    def __enter__(self) -> Self:
        """Return the session itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        self.close()

    def _live(self) -> Runner:
        runner = self._runner
        if runner is None:
            raise UsageError(f"this session on {self.bundle.name} is closed; open the bundle again")
        return runner

    def _outputs(self, arrays: tuple[np.ndarray, ...], named: Mapping[str, np.ndarray]) -> Arrays:
        """Check what came in, run it, and let NaN come through; shapes that were checked before take the short way."""
        if named or not self._familiar(arrays):
            checked = self._checked(arrays, named)
            outputs = self._execute(checked)
            self._remember(checked)
        else:
            checked, outputs = arrays, self._live().run(arrays)
        for index in self._watched:
            if checked[index].size and _holds_nan(checked[index]):
                outputs = self._propagate(checked[index], outputs)
        return outputs

    def _familiar(self, arrays: tuple[np.ndarray, ...]) -> bool:
        """Tell in about a microsecond whether arrays can go in as they are, in one piece."""
        if len(arrays) == 1:
            array = arrays[0]
            return (
                type(array) is np.ndarray
                and (array.shape,) in self._known
                and array.dtype == self._dtypes[0]
                and array.flags.c_contiguous
            )
        if any(type(array) is not np.ndarray for array in arrays):
            return False
        if tuple([array.shape for array in arrays]) not in self._known:
            return False
        pairs = zip(arrays, self._dtypes, strict=True)
        return all(array.dtype == dtype and array.flags.c_contiguous for array, dtype in pairs)

    def _remember(self, checked: Arrays) -> None:
        """Note shapes that were found to fit, where the engine takes them at once and lets threads in together."""
        whole = self.signature.rows == "none" or 0 < len(checked[0]) <= self._chunk
        if whole and self._turn is None:
            if len(self._known) >= SHAPES_KNOWN:
                self._known.clear()
            self._known.add(tuple(array.shape for array in checked))

    def _checked(self, arrays: tuple[np.ndarray, ...], named: Mapping[str, np.ndarray]) -> Arrays:
        """Match arrays to inputs, check them, and lay them out contiguously."""
        specs = self.signature.inputs
        if len(arrays) + len(named) != len(specs):
            raise InputMismatchError(
                f"{len(arrays) + len(named)} arrays were given, the bundle {self.bundle.name} takes "
                f"{len(specs)}: {self.signature.describe_inputs()}"
            )
        given = {spec.name: array for spec, array in zip(specs, arrays, strict=False)} | dict(named)
        for name, array in given.items():
            if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
                hint = " (fill what is masked first)" if isinstance(array, np.ma.MaskedArray) else ""
                raise InputMismatchError(
                    f"the input {name!r} is a {type(array).__name__}; pass a numpy array{hint}"
                )
        self.signature.sizes(given)
        return [contiguous(given[spec.name]) for spec in specs]

    def _propagate(self, array: np.ndarray, outputs: Arrays) -> Arrays:
        """Make an event with a NaN in its input NaN in every output: kernels drop NaNs in maxima and comparisons."""
        bad = np.isnan(array)
        marked = [np.array(output, copy=True) for output in outputs]
        rows = bad.reshape(len(array), -1).any(axis=1) if self.signature.rows != "none" else ...
        for output in marked:
            if output.dtype.kind == "f":
                output[rows] = np.nan
        return marked

    def _execute(self, arrays: Arrays) -> Arrays:
        runner = self._live()
        run = runner.run if self._turn is None else self._one_at_a_time
        if self.signature.rows == "none":
            return run(arrays)
        events = len(arrays[0])
        if events == 0:
            return self._empty(arrays)
        if events > self._chunk:
            return in_chunks(run, arrays, self._chunk)
        return run(arrays)

    def _one_at_a_time(self, arrays: Arrays) -> Arrays:
        with self._turn or contextlib.nullcontext():
            return self._live().run(arrays)

    def _empty(self, arrays: Arrays) -> Arrays:
        """Answer no events with no results, of the shapes that the golden outputs have."""
        sizes = self.signature.sizes({s.name: a for s, a in zip(self.signature.inputs, arrays, strict=True)})
        sizes.pop(BATCH, None)
        golden = self.bundle.golden.outputs
        outputs = []
        for spec in self.signature.outputs:
            inner = [
                d if isinstance(d, int) else sizes.get(d, size)
                for d, size in zip(spec.shape[1:], golden[spec.name].shape[1:], strict=True)
            ]
            outputs.append(np.zeros((0, *inner), spec.dtype))
        return outputs


def _chunk(bundle: Bundle, engine: Engine) -> int:
    if engine.cuts_batches:
        return LARGEST
    return choose_chunk(bundle.manifest) if engine.here else choose_request(bundle.manifest.signature)


def _in_turn(calls: list[Callable[[], object]], results: Arrays, kept: Arrays) -> Callable[[], Arrays]:
    """Return one call for all: tens of nanoseconds each. The call keeps the arrays alive that are bound."""
    if len(calls) == 1:
        (only,) = calls

        def call(_kept: Arrays = kept) -> Arrays:
            only()
            return results

        return call

    def call_each(_kept: Arrays = kept) -> Arrays:
        for each in calls:
            each()
        return results

    return call_each


def _holds_nan(array: np.ndarray) -> bool:
    """Tell whether any number is NaN: `argmax` points at the first one, and is a third of the cost of a reduction."""
    largest = array.item(array.argmax())
    return bool(largest != largest)
