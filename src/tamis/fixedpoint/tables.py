"""A function of one number, such as a sigmoid, between two roundings: a table of its values, which hardware looks up."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from tamis.bundle.reference import Reference
from tamis.fixedpoint.grids import FixedGrid
from tamis.fixedpoint.operators import Inexact

TABULATED = frozenset(
    [
        "Abs",
        "Add",
        "Cast",
        "Ceil",
        "Clip",
        "Constant",
        "Cos",
        "Div",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Log",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "Pow",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Sign",
        "Sin",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Sub",
        "Tanh",
        "ThresholdedRelu",
    ]
)
TABLE_ENTRIES = 1 << 16
# A rounded value this close to where the rounding changes may be rounded differently by another engine, relative to its size.
TIE_MARGIN = 4e-6


def tabulated(
    model: onnx.ModelProto, source: str, grid: FixedGrid, dtype: np.dtype
) -> tuple[int, int, np.ndarray]:
    """Return the smallest integer, its fraction bits and the table of a model of one input.

    Its first output is a rounded function of the input, its second one the same before the rounding. Raises Inexact where the table would
    depend on who computes it.
    """
    for node in model.graph.node:
        if node.op_type not in TABULATED:
            raise Inexact(f"{node.op_type} is not a function of one number")
    sizes = [numpy_helper.to_array(tensor).size for tensor in model.graph.initializer]
    if any(size != 1 for size in sizes):
        raise Inexact("the function differs between elements")
    fraction = max(0, int(grid.fractions.max(initial=0)))
    low, high = (int(np.ldexp(end, fraction)) for end in (grid.low.min(), grid.high.max()))
    if high - low >= TABLE_ENTRIES:
        raise Inexact(
            f"its table would have {high - low + 1} entries, more than {TABLE_ENTRIES}; round its input first"
        )
    values = {source: np.ldexp(np.arange(low, high + 1, dtype=np.float64), -fraction).astype(dtype)[:, None]}
    rounded, before = (one.name for one in model.graph.output)
    exact, single = Reference(model)(values), Reference(model, double=False)(values)
    plain = exact[before].ravel()
    kind = next(node.op_type for node in model.graph.node if rounded in node.output)
    nearest = (
        np.abs(plain - np.rint(plain)) if kind in ("Floor", "Ceil") else np.abs(plain - np.floor(plain) - 0.5)
    )
    close = nearest < TIE_MARGIN * np.maximum(1, np.abs(plain))
    if close.any() or not np.array_equal(exact[rounded], single[rounded]):
        where = values[source].ravel()[int(np.argmax(close))]
        raise Inexact(f"at {where:g} its value is on the edge of two roundings, and engines may differ")
    return low, fraction, exact[rounded].ravel().astype(np.float64)
