"""Warms up a model with its configured samples or zeros, and checks its outputs, before it is served."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter_ns
from typing import Any

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from tamis._base import ModelError, TamisError, VerificationError, did_you_mean
from tamis.serve.models.model import INLINE_NS, TIMED_CALLS, Model, Run, Spec
from tamis.serve.models.triton_config import ResolvedConfig, confined
from tamis.serve.protocol.tensors import datatype_of, dtype_of, from_raw

FREE_SIZES = (
    16,
    1,
    64,
    128,
)  # tried in this order: sums of one say little, graph networks need more particles than neighbours
MAX_SAMPLE_BYTES = 1 << 30
# To the reference, or between a row alone and in a batch; relative to the largest value.
MAX_RELATIVE_DIFFERENCE = 1e-2
MIN_SCALE = 1e-3  # a smaller largest value counts as this: a score of 1e-30 is zero in single precision


@dataclass(frozen=True)
class WarmupSample:
    """A warm-up request: its inputs in the order of the model's, and how often it runs."""

    name: str
    count: int
    arrays: list[np.ndarray]


@dataclass(frozen=True)
class WarmupResult:
    """The result of warming up; `free` is the size of free dimensions that the model ran with."""

    arrays: list[np.ndarray] | None  # inputs of one row; None if the model ran on no random inputs
    note: str
    free: int = 1


def configured_samples(configured: ResolvedConfig) -> list[WarmupSample]:
    """Return the samples of `model_warmup`; data files must be in the folder `warmup` of the model."""
    return [_sample(configured, one) for one in configured.config.model_warmup]


def _sample(configured: ResolvedConfig, one: Any) -> WarmupSample:
    where = f"{configured.location}: field model_warmup {one.name!r}"
    known = [spec.name for spec in configured.inputs]
    for name in one.inputs:
        if name not in known:
            raise ModelError(
                f"{where}: the model has no input {name!r}; {did_you_mean(name, known)}".rstrip("; ")
            )
    if one.batch_size > max(configured.max_batch, 1):
        raise ModelError(f"{where}: batch_size is {one.batch_size}; max_batch_size is {configured.max_batch}")
    rng = np.random.default_rng(0)
    arrays = []
    for spec in configured.inputs:
        if spec.name not in one.inputs:
            raise ModelError(
                f"{where}: the input {spec.name!r} is missing; add it, for example with zero_data: true"
            )
        arrays.append(
            _sample_array(configured, spec, one.inputs[spec.name], max(one.batch_size, 1), rng, where)
        )
    return WarmupSample(one.name, max(one.count, 1), arrays)


def _sample_array(
    configured: ResolvedConfig, spec: Spec, source: Any, rows: int, rng: np.random.Generator, where: str
) -> np.ndarray:
    where = f"{where}: input {spec.name!r}"
    shape = tuple(source.dims)
    datatype = pb.DataType.Name(source.data_type).removeprefix("TYPE_").replace("STRING", "BYTES")
    if datatype != spec.datatype:
        raise ModelError(f"{where}: data_type is {datatype}; the input is {spec.datatype}")
    if len(shape) != len(spec.shape) or any(
        size < 1 or expected not in (-1, size) for size, expected in zip(shape, spec.shape, strict=True)
    ):
        raise ModelError(f"{where}: dims is {list(shape)}; the input has {list(spec.shape)}")
    whole = (rows, *shape) if configured.max_batch else shape
    if math.prod(whole) * dtype_of(datatype).itemsize > MAX_SAMPLE_BYTES:
        raise ModelError(
            f"{where}: dims is {list(shape)}, more than {MAX_SAMPLE_BYTES} bytes; give a smaller sample"
        )
    choice = source.WhichOneof("input_data_type")
    if choice == "input_data_file":
        return _from_file(configured, spec, source.input_data_file, shape, whole, where)
    return random_inputs(spec, whole, rng if choice == "random_data" else None)


def _from_file(
    configured: ResolvedConfig,
    spec: Spec,
    name: str,
    shape: tuple[int, ...],
    whole: tuple[int, ...],
    where: str,
) -> np.ndarray:
    """Return the raw data of a whole batch, or of one row that is repeated."""
    try:
        folder = configured.folder / "warmup"
        raw = confined(folder, name, (folder,)).read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{where}: cannot read input_data_file {name!r} in {configured.folder / 'warmup'}: {error}"
        ) from error
    size = math.prod(whole) * dtype_of(spec.datatype).itemsize
    try:
        if spec.datatype != "BYTES" and len(raw) == size:
            return from_raw(raw, spec.datatype, whole, spec.name)
        return np.broadcast_to(from_raw(raw, spec.datatype, shape, spec.name), whole).copy()
    except TamisError as error:
        raise ModelError(f"{where}: input_data_file {name!r} does not match: {error}") from error


def random_inputs(spec: Spec, shape: tuple[int, ...], rng: np.random.Generator | None) -> np.ndarray:
    """Return zeros, or with `rng` normal floats and the integers 0 and 1, valid indices of the smallest table."""
    dtype = dtype_of(spec.datatype)
    if dtype.kind == "O":
        return np.full(shape, b"", object)
    if rng is None:
        return np.zeros(shape, dtype)
    if np.issubdtype(dtype, np.integer) or dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def request_of(
    configured: ResolvedConfig, rows: int, free: int, rng: np.random.Generator | None = None
) -> list[np.ndarray]:
    """Return inputs of `rows` rows whose free sizes are all `free`: zeros, or random values with `rng`."""
    arrays = []
    for spec in configured.inputs:
        shape = tuple(free if size == -1 else size for size in spec.shape)
        if math.prod(shape) * rows * dtype_of(spec.datatype).itemsize > MAX_SAMPLE_BYTES:
            raise ModelError(
                f"{configured.location}: a row of input {spec.name!r} with {list(shape)} has more than {MAX_SAMPLE_BYTES} "
                "bytes; give it smaller dims"
            )
        arrays.append(random_inputs(spec, (rows, *shape) if configured.max_batch else shape, rng))
    return arrays


