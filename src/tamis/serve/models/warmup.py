"""The first calls of a model, before anybody waits for it: with the samples that its configuration names, or with zeros."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter_ns
from typing import Any

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from tamis._base import ModelError, TamisError, VerificationError, did_you_mean
from tamis.serve.models.model import INLINE_NS, Model, Run, Spec
from tamis.serve.models.triton_config import ResolvedConfig, confined
from tamis.serve.protocol.tensors import datatype_of, dtype_of, from_raw

TRIES = 5
FREE_SIZES = (1, 16, 64, 128)  # graphs of neighbours need more particles than neighbours
SAMPLE_BYTES_MOST = 1 << 30
APART = 1e-2  # of an output's largest value: what rows may differ by in a batch, or from the reference

LEAST = 1e-3


@dataclass(frozen=True)
class WarmupSample:
    """Inputs to warm up with, in the order of the model's."""

    name: str
    count: int
    arrays: list[np.ndarray]


@dataclass(frozen=True)
class WarmupResult:
    """What the first calls gave; `free` is the size of free dimensions that could be run, if any could."""

    arrays: list[np.ndarray] | None  # of one row
    told: str
    free: int = 1


def configured_samples(configured: ResolvedConfig) -> list[WarmupSample]:
    """Return the samples of `model_warmup`; data files lie in the folder `warmup` of the model, and nowhere else."""
    return [_sample(configured, one) for one in configured.config.model_warmup]


def _sample(configured: ResolvedConfig, one: Any) -> WarmupSample:
    where = f"{configured.place}: field model_warmup {one.name!r}"
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
            raise ModelError(f"{where}: the input {spec.name!r} is missing; give it zero_data: true")
        arrays.append(
            _sample_array(configured, spec, one.inputs[spec.name], max(one.batch_size, 1), rng, where)
        )
    return WarmupSample(one.name, max(one.count, 1), arrays)


def _sample_array(
    configured: ResolvedConfig, spec: Spec, given: Any, rows: int, rng: np.random.Generator, where: str
) -> np.ndarray:
    where = f"{where}: input {spec.name!r}"
    shape = tuple(given.dims)
    datatype = pb.DataType.Name(given.data_type).removeprefix("TYPE_").replace("STRING", "BYTES")
    if datatype != spec.datatype:
        raise ModelError(f"{where}: data_type is {datatype}; the input is {spec.datatype}")
    if len(shape) != len(spec.shape) or any(
        got < 1 or want not in (-1, got) for got, want in zip(shape, spec.shape, strict=True)
    ):
        raise ModelError(f"{where}: dims is {list(shape)}; the input has {list(spec.shape)}")
    whole = (rows, *shape) if configured.max_batch else shape
    if math.prod(whole) * dtype_of(datatype).itemsize > SAMPLE_BYTES_MOST:
        raise ModelError(
            f"{where}: dims is {list(shape)}, more than {SAMPLE_BYTES_MOST} bytes; give a smaller sample"
        )
    choice = given.WhichOneof("input_data_type")
    if choice == "input_data_file":
        return _from_file(configured, spec, given.input_data_file, shape, whole, where)
    return drawn(spec, whole, rng if choice == "random_data" else None)


def _from_file(
    configured: ResolvedConfig,
    spec: Spec,
    name: str,
    shape: tuple[int, ...],
    whole: tuple[int, ...],
    where: str,
) -> np.ndarray:
    """Read raw data of a whole batch, or of one row that is repeated."""
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
        raise ModelError(f"{where}: input_data_file {name!r} does not fit: {error}") from error


def drawn(spec: Spec, shape: tuple[int, ...], rng: np.random.Generator | None) -> np.ndarray:
    """Return zeros, or normal numbers, and whole numbers that also the smallest table has."""
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
    """Return a request of so many rows, with all free sizes alike."""
    found = []
    for spec in configured.inputs:
        shape = tuple(free if size == -1 else size for size in spec.shape)
        if math.prod(shape) * rows * dtype_of(spec.datatype).itemsize > SAMPLE_BYTES_MOST:
            raise ModelError(
                f"{configured.place}: a row of input {spec.name!r} with {list(shape)} has more than {SAMPLE_BYTES_MOST} "
                "bytes; give it smaller dims"
            )
        found.append(drawn(spec, (rows, *shape) if configured.max_batch else shape, rng))
    return found


