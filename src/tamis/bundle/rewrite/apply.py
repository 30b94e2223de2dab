"""Apply the rewrites; each is kept only if it reproduces the model's golden outputs in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass, RemoveUnusedNodesPass

from tamis._base import ModelError
from tamis.bundle.manifest import Rewrite
from tamis.bundle.reference import Reference, evaluate
from tamis.bundle.rewrite.drop_identity import drop_identity
from tamis.bundle.rewrite.expand_constants import expand_constants
from tamis.bundle.rewrite.fold_normalisation import fold_normalisation
from tamis.bundle.rewrite.narrow_transpose import narrow_transpose
from tamis.bundle.rewrite.transpose_to_conv import transpose_to_conv
from tamis.bundle.sample import rows_of
from tamis.bundle.signature import Signature

Pass = Callable[[ir.Graph], int]

REWRITE_PASSES: dict[str, Pass] = {
    "drop-identity": drop_identity,
    "narrow-transpose": narrow_transpose,
    "transpose-to-conv": transpose_to_conv,
    "fold-normalisation": fold_normalisation,
    "expand-constants": expand_constants,
}

PROOF_EVENTS = 16
PROOF_ERROR = 1e-5  # of the largest value of an output; covers one more rounding of weights to float32


def rewrite(
    model: onnx.ModelProto,
    inputs: dict[str, np.ndarray],
    outputs: dict[str, np.ndarray],
    signature: Signature,
) -> tuple[onnx.ModelProto, tuple[Rewrite, ...]]:
    """Run every pass; return the model and the applied rewrites."""
    if signature.rows != "none":
        rows = slice(0, max(PROOF_EVENTS, signature.fixed_batch or 1))
        inputs, outputs = rows_of(inputs, rows), rows_of(outputs, rows)
    applied = []
    for name, run in REWRITE_PASSES.items():
        try:
            graph_model = ir.from_proto(model)
            LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph_model)
            count = run(graph_model.graph)
            RemoveUnusedNodesPass()(graph_model)
            candidate = ir.to_proto(graph_model)
        except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError):
            continue  # the pass cannot read this graph: skip it
        if not count:
            continue
        error = _largest_error(candidate, inputs, outputs, signature)
        if error <= PROOF_ERROR:
            model = candidate
            applied.append(Rewrite(name=name, count=count, largest_error=error))
    return model, tuple(applied)


def _largest_error(
    model: onnx.ModelProto,
    inputs: dict[str, np.ndarray],
    outputs: dict[str, np.ndarray],
    signature: Signature,
) -> float:
    """Return the largest change of any output, in units of that output's largest value."""
    try:
        onnx.checker.check_model(model)
        found = evaluate(Reference(model), signature, inputs)
    except (ModelError, onnx.checker.ValidationError, ValueError):
        return float("inf")
    worst = 0.0
    for name, expected in outputs.items():
        value = found[name]
        if value.shape != expected.shape:
            return float("inf")
        finite = (
            np.abs(expected[np.isfinite(expected)])
            if expected.dtype.kind == "f"
            else np.abs(expected.astype(np.float64))
        )
        scale = float(finite.max(initial=0.0)) or 1.0
        with np.errstate(all="ignore"):
            gap = np.where(value == expected, 0.0, np.abs(value.astype(np.float64) - expected))
        gap = gap[~(np.isnan(value.astype(np.float64)) & np.isnan(expected.astype(np.float64)))]
        worst = max(
            worst, float(np.max(gap, initial=0.0)) / scale if not np.isnan(gap).any() else float("inf")
        )
    return worst
