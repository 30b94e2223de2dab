"""Choose golden events whose outputs do not depend on the last bit of the inputs, which no engine could reproduce."""

from __future__ import annotations

import contextlib
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto

from tamis._base import ModelError
from tamis.bundle.golden import Golden
from tamis.bundle.model import TREE_OPERATORS, graphs
from tamis.bundle.reference import Reference, evaluate
from tamis.bundle.sample import rows_of
from tamis.bundle.signature import Signature, Tolerance

MAX_GOLDEN_EVENTS = 64
MAX_GOLDEN_BYTES = 4_000_000
MIN_GOLDEN_EVENTS = 4
ULP = 2.0**-23
HALF_TYPES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)

QUANTISED_OPERATORS = frozenset(
    [
        "QuantizeLinear",
        "DynamicQuantizeLinear",
        "QLinearConv",
        "QLinearMatMul",
        "ConvInteger",
        "MatMulInteger",
    ]
)

# Operators after which a float still has the bits of an input, so that its comparison with a threshold has no rounding.
EXACT_OPERATORS = frozenset(["Abs", "Cast", "Identity", "IsNaN", "LessOrEqual", "Where", "And"])

Precision = Literal["single", "half", "quantised"]
# Absolute (in units of the output's largest value) and relative. Engines that fuse 8-bit operators round at other places: two steps of 8 bits.
TOLERANCES: dict[Precision, tuple[float, float]] = {
    "single": (1e-5, 1e-3),
    "half": (1e-2, 2e-2),
    "quantised": (2 / 127, 2e-2),
}

Arrays = dict[str, np.ndarray]


def choose_golden(
    model: onnx.ModelProto, reference: Reference, signature: Signature, samples: Arrays, notes: list[str]
) -> Golden:
    """Evaluate up to 64 samples in float64; keep those that evaluating in the model's own precision reproduces."""
    if signature.rows == "none":
        return Golden(samples, reference(samples))
    step = signature.fixed_batch or 1
    count = len(next(iter(samples.values()))) // step
    event_bytes = sum(array.nbytes for array in samples.values()) // count
    limit = min(MAX_GOLDEN_EVENTS, max(MIN_GOLDEN_EVENTS, MAX_GOLDEN_BYTES // max(1, event_bytes)))
    chosen = np.unique(np.linspace(0, count - 1, min(count, limit)).astype(int))
    rows = (chosen[:, None] * step + np.arange(step)).reshape(-1)
    inputs = rows_of(samples, rows)
    outputs = evaluate(reference, signature, inputs)
    perturbed = dict(inputs)  # every float changed by one unit in the last place, with alternating sign
    compares = only_compares(model)
    for name, array in inputs.items():
        if array.dtype.kind == "f" and not compares:
            signs = np.where(np.arange(array.size) % 2, 1.0, -1.0).reshape(array.shape)
            perturbed[name] = array.astype(np.float64) * (1.0 + signs * ULP)
    stable = ~_differ(outputs, evaluate(reference, signature, perturbed), 0.1, model)
    with contextlib.suppress(
        ModelError
    ):  # the reference implementation does not support all operators in float32
        stable &= ~_differ(outputs, evaluate(Reference(model, double=False), signature, inputs), 0.5, model)
    stable = np.repeat(stable.reshape(-1, step).all(axis=1), step)
    if not stable.all() and stable.any():
        notes.append(
            f"{int((~stable).sum())} of {len(rows)} sample events depend on the last bit of their inputs and are not used as golden events"
        )
        inputs, outputs = rows_of(inputs, stable), rows_of(outputs, stable)
    elif not stable.any():
        notes.append(
            "every sample event depends on the last bit of its inputs: engines may fail the gate; give real --inputs"
        )
    return Golden(inputs, outputs)


def tolerance_of(value: np.ndarray, precision: Precision) -> Tolerance:
    """Return the tolerance of an output: proportional to its values, depending on the model's precision."""
    if value.dtype.kind != "f":
        return Tolerance(absolute=0, relative=0)
    finite = np.abs(value[np.isfinite(value)])
    scale = float(finite.max()) if finite.size else 1.0
    absolute, relative = TOLERANCES[precision]
    return Tolerance(absolute=max(absolute * scale, 1e-12), relative=relative)


def precision_of(model: onnx.ModelProto) -> Precision:
    """Return the lowest precision that the model computes in."""
    if any(node.op_type in QUANTISED_OPERATORS for graph in graphs(model.graph) for node in graph.node):
        return "quantised"
    return "half" if _is_half(model) else "single"


def only_compares(model: onnx.ModelProto) -> bool:
    """Return whether the inputs are only compared with thresholds of trees, which involves no rounding."""
    trees = any(node.op_type in TREE_OPERATORS for node in model.graph.node)
    if not trees or len(list(graphs(model.graph))) > 1:  # a subgraph may read an input without naming it
        return False
    exact = {value.name for value in model.graph.input}
    for node in model.graph.node:
        if exact.isdisjoint(node.input) or node.op_type in TREE_OPERATORS:
            continue
        if node.op_type not in EXACT_OPERATORS:
            return False
        exact.update(node.output)
    return exact.isdisjoint(value.name for value in model.graph.output)


def _is_half(model: onnx.ModelProto) -> bool:
    for graph in graphs(model.graph):
        if any(tensor.data_type in HALF_TYPES for tensor in graph.initializer):
            return True
        if any(v.type.tensor_type.elem_type in HALF_TYPES for v in (*graph.input, *graph.output)):
            return True
        attributes = [a for node in graph.node for a in node.attribute]
        if any(a.t.data_type in HALF_TYPES or (a.name == "to" and a.i in HALF_TYPES) for a in attributes):
            return True
    return False


def _differ(outputs: Arrays, others: Arrays, share: float, model: onnx.ModelProto) -> np.ndarray:
    """Return a mask of the events that differ by more than the absolute tolerance plus a share of the relative one."""
    precision = precision_of(model)
    differs = np.zeros(len(next(iter(outputs.values()))), dtype=bool)
    for name, value in outputs.items():
        limit = tolerance_of(value, precision)
        if value.dtype.kind == "f":
            with np.errstate(all="ignore"):
                gap = np.abs(value - others[name].astype(np.float64))
                far = gap > limit.absolute + share * limit.relative * np.abs(value)
        else:
            far = value != others[name]
        differs |= far.reshape(len(differs), -1).any(axis=1)
    return differs
