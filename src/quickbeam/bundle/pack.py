"""Packing: a model becomes a bundle with golden outputs made in float64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from quickbeam._base import ModelError, library_versions, utc_timestamp
from quickbeam.bundle.cost import count_cost
from quickbeam.bundle.golden import Golden
from quickbeam.bundle.importers import import_model
from quickbeam.bundle.manifest import Manifest, WorkingPoint
from quickbeam.bundle.model import read_signature
from quickbeam.bundle.reference import Reference
from quickbeam.bundle.rewrite import rewrite
from quickbeam.bundle.sample import draw_inputs, free_sizes, read_samples, rows_of
from quickbeam.bundle.signature import BATCH, Input, Output, Signature, Tolerance
from quickbeam.bundle.store import Bundle, write_bundle

GOLDEN_EVENTS = 64
GOLDEN_BYTES = 4_000_000
GOLDEN_LEAST = 4
PROBE_EVENTS = 3
ROW_AGREEMENT = 1e-9
ULP = 2.0**-23


@dataclass(frozen=True)
class Packed:
    """A bundle, and what the packer assumed on the way."""

    bundle: Bundle
    notes: tuple[str, ...]


def pack(
    model: str | Path | onnx.ModelProto,
    target: str | Path,
    *,
    name: str | None = None,
    inputs: str | Path | Mapping[str, np.ndarray] | None = None,
    dims: Mapping[str, int] | None = None,
    score: str | None = None,
    rewrites: bool = True,
    seed: int = 0,
    description: str = "",
    features: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    working_points: Iterable[WorkingPoint] = (),
    training: Mapping[str, object] | None = None,
    extra: Mapping[str, str] | None = None,
) -> Packed:
    """Pack a model file (ONNX, TorchScript, Keras 3) or an ONNX model into a bundle at `target`."""
    target = Path(target)
    dims = dict(dims or {})
    proto, place = _import(model, inputs, dims)
    signature = read_signature(proto, place)
    notes: list[str] = []
    reference = Reference(proto)
    rng = np.random.default_rng(seed)
    signature = _prove_rows(signature, reference, dims, notes)
    samples = _samples(signature, inputs, dims, rng, notes)
    golden = _golden(reference, signature, samples, notes)
    signature = _finish(signature, golden, features or {}, units or {})
    if rewrites:
        proto, applied = rewrite(proto, golden.inputs, golden.outputs)
        notes += [
            f"rewrite {r.name} applied {r.count} times, largest change {r.largest_error:.1e}" for r in applied
        ]
    else:
        applied = ()
    manifest = Manifest(
        schema_version=1,
        name=name or _name(target),
        description=description,
        created=utc_timestamp(),
        producer=library_versions(("quickbeam", "onnx", "torch", "keras")),
        signature=signature,
        score=_score(signature, score),
        nan=_nan_policy(reference, golden),
        working_points=tuple(working_points),
        cost=count_cost(proto, _one_event(signature, golden.inputs)),
        rewrites=applied,
        training=dict(training or {}),  # type: ignore[arg-type] # pydantic checks that it is JSON
    )
    bundle = write_bundle(target, manifest, proto.SerializeToString(), golden, extra)
    return Packed(bundle, tuple(notes))


def _name(target: Path) -> str:
    return target.name.removesuffix(".qb") or "model"


def _import(
    model: str | Path | onnx.ModelProto, inputs: object, dims: dict[str, int]
) -> tuple[onnx.ModelProto, str]:
    if isinstance(model, onnx.ModelProto):
        return model, "the model"
    samples = None
    if isinstance(inputs, (str, Path)):
        samples = _raw_samples(Path(inputs))
    elif isinstance(inputs, Mapping):
        samples = dict(inputs)
    proto = import_model(Path(model), samples, dims)
    return proto, str(model)


def _raw_samples(path: Path) -> dict[str, np.ndarray]:
    """Read samples before the inputs are known, for the formats whose import needs them."""
    from quickbeam._base import UnreadableFileError

    try:
        loaded = np.load(path, allow_pickle=False)
        return (
            {"0": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
        )
    except (OSError, ValueError, EOFError) as error:
        raise UnreadableFileError(
            f"cannot read the samples {path}: {error}; save them with numpy.savez"
        ) from error


def _score(signature: Signature, score: str | None) -> str | None:
    if score is not None:
        return signature.output(score).name
    return signature.outputs[0].name if len(signature.outputs) == 1 else None


def _prove_rows(
    signature: Signature, reference: Reference, dims: dict[str, int], notes: list[str]
) -> Signature:
    """Find out whether the leading dimension really is a batch of independent events."""
    if signature.rows != "free":
        return signature
    sizes = free_sizes(signature, {k: v for k, v in dims.items() if k in _inner(signature)}, PROBE_EVENTS)
    probe = draw_inputs(signature, sizes, np.random.default_rng(1))
    try:
        together = reference(probe)
        alone = [reference(rows_of(probe, slice(i, i + 1))) for i in range(PROBE_EVENTS)]
    except ModelError as error:
        assumed = ", ".join(f"{k}={v}" for k, v in sorted(sizes.items()) if k != BATCH)
        raise ModelError(f"{error}; sizes tried: {assumed} (choose others with --dims)") from error
    for name, value in together.items():
        stacked = np.concatenate([np.atleast_1d(one[name]) for one in alone]) if value.ndim else None
        if stacked is None or stacked.shape != value.shape or not _close(value, stacked):
            notes.append(
                "the events of a batch influence each other, or the leading dimension is no batch: no chunking"
            )
            return signature.model_copy(update={"rows": "none"})
    return signature


def _inner(signature: Signature) -> set[str]:
    return {d for spec in signature.inputs for d in spec.shape if isinstance(d, str)}


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    return bool(np.allclose(a, b, rtol=ROW_AGREEMENT, atol=ROW_AGREEMENT, equal_nan=True))


def _samples(
    signature: Signature,
    inputs: str | Path | Mapping[str, np.ndarray] | None,
    dims: dict[str, int],
    rng: np.random.Generator,
    notes: list[str],
) -> dict[str, np.ndarray]:
    if isinstance(inputs, Mapping):
        arrays = {k: np.ascontiguousarray(v) for k, v in inputs.items()}
        if len(arrays) == 1 == len(signature.inputs):
            arrays = {signature.inputs[0].name: next(iter(arrays.values()))}
        signature.sizes(arrays)
        return arrays
    if inputs is not None:
        return read_samples(Path(inputs), signature)
    sizes = free_sizes(signature, dims, GOLDEN_EVENTS)
    assumed = sorted(
        f"{k}={v}" for k, v in sizes.items() if k and k not in dims and k not in _batch_names(signature)
    )
    drawn = "inputs were drawn from the declared shapes (give real ones with --inputs)"
    notes.append(
        drawn + (f"; free dimensions assumed: {', '.join(assumed)} (--dims changes them)" if assumed else "")
    )
    return draw_inputs(signature, sizes, rng)


def _batch_names(signature: Signature) -> set[str]:
    return (
        {str(spec.shape[0]) for spec in signature.inputs if spec.shape} if signature.rows == "free" else set()
    )


def _golden(
    reference: Reference, signature: Signature, samples: dict[str, np.ndarray], notes: list[str]
) -> Golden:
    """Evaluate up to 64 well-conditioned events: a golden answer may not hang on the last bit of an input."""
    if signature.rows == "none":
        return Golden(samples, reference(samples))
    step = signature.fixed_batch or 1
    count = len(next(iter(samples.values()))) // step
    event_bytes = sum(array.nbytes for array in samples.values()) // count
    most = min(GOLDEN_EVENTS, max(GOLDEN_LEAST, GOLDEN_BYTES // max(1, event_bytes)))
    chosen = np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))
    rows = (chosen[:, None] * step + np.arange(step)).reshape(-1)
    inputs = rows_of(samples, rows)
    outputs = evaluate(reference, signature, inputs)
    shaken = evaluate(reference, signature, {k: _shake(v) for k, v in inputs.items()})
    stable = np.ones(len(rows), dtype=bool)
    for name, value in outputs.items():
        if value.dtype.kind == "f":
            scale = np.nanmax(np.abs(value), initial=0.0) or 1.0
            moved = np.abs(value - shaken[name]) > 1e-5 * scale + 1e-4 * np.abs(value)
        else:
            moved = value != shaken[name]
        stable &= ~moved.reshape(len(rows), -1).any(axis=1)
    stable = np.repeat(stable.reshape(-1, step).all(axis=1), step)
    if not stable.all() and stable.any():
        notes.append(
            f"{int((~stable).sum())} of {len(rows)} sample events hang on the last bit of their inputs and are no golden events"
        )
        inputs, outputs = rows_of(inputs, stable), rows_of(outputs, stable)
    elif not stable.any():
        notes.append(
            "every sample event hangs on the last bit of its inputs: expect engines to fail the gate; give real --inputs"
        )
    return Golden(inputs, outputs)


def _shake(array: np.ndarray) -> np.ndarray:
    """Move every float by one unit in the last place of float32."""
    if array.dtype.kind != "f":
        return array
    signs = np.where(np.arange(array.size) % 2, 1.0, -1.0).reshape(array.shape)
    return array.astype(np.float64) * (1.0 + signs * ULP)


def evaluate(
    reference: Reference, signature: Signature, inputs: dict[str, np.ndarray], step: int = 16
) -> dict[str, np.ndarray]:
    """Evaluate events in small pieces, so that memory stays bounded."""
    if signature.rows == "none":
        return reference(inputs)
    step = signature.fixed_batch or step
    count = len(next(iter(inputs.values())))
    pieces = [reference(rows_of(inputs, slice(i, i + step))) for i in range(0, count, step)]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in reference.outputs}


def _finish(
    signature: Signature, golden: Golden, features: Mapping[str, str], units: Mapping[str, str]
) -> Signature:
    """Fill in what only the golden outputs tell: ranks, and tolerances in proportion to the values."""
    outputs = []
    for spec in signature.outputs:
        value = golden.outputs[spec.name]
        shape = (
            spec.shape
            if len(spec.shape) == value.ndim
            else tuple(f"{spec.name}_{i}" for i in range(value.ndim))
        )
        finite = np.abs(value[np.isfinite(value)]) if value.dtype.kind == "f" else np.zeros(0)
        scale = float(finite.max()) if finite.size else 1.0
        tolerance = (
            Tolerance(absolute=max(1e-5 * scale, 1e-12), relative=1e-3)
            if value.dtype.kind == "f"
            else Tolerance(absolute=0, relative=0)
        )
        outputs.append(Output(**{**spec.model_dump(), "shape": shape, "tolerance": tolerance}))
    inputs = [
        Input(**{**spec.model_dump(), "feature": features.get(spec.name), "units": units.get(spec.name, "")})
        for spec in signature.inputs
    ]
    return Signature(inputs=tuple(inputs), outputs=tuple(outputs), rows=signature.rows)


def _one_event(signature: Signature, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return inputs if signature.rows == "none" else rows_of(inputs, slice(0, signature.fixed_batch or 1))


def _nan_policy(reference: Reference, golden: Golden) -> Literal["propagate", "model"]:
    """Ask the reference what a NaN does: where no output shows it, the graph handles missing values itself."""
    inputs = {k: v.copy() for k, v in golden.inputs.items()}
    floats = [array for array in inputs.values() if array.dtype.kind == "f" and array.size]
    if not floats:
        return "model"
    for array in floats:
        array[...] = np.nan
    values = [value for value in reference(inputs).values() if value.dtype.kind == "f"]
    return "propagate" if any(np.isnan(value).any() for value in values) else "model"