def warm_up(configured: ResolvedConfig, runs: Sequence[Run]) -> WarmupResult:
    """Run every instance for the first time, and check what comes out."""
    samples = configured_samples(configured)
    for run in runs:
        for sample in samples:
            for _ in range(sample.count):
                try:
                    check_outputs(configured, sample.arrays, run(sample.arrays))
                except TamisError as error:
                    raise ModelError(
                        f"{configured.place}: model_warmup {sample.name!r} fails: {error}"
                    ) from error
    told = ""
    for free in FREE_SIZES if any(-1 in spec.shape for spec in configured.inputs) else FREE_SIZES[:1]:
        arrays = request_of(configured, 1, free)
        try:
            first, *_ = [run(arrays) for run in runs]
        except VerificationError:
            raise
        except TamisError as error:
            told = told or str(error)
            continue
        check_outputs(configured, arrays, first)
        return WarmupResult(request_of(configured, 1, free, np.random.default_rng(0)), "yes", free)
    if samples:
        return WarmupResult(None, "yes, by its samples")
    if not any(-1 in spec.shape or spec.datatype == "BYTES" for spec in configured.inputs):
        raise ModelError(f"{configured.place}: the model cannot be run on zeros of its own shapes: {told}")
    return WarmupResult(None, f"no: it does not take zeros ({told}); name a sample in model_warmup")


def check_outputs(
    configured: ResolvedConfig, arrays: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
) -> None:
    """Refuse a model whose outputs are not what its configuration says."""
    if len(outputs) != len(configured.outputs):
        raise ModelError(
            f"{configured.place}: field output names {len(configured.outputs)}; the model gives {len(outputs)} outputs"
        )
    rows = (len(arrays[0]),) if configured.max_batch else ()
    for spec, output in zip(configured.outputs, outputs, strict=True):
        want = (*rows, *spec.shape)
        fits = output.ndim == len(want) and all(
            size in (-1, got) for size, got in zip(want, output.shape, strict=True)
        )
        if not fits or datatype_of(output.dtype) != spec.datatype:
            raise ModelError(
                f"{configured.place}: output {spec.name!r} is configured as {spec.datatype} {list(want)}; "
                f"the model gives {datatype_of(output.dtype)} {list(output.shape)}: correct data_type or dims"
            )


def rows_are_apart(configured: ResolvedConfig, run: Run, warm: WarmupResult) -> bool:
    """Tell whether a row has the same outputs alone and beside another, as far as one trial shows."""
    if configured.max_batch < 2 or warm.arrays is None:
        return True
    other = [
        drawn(spec, one.shape, np.random.default_rng(1))
        for spec, one in zip(configured.inputs, warm.arrays, strict=True)
    ]
    try:
        alone = run(warm.arrays)
        together = run([np.concatenate(pair) for pair in zip(warm.arrays, other, strict=True)])
    except TamisError:
        return False
    return all(
        len(two) == 2 and largest_difference(one, two[:1]) <= APART
        for one, two in zip(alone, together, strict=True)
    )


def largest_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of two outputs, over the largest expected value; what is no float counts as equal."""
    if found.shape != expected.shape:
        return math.inf
    if found.dtype.kind != "f":
        return 0.0
    first, second = found.astype(np.float64), expected.astype(np.float64)
    if (np.isnan(first) & np.isfinite(second)).any():
        return math.inf
    finite = np.isfinite(first) & np.isfinite(second)
    if not finite.any():
        return 0.0  # nothing to compare by
    # A score of 1e-30 is nothing in single precision: below this no relative difference is told.
    scale = max(float(np.abs(second[finite]).max()), LEAST)
    return float(np.abs(first[finite] - second[finite]).max()) / scale


def make_ready(
    configured: ResolvedConfig,
    version: str,
    runs: list[Run],
    verified: Callable[[WarmupResult], str],
    close: Callable[[], None] = lambda: None,
) -> Model:
    """Warm up and check what was opened; only what this returns may answer."""
    warm = warm_up(configured, runs)
    facts = {"warm": warm.told, "verified": verified(warm), "configuration": configured.place}
    apart = rows_are_apart(configured, runs[0], warm)
    spec = configured.spec(version, facts)
    if spec.batching is not None and not apart:
        facts["batching"] = (
            "off: a row's outputs depend on the rows beside it, or cannot be computed beside another"
        )
        spec = replace(configured.spec(version, facts), batching=None)
    quick = len(runs) == 1 and warm.arrays is not None and _fastest_ns(runs[0], warm.arrays) < INLINE_NS
    return Model(spec, runs, close, quick=quick, config=configured.config)


def _fastest_ns(run: Run, arrays: list[np.ndarray]) -> int:
    found = []
    for _ in range(TRIES):
        start = perf_counter_ns()
        try:
            run(arrays)
        except TamisError:  # a drawn request that it does not take says nothing of its speed
            return INLINE_NS
        found.append(perf_counter_ns() - start)
        if found[-1] > 10 * INLINE_NS:
            break
    return min(found)
