"""The session: an opened, verified engine. Arrays in, arrays out."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from tamis._base import InputMismatchError, UsageError
from tamis.bundle import BATCH, Bundle, contiguous
from tamis.engines.chunking import MAX_CHUNK, choose_chunk, choose_request, in_chunks
from tamis.engines.engine import Arrays, Engine, Options, Remote, Runner, find_engine
from tamis.engines.gate import pass_gate
from tamis.engines.ragged import run_ragged

DEFAULT_ENGINE = "auto"  # the bundle's plan for this host, else ONNX Runtime
MAX_CHECKED_SHAPES = 256


def open(  # noqa: A001 - tamis.open is the front door
    bundle: str | Path | Bundle,
    engine: str = DEFAULT_ENGINE,
    *,
    threads: int = 1,
    chunk: int | None = None,
    remote: Remote | None = None,
    dims: Mapping[str, Sequence[int]] | None = None,
) -> Session:
    """Open a bundle (a path, or the name of a shipped one) on an engine: load, verify, warm up.

    `auto` follows the plan for this host that `tamis tune` added to the bundle, or uses onnxruntime.
    """
    if not isinstance(bundle, Bundle):
        bundle = Bundle.open(bundle)
    return Session(
        bundle,
        find_engine(engine),
        Options(
            threads=threads,
            chunk=chunk,
            remote=remote,
            dims={name: tuple(sizes) for name, sizes in (dims or {}).items()},
        ),
    )


class Session:
    """A model on an engine that has passed the gate. Safe to call from several threads."""

    def __init__(self, bundle: Bundle, engine: Engine, options: Options, *, verify: bool = True) -> None:
        """Load the model and pass the gate; `verify=False` is only for measuring an engine's error."""
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
        self._input_names = {spec.name for spec in self.signature.inputs}
        self._dtypes = [np.dtype(spec.dtype) for spec in self.signature.inputs]
        propagates_nan = bundle.manifest.nan == "propagate" and engine.computes
        self._nan_inputs = [i for i, dtype in enumerate(self._dtypes) if propagates_nan and dtype.kind == "f"]
        self._checked_shapes: set[tuple[tuple[int, ...], ...]] = set()
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
                f"the bundle {self.bundle.name} has no score; call session.run(...) for all outputs "
                f"({', '.join(self._names)}), or pack it with --score"
            )
        return self._outputs(arrays, named)[self._score]

    def run(self, *arrays: np.ndarray, **named: np.ndarray) -> dict[str, np.ndarray]:
        """Return every output by name."""
        return dict(zip(self._names, self._outputs(arrays, named), strict=True))

    def run_ragged(
        self, offsets: np.ndarray | Mapping[str, np.ndarray], **named: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return every output of events of different numbers of particles, which follow one another in each input without padding.

        Event i has the particles from offsets[i] to below offsets[i + 1]; a model with several free dimensions takes offsets by name. Inputs and
        outputs with a free dimension have the shape of one event, with the particles of all events along it. An event without particles has NaN
        outputs.
        """
        return run_ragged(self.signature, self.run, offsets, named)

    def submit(self, *arrays: np.ndarray, **named: np.ndarray) -> Future[dict[str, np.ndarray]]:
        """Start `run` in a background thread and return a future. Do not change the arrays before it is done.

        The engine `remote` executes `Remote.in_flight` calls concurrently, other engines one; further calls are queued.
        """
        runner = self._live()
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(runner.in_flight, thread_name_prefix="tamis-call")
            return self._pool.submit(self.run, *arrays, **named)

    async def run_async(self, *arrays: np.ndarray, **named: np.ndarray) -> dict[str, np.ndarray]:
        """Return every output by name without blocking the event loop."""
        import asyncio  # already loaded where this is awaited

        return await asyncio.wrap_future(self.submit(*arrays, **named))

    def bind(self, *arrays: np.ndarray, **named: np.ndarray) -> Callable[[], Arrays]:
        """Return a call on fixed buffers, for loops that refill them.

        The next call overwrites the outputs. Later contents are not checked, and NaN is not propagated.
        """
        ordered = self._checked(arrays, named)
        buffers = [*arrays, *named.values()]
        if not all(any(array is buffer for buffer in buffers) for array in ordered):
            raise InputMismatchError(
                "a buffer to bind must be contiguous and aligned, since a copy would not see later values: "
                "allocate it with numpy.ascontiguousarray(...) and fill that"
            )
        return self._bound(ordered)

    def plain(self, *arrays: np.ndarray) -> Callable[[], Arrays]:
        """Return a call of the engine alone on all events, for measurements: what a loop over its library would cost.

        It neither checks inputs, nor splits batches, nor propagates NaN.
        """
        ordered, run = self._checked(arrays, {}), self._live().run
        return partial(run if self._turn is None else self._one_at_a_time, ordered)

    def _bound(self, arrays: Arrays) -> Callable[[], Arrays]:
        runner, chunk = self._live(), self._chunk
        results = [np.array(output, copy=True) for output in self._execute(arrays)]
        if self.signature.rows == "none" or 0 < len(arrays[0]) <= chunk:
            calls = [runner.bind(arrays, results)]
        else:
            chunks = [slice(start, start + chunk) for start in range(0, len(arrays[0]), chunk)]
            calls = [runner.bind([a[rows] for a in arrays], [r[rows] for r in results]) for rows in chunks]
        if self._turn is None:
            return _sequence(calls, results, arrays)
        lock, call_all = self._turn, _sequence(calls, results, arrays)

        def call_locked() -> Arrays:
            with lock:
                return call_all()

        return call_locked

    @property
    def explanation(self) -> str:
        """Return the engine that runs each batch size, and why."""
        runner = self._live()
        why = runner.explanation or f"{self.engine.name}: requested"
        return "\n".join(filter(None, (why, runner.fixed_sizes)))

    @property
    def engines(self) -> tuple[str, ...]:
        """Return the names of the engines that compute: for `auto`, those that it uses."""
        return self._live().engines or (self.engine.name,)

    @property
    def computed_by(self) -> str:
        """Return the engines that compute and their versions, as stored in records and files."""
        used = [self.engine if name == self.engine.name else find_engine(name) for name in self.engines]
        return " and ".join(f"{engine.name} {engine.version()}" for engine in used)

    @property
    def chunk(self) -> int:
        """Return the largest number of events per call of the engine."""
        return self._chunk

    @property
    def useful_batch(self) -> int:
        """Return the largest batch that is worth collecting; larger ones are split and gain nothing."""
        return self.signature.fixed_batch or min(self._chunk, choose_chunk(self.bundle.manifest))

    def close(self) -> None:
        """Release the resources of the engine; later calls raise UsageError."""
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
        """Check the inputs, run the engine and propagate NaN; the full check is skipped for known shapes."""
        if named and not arrays and named.keys() == self._input_names:
            arrays, named = tuple([named[spec.name] for spec in self.signature.inputs]), {}
        if named or not self._is_checked(arrays):
            checked = self._checked(arrays, named)
            outputs = self._execute(checked)
            in_one_call = self.signature.rows == "none" or 0 < len(checked[0]) <= self._chunk
            if in_one_call and self._turn is None:  # thread-safe: these shapes need no check again
                if len(self._checked_shapes) >= MAX_CHECKED_SHAPES:
                    self._checked_shapes.clear()
                self._checked_shapes.add(tuple(array.shape for array in checked))
        else:
            checked, outputs = arrays, self._live().run(arrays)
        for index in self._nan_inputs:
            array = checked[index]
            if array.size:
                # `argmax` returns the first NaN, at a third of the cost of a reduction
                largest = array.item(array.argmax())
                if largest != largest:
                    outputs = self._propagate(array, outputs)
        return outputs

    def _is_checked(self, arrays: tuple[np.ndarray, ...]) -> bool:
        """Return whether the arrays can be run as they are, in one call; takes about a microsecond."""
        if len(arrays) == 1:
            array = arrays[0]
            return (
                type(array) is np.ndarray
                and (array.shape,) in self._checked_shapes
                and array.dtype == self._dtypes[0]
                and (array.flags.carray or _is_plain(array))  # the first is true of most, and fast
            )
        if any(type(array) is not np.ndarray for array in arrays):
            return False
        if tuple([array.shape for array in arrays]) not in self._checked_shapes:
            return False
        pairs = zip(arrays, self._dtypes, strict=True)
        return all(
            array.dtype == dtype and (array.flags.carray or _is_plain(array)) for array, dtype in pairs
        )

    def _checked(self, arrays: tuple[np.ndarray, ...], named: Mapping[str, np.ndarray]) -> Arrays:
        """Match arrays to inputs, check them, and return them contiguous and in order."""
        specs = self.signature.inputs
        if len(arrays) + len(named) != len(specs):
            raise InputMismatchError(
                f"got {len(arrays) + len(named)} arrays, the bundle {self.bundle.name} takes "
                f"{len(specs)}: {self.signature.describe_inputs()}"
            )
        inputs = {spec.name: array for spec, array in zip(specs, arrays, strict=False)} | dict(named)
        for name, array in inputs.items():
            if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
                hint = " (fill masked values first)" if isinstance(array, np.ma.MaskedArray) else ""
                raise InputMismatchError(
                    f"the input {name!r} is a {type(array).__name__}; pass a numpy array{hint}"
                )
        self.signature.sizes(inputs)
        return [contiguous(inputs[spec.name]) for spec in specs]

    def _propagate(self, array: np.ndarray, outputs: Arrays) -> Arrays:
        """Set every output of an event with a NaN input to NaN: kernels lose NaN in maxima and comparisons."""
        is_nan = np.isnan(array)
        marked = [np.array(output, copy=True) for output in outputs]
        rows = is_nan.reshape(len(array), -1).any(axis=1) if self.signature.rows != "none" else ...
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
        """Return outputs for zero events; sizes of free dimensions are those of the golden outputs."""
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
        return MAX_CHUNK
    return choose_chunk(bundle.manifest) if engine.local else choose_request(bundle.manifest.signature)


def _sequence(calls: list[Callable[[], object]], results: Arrays, bound: Arrays) -> Callable[[], Arrays]:
    """Return a callable that runs `calls` in order (tens of ns each) and keeps the bound arrays alive."""
    if len(calls) == 1:
        (only,) = calls

        def call(_bound: Arrays = bound) -> Arrays:
            only()
            return results

        return call

    def call_each(_bound: Arrays = bound) -> Arrays:
        for each in calls:
            each()
        return results

    return call_each


def _is_plain(array: np.ndarray) -> bool:
    """Return whether an engine can take the array as it is; tensors of a request can start at any address."""
    flags = array.flags
    return flags.c_contiguous and flags.aligned
