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
# Their values are never on the edge of two roundings, but for few inputs such as 0: engines agree where they are exact enough.
TRANSCENDENTAL = frozenset(
    ["Cos", "Elu", "Erf", "Exp", "Gelu", "Log", "Selu", "Sigmoid", "Sin", "Softplus", "Tanh"]
)
MOST_INPUTS = 3  # named in a sentence
TABLE_ENTRIES = 1 << 16
TABLE_VALUES = 1 << 24  # of all elements together
# A value this close to where the rounding changes may be rounded differently by another engine, relative to the largest value of the
# table: sigmoid and tanh of ONNX Runtime, OpenVINO and PyTorch are up to 2.7e-7 from the exact ones.
TIE_MARGIN = 3e-7


@dataclass(frozen=True)
class Tables:
    """Integer `n` of an element, with these fraction bits, becomes `tables[t][n - low]`, where `t` is the element's table.

    `doubtful` are the inputs where the function is so close to the edge of two roundings that engines may give either.
    """

    low: int
    fraction: int
    tables: np.ndarray
    table_of: np.ndarray  # of each element, flattened
    doubtful: np.ndarray
    functions: str

    @property
    def doubt(self) -> str:
        """Return a sentence about the doubtful inputs."""
        inputs = ", ".join(f"{one:g}" for one in self.doubtful[:MOST_INPUTS])
        more = ", ..." * (len(self.doubtful) > MOST_INPUTS)
        return (
            f"At {len(self.doubtful)} of {self.tables.shape[1]} inputs ({inputs}{more}) the rounded {self.functions} is on the edge of two "
            "values: hardware has the exact one, engines that compute in floating point may give its neighbour."
        )


def tabulated(model: onnx.ModelProto, source: str, grid: FixedGrid, dtype: np.dtype) -> Tables:
    """Return the tables of a model of one input, one for all elements where its function is the same everywhere.

    Its first output is a rounded function of the input, its second one the same before the rounding. Entries are those of float64. Raises
    Inexact where a table would depend on who computes it; a few doubtful entries of a transcendental function are only noted.
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
    edge = nearest < TIE_MARGIN * np.maximum(1, np.abs(plain).max(initial=0))
    differ = np.abs(results - single[rounded].reshape(results.shape))
    inside = np.full(results.shape, True)
    if not same:  # elements have ranges of their own
        least, most = (np.broadcast_to(end, shape).ravel() for end in (grid.low, grid.high))
        inside = (entries[:, None] >= least) & (entries[:, None] <= most)
    functions = dict.fromkeys(node.op_type for node in model.graph.node if node.op_type in TRANSCENDENTAL)
    edge = (edge & (nearest > 0) if functions else edge) | (differ > 0)
    refused = inside & (~(differ <= 1) if functions else edge)  # also where one of them is NaN
    if refused.any():
        where = entries[int(np.argmax(refused.any(axis=1)))]
        raise Inexact(f"at {where:g} its value is on the edge of two roundings, and engines may differ")
    doubtful = entries[(inside & edge).any(axis=1)]
    tables, table_of = np.unique(results.T.astype(np.float64), axis=0, return_inverse=True)
    elements = np.broadcast_to(table_of.ravel(), int(np.prod(shape)))
    return Tables(low, fraction, tables, elements, doubtful, "/".join(functions))
