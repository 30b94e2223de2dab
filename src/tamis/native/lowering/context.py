"""What lowering knows while it goes through a graph: the value of each tensor so far, and what has been written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

import numpy as np

from tamis._base import ModelError
from tamis.native.expression import Expression, Load, Number, cost, expand, reshaped
from tamis.native.graph import Graph, Node
from tamis.native.limits import EXACT
from tamis.native.program import Loop, Map, Program, Statement
from tamis.native.view import Buffer, Role, View

DEEP = 200  # instructions: a longer expression is written down in pieces
STATEMENTS = 6000  # more than these would take a compiler minutes
LARGE = 2048  # elements: what is cheap and larger than this is computed again rather than kept
CHEAP = 12  # instructions
STORED = {"MatMul", "Gemm", "GRU", "LSTM", "RNN"}  # what they read has to be written down first


class Context:
    """The values of a graph's tensors, as expressions over buffers."""

    def __init__(self, graph: Graph) -> None:
        """Begin with the inputs."""
        self.graph, self.program = graph, Program()
        self._values: dict[str, Expression] = {}
        self._uses = Counter(name for node in graph.nodes for name in node.inputs)
        self._uses.update(graph.outputs)
        self._wanted = {name for node in graph.nodes if node.kind in STORED for name in node.inputs}
        self._count = 0
        for name in graph.inputs:
            shape = graph.types[name].shape
            buffer = Buffer(name, prod(shape), Role.INPUT)
            self.program.inputs.append(buffer)
            self._values[name] = Load(View.whole(buffer, shape))

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return self.graph.types[name].shape

    def constant(self, name: str) -> np.ndarray | None:
        """Return what a tensor holds, where it is known."""
        return self.graph.constants.get(name)

    def dtype(self, name: str) -> np.dtype:
        """Return a tensor's type in the model; whatever it is, its numbers are floats here."""
        return self.graph.types[name].dtype

    def is_needed(self, name: str) -> bool:
        """Tell whether anything reads a tensor."""
        return bool(name) and self._uses[name] > 0

    def is_defined(self, name: str) -> bool:
        """Tell whether a tensor has its value."""
        return name in self._values

    def known(self, node: Node, place: int) -> np.ndarray:
        """Return the input of a node that has to be known before the event."""
        value = self.graph.constants.get(node.inputs[place])
        if value is None:
            raise unsupported(
                node, f"its input {node.inputs[place]!r} depends on the event, and has to be a constant"
            )
        return value

    def optional(self, node: Node, place: int) -> np.ndarray | None:
        """Return a known input, or None where it was left out."""
        return self.known(node, place) if node.input(place) else None

    def value(self, name: str) -> Expression:
        """Return a tensor as it stands."""
        found = self._values.get(name)
        if found is None:
            found = self._values[name] = self.hold(self.graph.constants[name], name)
        return found

    def hold(self, array: np.ndarray, name: str = "c") -> Expression:
        """Return a constant: a number where it is one everywhere, else a buffer of its own."""
        values = np.asarray(array)
        largest = (
            max(-int(values.min()), int(values.max())) if values.dtype.kind in "iu" and values.size else 0
        )
        if largest > EXACT:
            raise ModelError(
                f"the native engine keeps whole numbers as floats, exact up to {EXACT}, and {name!r} holds {largest}; "
                "use engine='onnxruntime' or 'auto'"
            )
        if values.size and (values == values.flat[0]).all():
            return Number(float(values.flat[0]), values.shape)
        return Load(View.whole(self.keep(values, name), values.shape))

    def keep(self, values: np.ndarray, name: str = "c") -> Buffer:
        """Return a new place for constants."""
        self._count += 1
        buffer = Buffer(f"{name}#{self._count}", values.size, Role.CONSTANT)
        self.program.constants[buffer] = np.ascontiguousarray(values, np.float32)
        return buffer

    def define(self, name: str, value: Expression) -> None:
        """Give a tensor its value; what is used often and not cheaply had again is written down at once."""
        assert value.shape == self.shape(name), (name, value.shape, self.shape(name))  # noqa: S101
        self._values[name] = value
        effort = cost(value)
        large = prod(value.shape) > LARGE and effort <= CHEAP  # cheaper to have again than to keep
        if name in self._wanted or effort > DEEP or (self._uses[name] > 1 and effort and not large):
            self.view(name)

    def view(self, name: str) -> View:
        """Return where a tensor lies, after writing it down if need be."""
        value = self.value(name)
        if not isinstance(value, Load):
            value = Load(self.write(value, name))
            self._values[name] = value
        return value.view

    def scratch(self, shape: Sequence[int], name: str = "t") -> View:
        """Return a new place for a tensor."""
        self._count += 1
        return View.whole(Buffer(f"{name}#{self._count}", max(1, prod(shape))), tuple(shape))

    def write(self, value: Expression, name: str = "t", out: View | None = None) -> View:
        """Return where a value lies, after writing it down if need be."""
        if isinstance(value, Load) and out is None:
            return value.view
        out = self.scratch(value.shape, name) if out is None else out
        self.add(Map(value, out))
        return out

    def add(self, statement: Statement) -> None:
        """Append a statement; what it would write nothing with is left out."""
        if not isinstance(statement, Loop) and any(0 in view.shape for view in statement.writes()):
            return
        if len(self.program.statements) >= STATEMENTS:
            raise ModelError(
                f"the native engine compiles models of up to {STATEMENTS} statements, and this one has more; use engine='onnxruntime' or 'auto'"
            )
        self.program.statements.append(statement)

    def settled(self, value: Expression, times: int = 1) -> Expression:
        """Return a value that may be read so many times: written down where that would repeat much work."""
        return Load(self.write(value)) if cost(value) * times > DEEP else value

    def broadcast(self, value: Expression, shape: Sequence[int]) -> Expression:
        """Broadcast; what would be computed many times over is written down first."""
        if prod(shape) > prod(value.shape) and cost(value):
            value = Load(self.write(value))
        return expand(value, shape)

    def reshape(self, value: Expression, shape: Sequence[int]) -> Expression:
        """Return a value under another shape; it is written down where its elements do not lie that way."""
        found = reshaped(value, shape)
        if found is None:
            if isinstance(value, Load):
                out = self.scratch(value.shape)
                self.add(Map(value, out))
                value = Load(out)
            else:
                value = Load(self.write(value))
            found = reshaped(value, shape)
            assert found is not None  # noqa: S101 - a new buffer is in C order
        return found

    def permute(self, value: Expression, order: Sequence[int]) -> Expression:
        """Return a value with its axes in another order."""
        axes = tuple(order)
        return value.moved(lambda view: view.permute(axes), tuple(value.shape[i] for i in axes))

    def slice(self, value: Expression, axis: int, start: int, count: int, step: int = 1) -> Expression:
        """Return some indices of an axis."""
        shape = (*value.shape[:axis], count, *value.shape[axis + 1 :])
        return value.moved(lambda view: view.slice(axis, start, count, step), shape)

    def insert(self, value: Expression, axis: int, count: int) -> Expression:
        """Return a value with a further axis, along which nothing changes."""
        shape = (*value.shape[:axis], count, *value.shape[axis:])
        return value.moved(lambda view: view.insert(axis, count), shape)

    def at(self, value: Expression, axis: int, index: int) -> Expression:
        """Return one index of an axis, and the axis gone."""
        shape = value.shape[:axis] + value.shape[axis + 1 :]
        return value.moved(lambda view: view.at(axis, index), shape)


def unsupported(node: Node, why: str) -> ModelError:
    """Return the one sentence on what cannot be compiled."""
    return ModelError(
        f"the native engine does not compile the node {node.name!r} ({node.kind}): {why}; use engine='onnxruntime' or 'auto'"
    )
