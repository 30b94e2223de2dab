"""Applying the rewrites: each is kept only where the model's own golden outputs survive it in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass, RemoveUnusedNodesPass

from quickbeam._base import ModelError
from quickbeam.bundle.manifest import Rewrite
from quickbeam.bundle.reference import Reference
from quickbeam.bundle.rewrite.drop_identity import drop_identity
from quickbeam.bundle.rewrite.fold_normalisation import fold_normalisation
from quickbeam.bundle.rewrite.narrow_transpose import narrow_transpose
from quickbeam.bundle.rewrite.transpose_to_conv import transpose_to_conv

Pass = Callable[[ir.Graph], int]

PASSES: dict[str, Pass] = {
    "drop-identity": drop_identity,
    "narrow-transpose": narrow_transpose,
    "transpose-to-conv": transpose_to_conv,
    "fold-normalisation": fold_normalisation,
}

PROOF_EVENTS = 16
PROOF_ERROR = 1e-5  # of the largest value of an output: weights are rounded to float32 once more, no worse


def rewrite(
    model: onnx.ModelProto, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]
) -> tuple[onnx.ModelProto, tuple[Rewrite, ...]]:
    """Run every pass; return the model and what was applied."""
    applied = []
    for name, run in PASSES.items():
        try:
            candidate, count = _run(run, model)
        except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError):
            continue  # a graph that the pass cannot even read stays as it is
        if not count:
            continue
        error = _largest_error(candidate, inputs, outputs)
        if error <= PROOF_ERROR:
            model = candidate
            applied.append(Rewrite(name=name, count=count, largest_error=error))
    return model, tuple(applied)


def _run(run: Pass, model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    irm = ir.from_proto(model)
    LiftConstantsToInitializersPass(lift_all_constants=False, size_limit=0)(irm)
    count = run(irm.graph)
    RemoveUnusedNodesPass()(irm)
    return ir.to_proto(irm), count


def _largest_error(
    model: onnx.ModelProto, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]
) -> float:
    """Return the largest change of any output, in units of that output's largest value."""
    same_length = len({len(v) for v in (*inputs.values(), *outputs.values()) if v.ndim}) == 1
    rows = slice(0, PROOF_EVENTS) if same_length else slice(None)
    try:
        onnx.checker.check_model(model)
        got = Reference(model)({k: v[rows] for k, v in inputs.items()})
    except (ModelError, onnx.checker.ValidationError):
        return float("inf")
    worst = 0.0
    for name, golden in outputs.items():
        want, value = golden[rows] if golden.ndim else golden, got[name]
        if value.shape != want.shape:
            return float("inf")
        scale = float(np.nanmax(np.abs(want), initial=0.0)) or 1.0
        with np.errstate(all="ignore"):
            gap = np.where(value == want, 0.0, np.abs(value.astype(np.float64) - want))
        gap = gap[~(np.isnan(value.astype(np.float64)) & np.isnan(want.astype(np.float64)))]
        worst = max(
            worst, float(np.max(gap, initial=0.0)) / scale if not np.isnan(gap).any() else float("inf")
        )
    return worst
