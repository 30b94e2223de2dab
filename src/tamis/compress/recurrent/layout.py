"""Where the elements of recurrent layers come from and go to, whatever order of axes an exporter chose.

Recurrent operators put the time or the direction before the batch, and exporters move axes around them. Here a moved tensor is a list of
indices into a base whose first axis is the batch, which moving operators are run on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from tamis._base import ModelError
from tamis.bundle import Reference
from tamis.bundle.reference import evaluate_node

ROWS = 3  # of the example that is traced
MOVES = frozenset(
    ["Concat", "Dropout", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"]
)  # fmt: skip


@dataclass(frozen=True)
class Moved:
    """A tensor whose element at a place is element `indices` of a base with `size` elements per row; rows follow each other."""

    base: str
    size: int
    indices: np.ndarray

    def by_row(self) -> np.ndarray | None:
        """Return the indices within a row of the base, without the batch; None if the batch is not the first axis."""
        rows = np.arange(ROWS).reshape(-1, *[1] * (self.indices.ndim - 1))
        inside = self.indices - rows * self.size
        same = self.indices.shape[:1] == (ROWS,) and (inside == inside[:1]).all()
        if not same or inside.min(initial=0) < 0 or inside.max(initial=0) >= self.size:
            return None
        return np.asarray(inside[0])


class Layouts:
    """The values of a graph for an example, which of them are constant, and where moved ones come from."""

    def __init__(self, model: onnx.ModelProto, name: str) -> None:
        """Trace rows of zeros."""
        self.model, self.name = model, name
        self.values = Reference(model, double=False).trace(self._example())
        self.makers = {output: node for node in model.graph.node for output in node.output if output}
        self.constant = {one.name for one in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Shape" or all(one in self.constant for one in node.input if one):
                self.constant.update(node.output)
        self.moved: dict[str, Moved] = {}  # of the results of recurrent layers

    def _example(self) -> dict[str, np.ndarray]:
        example = {}
        constants = {one.name for one in self.model.graph.initializer}
        for value in self.model.graph.input:
            if value.name in constants:
                continue
            kind = value.type.tensor_type
            sizes = [dim.dim_value for dim in kind.shape.dim]
            if 0 in sizes[1:]:
                raise ModelError(
                    f"the input {value.name!r} of {self.name} has an axis of any length after the first one: a recurrent layer is compressed "
                    "for a fixed number of steps; export the model with it"
                )
            example[value.name] = np.zeros(
                [ROWS, *sizes[1:]], helper.tensor_dtype_to_np_dtype(kind.elem_type)
            )
        return example

    def follow(self, node: onnx.NodeProto) -> bool:
        """Note the results of a node that only moves results of one recurrent layer; return whether it is one."""
        data = [name for name in node.input if name and name not in self.constant]
        if node.op_type not in MOVES or not data or any(name not in self.moved for name in data):
            return False
        first = self.moved[data[0]]
        if any(self.moved[name].base != first.base for name in data):
            return False
        inputs = [
            self.moved[one].indices if one in self.moved else self.values.get(one) for one in node.input
        ]
        for output, indices in zip(node.output, evaluate_node(node, inputs, self.model), strict=False):
            self.moved[output] = Moved(first.base, first.size, indices)
        return True

    def sequence(self, name: str, *, batch_first: bool) -> Moved:
        """Return the input of a recurrent layer in the order batch, step, feature; `name` may be moved from another tensor."""
        axes = (0, 1, 2) if batch_first else (1, 0, 2)
        known = self.moved.get(name)
        if known is not None:
            return Moved(known.base, known.size, known.indices.transpose(axes))
        chain: list[onnx.NodeProto] = []
        base = name
        while True:
            array = self.values[base]
            if array.shape[:1] == (ROWS,):
                moved = self._run(base, chain, name)
                found = Moved(base, array[0].size, moved.transpose(axes))
                if found.by_row() is not None:
                    return found
            maker = self.makers.get(base)
            data = [] if maker is None else [one for one in maker.input if one and one not in self.constant]
            if maker is None or maker.op_type not in MOVES or len(data) != 1:
                raise ModelError(
                    f"{name!r}, the input of a recurrent layer of {self.name}, has no axis for the rows of a batch: export the model with a "
                    "free batch dimension"
                )
            chain.insert(0, maker)
            base = data[0]

    def _run(self, base: str, chain: list[onnx.NodeProto], name: str) -> np.ndarray:
        """Return the indices of a tensor that a chain of moves makes of a base."""
        known: Mapping[str, np.ndarray] = {
            base: np.arange(self.values[base].size).reshape(self.values[base].shape)
        }
        for node in chain:
            inputs = [known[one] if one in known else self.values.get(one) for one in node.input]
            known = dict(zip(node.output, evaluate_node(node, inputs, self.model), strict=False))
        return known[name]

    def initial(self, node: onnx.NodeProto, place: int, hidden: int, *, batch_first: bool) -> np.ndarray:
        """Return the initial state of a recurrent layer: (directions, hidden)."""
        directions = self.values[node.input[2]].shape[0]
        name = node.input[place] if place < len(node.input) else ""
        if not name:
            return np.zeros((directions, hidden), np.float32)
        array = self.values[name].transpose((1, 0, 2) if batch_first else (0, 1, 2))
        if name not in self.constant or (array != array[:, :1]).any():
            raise ModelError(
                f"the node {node_place(node)} of {self.name} begins with a state that is computed ({name!r}): compression takes constant ones, "
                "such as zero; export the model with them"
            )
        return np.asarray(array[:, 0], np.float32)


def node_place(node: onnx.NodeProto) -> str:
    """Return how messages name a node."""
    return f"{node.name or node.output[0]!r} ({node.op_type})"