def warm_up(configured: ResolvedConfig, runs: Sequence[Run]) -> WarmupResult:
    """Run every instance for the first time, and check its outputs."""
    samples = configured_samples(configured)
    for run in runs:
        for sample in samples:
            for _ in range(sample.count):
                try:
                    check_outputs(configured, sample.arrays, run(sample.arrays))
                except TamisError as error:
                    raise ModelError(
                        f"{configured.location}: model_warmup {sample.name!r} fails: {error}"
                    ) from error
    reason = ""
    for free in FREE_SIZES if any(-1 in spec.shape for spec in configured.inputs) else (1,):
        arrays = request_of(configured, 1, free)
        try:
            first, *_ = [run(arrays) for run in runs]
        except VerificationError:
            raise
        except TamisError as error:
            reason = reason or str(error)
            continue
        check_outputs(configured, arrays, first)
        return WarmupResult(request_of(configured, 1, free, np.random.default_rng(0)), "yes", free)
    if samples:
        return WarmupResult(None, "yes, on its samples")
    if not any(-1 in spec.shape or spec.datatype == "BYTES" for spec in configured.inputs):
        raise ModelError(
            f"{configured.location}: the model does not run on zeros of its own shapes: {reason}"
        )
    return WarmupResult(None, f"no: the model does not run on zeros ({reason}); add a sample to model_warmup")


def check_outputs(
    configured: ResolvedConfig, arrays: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
) -> None:
    """Raise ModelError for outputs that differ from the configuration in number, type or shape."""
    if len(outputs) != len(configured.outputs):
        raise ModelError(
            f"{configured.location}: field output has {len(configured.outputs)} entries; the model returns {len(outputs)} outputs"
        )
    rows = (len(arrays[0]),) if configured.max_batch else ()
    for spec, output in zip(configured.outputs, outputs, strict=True):
        expected = (*rows, *spec.shape)
        fits = output.ndim == len(expected) and all(
            size in (-1, actual) for size, actual in zip(expected, output.shape, strict=True)
        )
        if not fits or datatype_of(output.dtype) != spec.datatype:
            raise ModelError(
                f"{configured.location}: output {spec.name!r} is configured as {spec.datatype} {list(expected)}; "
                f"the model returns {datatype_of(output.dtype)} {list(output.shape)}: correct data_type or dims"
            )


def rows_are_independent(configured: ResolvedConfig, run: Run, warm: WarmupResult) -> bool:
    """Return whether a row has the same outputs alone and in a batch, as far as one trial shows."""
    if configured.max_batch < 2 or warm.arrays is None:
        return True
    other = [
        random_inputs(spec, one.shape, np.random.default_rng(1))
        for spec, one in zip(configured.inputs, warm.arrays, strict=True)
    ]
    try:
        alone = run(warm.arrays)
        together = run([np.concatenate(pair) for pair in zip(warm.arrays, other, strict=True)])
    except TamisError:
        return False
    return all(
        len(two) == 2 and largest_difference(one, two[:1]) <= MAX_RELATIVE_DIFFERENCE
        for one, two in zip(alone, together, strict=True)
    )


def largest_difference(output: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference relative to the largest expected value; other than floats count as equal."""
    if output.shape != expected.shape:
        return math.inf
    if output.dtype.kind != "f":
        return 0.0
    first, second = output.astype(np.float64), expected.astype(np.float64)
    if (np.isnan(first) & np.isfinite(second)).any():
        return math.inf
    finite = np.isfinite(first) & np.isfinite(second)
    if not finite.any():
        return 0.0
    scale = max(float(np.abs(second[finite]).max()), MIN_SCALE)
    return float(np.abs(first[finite] - second[finite]).max()) / scale


def make_ready(
    configured: ResolvedConfig,
    version: str,
    runs: list[Run],
    engine_facts: Mapping[str, str],
    verified: Callable[[WarmupResult], str],
    close: Callable[[], None] = lambda: None,
) -> Model:
    """Return the model after warm-up and checks; `engine_facts` describe the engine, `verified` compares with a reference."""
    warm = warm_up(configured, runs)
    if note := engine_facts.get("ignored", ""):
        configured = replace(configured, ignored=(*configured.ignored, note))
    facts = {
        **{name: text for name, text in engine_facts.items() if name != "ignored"},
        "verified": verified(warm),
        "warm": warm.note,
        "configuration": configured.location,
    }
    if configured.batching is not None and not rows_are_independent(configured, runs[0], warm):
        reason = "dynamic batching: the outputs of a row depend on the other rows of a batch, or batches fail"
        configured = replace(configured, batching=None, off=(*configured.off, reason))
    spec = configured.spec(version, facts)
    quick = len(runs) == 1 and warm.arrays is not None and _fastest_ns(runs[0], warm.arrays) < INLINE_NS
    return Model(spec, runs, close, quick=quick, config=configured.config)


def _fastest_ns(run: Run, arrays: list[np.ndarray]) -> int:
    times_ns = []
    for _ in range(TIMED_CALLS):
        start = perf_counter_ns()
        try:
            run(arrays)
        except TamisError:  # it does not accept random inputs, so its speed is unknown
            return INLINE_NS
        times_ns.append(perf_counter_ns() - start)
        if times_ns[-1] > 10 * INLINE_NS:
            break
    return min(times_ns)
