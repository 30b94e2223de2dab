"""What lowering knows while it traverses a graph: the value of each tensor so far, and the statements so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from tamis._base import ModelError
from tamis.native.expression import Expression, Load, Number, cost, expand, reshaped
from tamis.native.graph import Graph, Node, Varying
from tamis.native.interpolate import corner
from tamis.native.limits import LARGEST_EXACT_INTEGER, MOST_STATEMENTS, OTHER_ENGINES
from tamis.native.program import Map, Program, Statement
from tamis.native.sizes import Size, SizeDependentError, greatest, largest, typical
from tamis.native.thresholds import DEEPEST_EXPRESSION, RECOMPUTED_COST, RECOMPUTED_ELEMENTS
from tamis.native.view import Buffer, Role, View

MOST_TABULATED = 1 << 16  # numbers of a constant that a size is looked up in


class Context:
    """The values of a graph's tensors, as expressions over buffers."""

    def __init__(self, graph: Graph, stored: Iterable[str] = ()) -> None:
        """Begin with the inputs; `stored` names the tensors that have to be in buffers."""
        self.graph, self.program = graph, Program(table=graph.table)
        self._values: dict[str, Expression] = {}
        self._uses = Counter(name for node in graph.nodes for name in node.inputs)
        self._uses.update(graph.outputs)
        self._stored = set(stored)
        self._count = 0
        for name in graph.inputs:
            shape = graph.types[name].shape
            buffer = Buffer(name, prod(shape), Role.INPUT)
            self.program.inputs.append(buffer)
            if name not in graph.held:
                self._values[name] = Load(View.whole(buffer, shape))

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return self.graph.types[name].shape

    def constant(self, name: str) -> np.ndarray | None:
        """Return a tensor that does not depend on the event, None for others."""
        return self.graph.constants.get(name)

    def dtype(self, name: str) -> np.dtype:
        """Return a tensor's type in the model; all are floats in the program."""
        return self.graph.types[name].dtype

    def is_needed(self, name: str) -> bool:
        """Return whether anything reads a tensor."""
        return bool(name) and self._uses[name] > 0

    def is_defined(self, name: str) -> bool:
        """Return whether a tensor has a value yet."""
        return name in self._values

    def known(self, node: Node, place: int) -> np.ndarray:
        """Return an input of a node that has to be a constant; ModelError if it depends on the event."""
        name = node.inputs[place]
        value = self.graph.constants.get(name)
        if value is None and name in self.graph.varying:
            value = self.graph.varying[name].integers()
        if value is None:
            why = f"its input {name!r} depends on the event, and has to be constant"
            raise EventDependentError(str(unsupported(node, why)), name)
        return value

    def optional(self, node: Node, place: int) -> np.ndarray | None:
        """Return a constant input, or None if it is omitted."""
        return self.known(node, place) if node.input(place) else None

    def value(self, name: str) -> Expression:
        """Return a tensor's value."""
        value = self._values.get(name)
        if value is None:
            varying = self.graph.varying.get(name)
            value = self._values[name] = (
                self.constant_value(self.graph.constants[name], name)
                if varying is None
                else self.varying_value(varying, name)
            )
        return value

    def varying_value(self, varying: Varying, name: str = "c") -> Expression:
        """Return a tensor that depends on the number of particles: a part of a constant, or one of several."""
        rows = [np.asarray(one) for one in varying.values]
        shape = tuple(varying.table.size(axis) for axis in zip(*(one.shape for one in rows), strict=True))
        most = tuple(max(axis) for axis in zip(*(one.shape for one in rows), strict=True))
        flat = np.concatenate([one.ravel() for one in rows])
        if flat.size and (flat == flat[0]).all():
            return Number(float(flat[0]), shape)
        whole = max(rows, key=lambda one: one.size)
        if whole.shape == most and all((whole[corner(one.shape)] == one).all() for one in rows):
            view = self.constant_value(whole, name)
            assert isinstance(view, Load)  # noqa: S101 - not all elements are equal
            return Load(replace(view.view, shape=shape))
        sizes = varying.integers()
        if varying.table.free is not None and sizes is not None and sizes.size == 1:
            return Load(
                replace(self._function_of(float, sizes.item(), name), shape=shape, strides=(0,) * len(shape))
            )
        every = np.zeros((len(rows), *most), whole.dtype)
        for row, one in enumerate(rows):
            every[row : row + 1][(slice(None), *corner(one.shape))] = one
        view = self.constant_value(every, name)
        assert isinstance(view, Load)  # noqa: S101
        return Load(replace(view.view.at(0, varying.table.row()), shape=shape))

    def positions(self, size: int) -> Expression:
        """Return the integers from 0 to below a size."""
        if not isinstance(size, Size):
            return self.constant_value(np.arange(size, dtype=np.float32))
        rows = tuple(np.arange(one, dtype=np.float32) for one in size.values)
        return self.varying_value(Varying(size.table, rows))

    def factor(self, function: Callable[[int], float], size: int) -> Expression:
        """Return a number that depends on a size."""
        if not isinstance(size, Size):
            return Number(function(size))
        if size.table.free is not None:
            return Load(self._function_of(function, size))
        rows = tuple(np.array(function(int(one)), np.float32) for one in size.values)
        return self.varying_value(Varying(size.table, rows))

    def _function_of(self, function: Callable[[int], float], size: Size, name: str = "c") -> View:
        """Return a number that depends on a size, from a constant with the number for each size."""
        smallest = int(size.values.min())
        if size.largest - smallest > MOST_TABULATED:
            raise SizeDependentError(
                f"the native engine cannot compile one code for all sizes: {name!r} would be a table of {size.largest - smallest + 1} numbers"
            )
        every = [function(one) for one in range(smallest, size.largest + 1)]
        buffer = self.constant_buffer(np.array(every, np.float32), name)
        return View.whole(buffer, (len(every),)).at(0, size - smallest)

    def constant_value(self, array: np.ndarray, name: str = "c") -> Expression:
        """Return a constant: a number if all its elements are equal, else a new buffer."""
        values = np.asarray(array)
        largest = (
            max(-int(values.min()), int(values.max())) if values.dtype.kind in "iu" and values.size else 0
        )
        if largest > LARGEST_EXACT_INTEGER:
            raise ModelError(
                f"the native engine stores integers as floats, exact up to {LARGEST_EXACT_INTEGER}, and {name!r} contains {largest}; {OTHER_ENGINES}"
            )
        if values.size and (values == values.flat[0]).all():
            return Number(float(values.flat[0]), values.shape)
        return Load(View.whole(self.constant_buffer(values, name), values.shape))

    def constant_buffer(self, values: np.ndarray, name: str = "c") -> Buffer:
        """Return a new buffer of constants."""
        self._count += 1
        buffer = Buffer(f"{name}#{self._count}", values.size, Role.CONSTANT)
        self.program.constants[buffer] = np.ascontiguousarray(values, np.float32)
        return buffer

    def define(self, name: str, value: Expression) -> None:
        """Give a tensor its value; one that is used repeatedly, and is not cheap to recompute, is written to a buffer."""
        assert value.shape == self.shape(name), (name, value.shape, self.shape(name))  # noqa: S101
        self._values[name] = value
        effort = cost(value)
        recomputed = largest(prod(value.shape)) > RECOMPUTED_ELEMENTS and effort <= RECOMPUTED_COST
        reused = self._uses[name] > 1 and effort and not recomputed
        if name in self._stored or effort > DEEPEST_EXPRESSION or reused:
            self.view(name)

    def view(self, name: str) -> View:
        """Return a tensor as a view, after writing it to a buffer if necessary."""
        value = self.value(name)
        if not isinstance(value, Load):
            value = Load(self.write(value, name))
            self._values[name] = value
        return value.view

    def scratch(self, shape: Sequence[int], name: str = "t") -> View:
        """Return a new buffer as a view."""
        self._count += 1
        return View.whole(Buffer(f"{name}#{self._count}", greatest(1, prod(shape))), tuple(shape))

    def write(self, value: Expression, name: str = "t", out: View | None = None) -> View:
        """Return a value as a view, after writing it to `out` or a new buffer if necessary."""
        if isinstance(value, Load) and out is None:
            return value.view
        out = self.scratch(value.shape, name) if out is None else out
        self.add(Map(value, out))
        return out

    def add(self, statement: Statement) -> None:
        """Append a statement, unless it would write no elements."""
        if not statement.nested() and any(0 in view.shape for view in statement.writes()):
            return
        if len(self.program.statements) >= MOST_STATEMENTS:
            raise ModelError(
                f"the native engine compiles models of up to {MOST_STATEMENTS} statements, and this one has more; {OTHER_ENGINES}"
            )
        self.program.statements.append(statement)

    def settled(self, value: Expression, times: int = 1) -> Expression:
        """Return a value that can be read `times` times: a buffer where that would repeat much work."""
        return Load(self.write(value)) if cost(value) * times > DEEPEST_EXPRESSION else value

    def broadcast(self, value: Expression, shape: Sequence[int]) -> Expression:
        """Broadcast; a value that would be recomputed for each copy is written to a buffer first."""
        if typical(prod(shape)) > typical(prod(value.shape)) and cost(value):
            value = Load(self.write(value))
        return expand(value, shape)

    def reshape(self, value: Expression, shape: Sequence[int]) -> Expression:
        """Return a value under another shape; it is copied to a buffer if its strides do not allow that."""
        result = reshaped(value, shape)
        if result is None:
            copy = self.write(value, out=self.scratch(value.shape))
            result = reshaped(Load(copy), shape)
            assert result is not None  # noqa: S101 - a new buffer is in C order
        return result

    def permute(self, value: Expression, order: Sequence[int]) -> Expression:
        """Return a value with its axes in another order."""
        axes = tuple(order)
        return value.moved(lambda view: view.permute(axes), tuple(value.shape[i] for i in axes))

    def slice(self, value: Expression, axis: int, start: int, count: int, step: int = 1) -> Expression:
        """Return `count` indices of an axis, from `start` in steps."""
        shape = (*value.shape[:axis], count, *value.shape[axis + 1 :])
        return value.moved(lambda view: view.slice(axis, start, count, step), shape)

    def insert(self, value: Expression, axis: int, count: int) -> Expression:
        """Return a value repeated along a new axis."""
        shape = (*value.shape[:axis], count, *value.shape[axis:])
        return value.moved(lambda view: view.insert(axis, count), shape)

    def at(self, value: Expression, axis: int, index: int) -> Expression:
        """Return one index of an axis, without that axis."""
        shape = value.shape[:axis] + value.shape[axis + 1 :]
        return value.moved(lambda view: view.at(axis, index), shape)


class EventDependentError(ModelError):
    """A tensor has to be a constant, and depends on the event."""

    def __init__(self, message: str, tensor: str) -> None:
        """Take the message, and the name of the tensor."""
        super().__init__(message)
        self.tensor = tensor


def unsupported(node: Node, why: str) -> ModelError:
    """Return the error for a node that cannot be compiled."""
    return ModelError(
        f"the native engine does not compile the node {node.name!r} ({node.kind}): {why}; {OTHER_ENGINES}"
    )
