"""A function of one number, such as a sigmoid, between two roundings: a table of its values, which hardware looks up."""

from __future__ import annotations

from dataclasses import dataclass

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
        "And",
        "Cast",
        "Ceil",
        "Clip",
        "Constant",
        "Cos",
        "Div",
        "Elu",
        "Equal",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "Greater",
        "GreaterOrEqual",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Less",
        "LessOrEqual",
        "Log",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "Not",
        "Or",
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
        "Where",
    ]
)
TABLE_ENTRIES = 1 << 16
TABLE_VALUES = 1 << 24  # of all elements together
# A rounded value this close to where the rounding changes may be rounded differently by another engine, relative to its size.
TIE_MARGIN = 4e-6


@dataclass(frozen=True)
class Tables:
    """Integer `n` of an element, with these fraction bits, becomes `tables[t][n - low]`, where `t` is the element's table."""

    low: int
    fraction: int
    tables: np.ndarray
    table_of: np.ndarray  # of each element, flattened


def tabulated(model: onnx.ModelProto, source: str, grid: FixedGrid, dtype: np.dtype) -> Tables:
    """Return the tables of a model of one input, one for all elements where its function is the same everywhere.

    Its first output is a rounded function of the input, its second one the same before the rounding. Raises Inexact where a table would
    depend on who computes it.
    """
    for node in model.graph.node:
        if node.op_type not in TABULATED:
            raise Inexact(f"{node.op_type} is not a function of one number")
    shape = grid.low.shape
    for tensor in model.graph.initializer:
        if len(tensor.dims) > 1 and tensor.dims[0] != 1 and len(tensor.dims) > len(shape):
            raise Inexact("the function differs between events")
    same = all(numpy_helper.to_array(tensor).size == 1 for tensor in model.graph.initializer)
    fraction = max(0, int(grid.fractions.max(initial=0)))
    low, high = (int(np.ldexp(end, fraction)) for end in (grid.low.min(), grid.high.max()))
    if high - low >= TABLE_ENTRIES:
        raise Inexact(
            f"its table would have {high - low + 1} entries, more than {TABLE_ENTRIES}; round its input first"
        )
    entries = np.ldexp(np.arange(low, high + 1, dtype=np.float64), -fraction).astype(dtype)
    columns = (1,) if same else shape
    if entries.size * np.prod(columns) > TABLE_VALUES:
        raise Inexact(
            f"{np.prod(columns)} elements have tables of {entries.size} entries each; round the input first"
        )
    values = {source: np.broadcast_to(entries.reshape(-1, *[1] * len(columns)), (entries.size, *columns))}
    rounded, before = (one.name for one in model.graph.output)
    exact, single = Reference(model)(values), Reference(model, double=False)(values)
    results, plain = (exact[name].reshape(entries.size, -1) for name in (rounded, before))
    if results.shape[1] != np.prod(columns):
        raise Inexact("the function is not one of single elements")
    kind = next(node.op_type for node in model.graph.node if rounded in node.output)
    nearest = (
        np.abs(plain - np.rint(plain)) if kind in ("Floor", "Ceil") else np.abs(plain - np.floor(plain) - 0.5)
    )
    close = nearest < TIE_MARGIN * np.maximum(1, np.abs(plain))
    if not same:  # elements have ranges of their own
        ends = (np.broadcast_to(end, shape).ravel() for end in (grid.low, grid.high))
        least, most = ends
        close &= (entries[:, None] >= least) & (entries[:, None] <= most)
    if close.any() or not np.array_equal(exact[rounded], single[rounded]):
        where = entries[int(np.argmax(close.any(axis=1)))]
        raise Inexact(f"at {where:g} its value is on the edge of two roundings, and engines may differ")
    tables, table_of = np.unique(results.T.astype(np.float64), axis=0, return_inverse=True)
    return Tables(low, fraction, tables, np.broadcast_to(table_of.ravel(), int(np.prod(shape))))
