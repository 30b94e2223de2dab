"""Where values of a recurrent layer are rounded: one format for all steps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper

QUANTISED = "/quantised"  # the suffix of rounded tensors
# |x| up to which a table reaches, as a power of two: a sigmoid is 0.9997 at 8, tanh 0.9993 at 4
TABLE_REACH = {"Sigmoid": 3, "Tanh": 2}
CELL_BITS = 2  # more than activations have, for the state that an LSTM adds to


@dataclass
class SharedPoint:
    """Tensors, one for each step, that are rounded to one format."""

    name: str
    non_negative: bool = False
    most_reach: int | None = None  # bits before the binary point that are enough
    more_bits: int = 0
    of_channels: bool = False  # the last axis are channels, which may have formats of their own
    tensors: list[tuple[str, str]] = field(default_factory=list)  # before and after the rounding


@dataclass(frozen=True)
class TableFunction:
    """A function of one rounded value whose result is rounded again: a table."""

    operator: str
    argument: str  # names of points
    result: str


class ExpansionWriter:
    """Appends nodes and constants to a graph, and rounds."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Write into a copy of the graph without nodes."""
        self.model = model
        self.points: dict[str, SharedPoint] = {}
        self.tables: dict[str, TableFunction] = {}  # by the point of the result
        self.owners: dict[str, str] = {}  # the point whose values a tensor has
        self.layers: dict[str, str] = {}  # names of products by their weights
        self.constants: dict[tuple[bytes, str, tuple[int, ...]], str] = {}

    def node(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        """Append a node."""
        self.model.graph.node.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def initializer(self, name: str, array: np.ndarray) -> str:
        """Add a constant of a name."""
        self.model.graph.initializer.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def constant(self, array: np.ndarray) -> str:
        """Return the name of a constant, which is added once."""
        key = (array.tobytes(), str(array.dtype), array.shape)
        if key not in self.constants:
            self.constants[key] = self.initializer(f"recurrent/constant{len(self.constants)}", array)
        return self.constants[key]

    def slice(self, value: str, begin: int, end: int, output: str) -> str:
        """Return some columns of a matrix."""
        bounds = [self.constant(np.array([one])) for one in (begin, end, 1)]  # with the axis 1
        return self.node("Slice", [value, *bounds], output)

    def rounded(self, tensor: str, point: SharedPoint) -> str:
        """Round a tensor as the others of a point."""
        point = self.points.setdefault(point.name, point)
        quantised = tensor + QUANTISED
        point.tensors.append((tensor, quantised))
        self.owners[quantised] = point.name
        return self.node("Identity", [tensor], quantised)

    def table(self, operator: str, value: str, name: str, output: str) -> str:
        """Return a rounded function of a value that is rounded before."""
        argument = SharedPoint(name, most_reach=TABLE_REACH[operator])
        result = SharedPoint(f"{name}_{operator.lower()}", operator == "Sigmoid", most_reach=0)
        self.tables[result.name] = TableFunction(operator, argument.name, result.name)
        read = self.rounded(value, argument)
        return self.rounded(self.node(operator, [read], output), result)
