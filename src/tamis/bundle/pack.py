"""Pack a model into a bundle, with golden outputs computed in float64."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx.inliner

from tamis._base import ModelError, UsageError, did_you_mean, library_versions, utc_timestamp
from tamis.bundle.choose_golden import MAX_GOLDEN_EVENTS, Precision, choose_golden, precision_of, tolerance_of
from tamis.bundle.choose_sizes import choose_sizes
from tamis.bundle.cost import count_cost
from tamis.bundle.golden import Golden
from tamis.bundle.importers import (
    Imported,
    expand_qonnx,
    import_model,
    is_qonnx,
    plain_classifiers,
    plain_outputs,
    recognise,
)
from tamis.bundle.manifest import BUNDLE_NAME_PATTERN, Manifest, Parent, Rewrite, WorkingPoint
from tamis.bundle.model import RANDOM_OPERATORS, graphs, read_signature
from tamis.bundle.reference import Reference, evaluate
from tamis.bundle.rows import prove_rows
from tamis.bundle.sample import (
    check_samples,
    draw_inputs,
    free_sizes,
    load_arrays,
    match_samples,
    rows_of,
)
from tamis.bundle.score_column import with_score_column
from tamis.bundle.signature import Input, Output, Signature
from tamis.bundle.store import Bundle, check_target, write_bundle


@dataclass(frozen=True)
class Packed:
    """A packed bundle, and notes on assumptions and changes made while packing."""

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
    columns: Mapping[str, Sequence[str]] | None = None,
    units: Mapping[str, str] | None = None,
    working_points: Iterable[WorkingPoint] = (),
    training: Mapping[str, object] | None = None,
    parent: Parent | None = None,
    extra: Mapping[str, str] | None = None,
    check: Callable[[Bundle], object] | None = None,
) -> Packed:
    """Pack a model file (ONNX, TorchScript, Keras 3, XGBoost, LightGBM) or an ONNX model; if `check` raises, nothing is written."""
    target = Path(target)
    check_target(target)
    name = _name(target, name)
    dims = dict(dims or {})
    raw = load_arrays(Path(inputs)) if isinstance(inputs, (str, Path)) else inputs
    samples = None if raw is None else {key: np.asarray(array) for key, array in raw.items()}
    imported, place, notes = _import(model, samples, dims)
    proto = imported.model
    proto, score = with_score_column(proto, score)
    signature = read_signature(proto, place)
    reference = Reference(proto)
    if samples is not None:
        is_onnx = isinstance(model, onnx.ModelProto) or recognise(Path(model)) == "ONNX"
        samples = match_samples(samples, signature, by_order=not is_onnx)
        guess = signature if signature.rows == "fixed" else signature.model_copy(update={"rows": "none"})
        check_samples(samples, guess)  # report wrong shapes before the evaluation
    else:
        sizes, size_notes = choose_sizes(proto, signature, dims)
        dims, notes = {**dims, **sizes}, notes + size_notes
    signature, row_notes = prove_rows(signature, reference, samples, dims)
    notes += row_notes
    if samples is None:
        samples = _draw(signature, dims, np.random.default_rng(seed), notes, imported.samples)
    check_samples(samples, signature)
    golden = choose_golden(proto, reference, signature, samples, notes)
    named = {**imported.columns, **(columns or {})}
    signature = _finish(signature, golden, features or {}, units or {}, named, precision_of(proto))
    applied: tuple[Rewrite, ...] = ()
    if rewrites:
        from tamis.bundle.rewrite import rewrite  # takes 0.4 s to import, which only packing needs

        proto, applied = rewrite(proto, golden.inputs, golden.outputs, signature)
    notes += [
        f"rewrite {r.name} applied {r.count} times, largest change {r.largest_error:.1e}" for r in applied
    ]
    if score is not None:
        signature.output(score)  # raises UsageError if there is no such output
    elif len(signature.outputs) == 1:
        score = signature.outputs[0].name
    first = ... if signature.rows == "none" else slice(0, signature.fixed_batch or 1)
    manifest = Manifest(
        schema_version=1,
        name=name,
        description=description,
        created=utc_timestamp(),
        producer=library_versions(("tamis", "onnx", "torch", "keras")),
        signature=signature,
        score=score,
        nan=_nan_policy(reference, signature, golden),
        working_points=tuple(working_points),
        cost=count_cost(proto, rows_of(golden.inputs, first)),
        rewrites=applied,
        parent=parent,
        training=dict(training or {}),  # type: ignore[arg-type] # pydantic checks that it is JSON
    )
    return Packed(
        write_bundle(target, manifest, proto.SerializeToString(), golden, extra, check), tuple(notes)
    )


def _name(target: Path, name: str | None) -> str:
    """Return the given name, or that of the target; it must be valid on all servers and file systems."""
    bundle_name = name or target.name.removesuffix(".tamis") or "model"
    if not re.fullmatch(BUNDLE_NAME_PATTERN, bundle_name):
        advice = "choose another" if name else "rename the output, or give --name"
        raise UsageError(
            f"a bundle cannot be called {bundle_name!r}: a name has up to 100 letters, digits and . _ + - (no accents, no spaces) "
            f"and begins with a letter or digit; {advice}"
        )
    return bundle_name


def _import(
    model: str | Path | onnx.ModelProto, samples: dict[str, np.ndarray] | None, dims: dict[str, int]
) -> tuple[Imported, str, list[str]]:
    """Return the model with tensor outputs and inlined functions, its path for messages, and notes."""
    if isinstance(model, onnx.ModelProto):
        imported, place = Imported(model), "the model"
    else:
        imported, place = import_model(Path(model), samples, dims), str(model)
    proto = imported.model
    random = next((n for g in graphs(proto.graph) for n in g.node if n.op_type in RANDOM_OPERATORS), None)
    if random is not None:
        raise ModelError(
            f"{place} draws random numbers ({random.op_type}, node {random.name or random.output[0]!r}), so its outputs cannot "
            "be verified: export the model without them (for a VAE, use the mean of z)"
        )
    foreign = next((n for g in graphs(proto.graph) for n in g.node if n.domain == "com.microsoft"), None)
    if foreign is not None:
        raise ModelError(
            f"{place} uses {foreign.domain}.{foreign.op_type} (node {foreign.name or foreign.output[0]!r}), which is specific to ONNX "
            "Runtime's optimiser: pack the model before it is optimised"
        )
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    expanded = is_qonnx(proto)
    if expanded:
        proto = expand_qonnx(proto, place)
    proto, forest_notes = plain_classifiers(proto)
    proto, notes = plain_outputs(proto)
    notes = ["quantisers of QONNX are plain operators now"] * expanded + forest_notes + notes
    return replace(imported, model=proto), place, [*imported.notes, *notes]


def _draw(
    signature: Signature,
    dims: dict[str, int],
    rng: np.random.Generator,
    notes: list[str],
    suggested: Mapping[str, np.ndarray] | None,
) -> dict[str, np.ndarray]:
    if suggested is not None and not dims:
        notes.append("inputs were drawn between the thresholds of the trees (give real ones with --inputs)")
        return dict(suggested)
    given, batch_names = dims, set[str]()
    if signature.rows == "fixed":  # the graph takes one event per call: its batch has no name any more
        free = {d for spec in signature.inputs for d in spec.shape if isinstance(d, str)}
        given = {k: v for k, v in dims.items() if k in free or v != 1}
    elif signature.rows == "free":
        batch_names = {str(spec.shape[0]) for spec in signature.inputs if spec.shape}
    sizes = free_sizes(signature, given, MAX_GOLDEN_EVENTS)
    assumed = sorted(f"{k}={v}" for k, v in sizes.items() if k and k not in dims and k not in batch_names)
    sizes_note = (
        f"; free dimensions assumed: {', '.join(assumed)} (change them with --dims)" if assumed else ""
    )
    notes.append(f"inputs were drawn from the declared shapes (give real ones with --inputs){sizes_note}")
    return draw_inputs(signature, sizes, rng)


def _finish(
    signature: Signature,
    golden: Golden,
    features: Mapping[str, str],
    units: Mapping[str, str],
    columns: Mapping[str, Sequence[str]],
    precision: Precision,
) -> Signature:
    """Complete the signature from the golden outputs: ranks, and tolerances proportional to the values."""
    outputs = []
    for spec in signature.outputs:
        value = golden.outputs[spec.name]
        shape = (
            spec.shape
            if len(spec.shape) == value.ndim
            else tuple(f"{spec.name}_{i}" for i in range(value.ndim))
        )
        tolerance = tolerance_of(value, precision)
        outputs.append(Output(**{**spec.model_dump(), "shape": shape, "tolerance": tolerance}))
    names = [spec.name for spec in signature.inputs]
    for unknown in sorted({*features, *units, *columns} - set(names)):
        raise UsageError(f"the model has no input {unknown!r}; {did_you_mean(unknown, names)}".rstrip("; "))
    for entry in signature.inputs:
        named = columns.get(entry.name, ())
        if named and entry.shape[1:] != (len(named),):
            raise UsageError(
                f"{len(named)} columns are named for the input {entry}: {', '.join(named)}; a row of it needs one name for each number"
            )
    inputs = [
        Input(
            **{
                **spec.model_dump(),
                "feature": features.get(spec.name),
                "units": units.get(spec.name, ""),
                "columns": tuple(columns.get(spec.name, ())),
            }
        )
        for spec in signature.inputs
    ]
    return Signature(inputs=tuple(inputs), outputs=tuple(outputs), rows=signature.rows)


def _nan_policy(reference: Reference, signature: Signature, golden: Golden) -> Literal["propagate", "model"]:
    """Return "model" if NaN inputs give no NaN output in the reference, so that the graph handles missing values itself."""
    inputs = {k: v.copy() for k, v in golden.inputs.items()}
    floats = [array for array in inputs.values() if array.dtype.kind == "f" and array.size]
    if not floats:
        return "model"
    for array in floats:
        array[...] = np.nan
    try:
        values = [v for v in evaluate(reference, signature, inputs).values() if v.dtype.kind == "f"]
    except ModelError:
        return "propagate"  # the graph cannot be evaluated with NaN
    return "propagate" if any(np.isnan(value).any() for value in values) else "model"
