"""The graph of one event: every shape is known, and what does not depend on the event is a constant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tamis._base import ModelError
from tamis.native.sizes import SizeTable, in_row

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | np.ndarray


@dataclass(frozen=True)
class TensorType:
    """The element type of a tensor, and its shape for one event (1 along the batch axis)."""

    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True)
class Node:
    """One operator of the graph; the name of an omitted input is ''."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    opset: int = 17

    def has(self, attribute: str) -> bool:
        """Return whether the node has an attribute."""
        return attribute in self.attributes

    def number(self, attribute: str, default: float | None = None) -> float:
        """Return a numeric attribute."""
        value = self._attribute(attribute, default)
        if isinstance(value, int | float):
            return float(value)
        raise self._wrong(attribute, value, "a number")

    def integer(self, attribute: str, default: int | None = None) -> int:
        """Return an integer attribute."""
        value = self._attribute(attribute, default)
        if isinstance(value, int):
            return value
        raise self._wrong(attribute, value, "an integer")

    def integers(self, attribute: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """Return an attribute that is a list of integers."""
        value = self._attribute(attribute, None if default is None else tuple(default))
        if isinstance(value, tuple):
            return tuple(int(one) for one in value)
        raise self._wrong(attribute, value, "a list of integers")

    def text(self, attribute: str, default: str | None = None) -> str:
        """Return a text attribute."""
        value = self._attribute(attribute, default)
        if isinstance(value, str):
            return value
        raise self._wrong(attribute, value, "text")

    def input(self, place: int) -> str:
        """Return the name of an input, '' if it is omitted."""
        return self.inputs[place] if place < len(self.inputs) else ""

    def _attribute(self, attribute: str, default: Attribute | None) -> Attribute:
        value = self.attributes.get(attribute, default)
        if value is None:
            raise ModelError(
                f"the node {self.name!r} ({self.kind}) lacks the required attribute {attribute!r}; check the model with onnx.checker"
            )
        return value

    def _wrong(self, attribute: str, value: Attribute, expected: str) -> ModelError:
        return ModelError(
            f"the attribute {attribute!r} of the node {self.name!r} ({self.kind}) is {value!r:.60}, not {expected}; check the model with onnx.checker"
        )

    def __str__(self) -> str:
        """Return the node as a line of the listing."""
        shown = ", ".join(f"{k}={v}" for k, v in self.attributes.items() if not isinstance(v, np.ndarray))
        return f"{', '.join(self.outputs)} = {self.kind}({', '.join(self.inputs)})" + (
            f" {{{shown}}}" if shown else ""
        )


@dataclass(frozen=True)
class Varying:
    """A tensor that depends on the number of particles of an event, and on nothing else of it."""

    table: SizeTable
    values: tuple[np.ndarray, ...]  # in each row

    def integers(self) -> np.ndarray | None:
        """Return its elements as sizes, None if they are not integers or their number varies."""
        first = self.values[0]
        if first.dtype.kind not in "iu" or any(one.shape != first.shape for one in self.values):
            return None
        rows = np.stack([one.ravel() for one in self.values])
        found = np.empty(first.size, object)
        found[:] = [self.table.size(column) for column in rows.T]
        return found.reshape(first.shape)


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order; `constants` are the tensors that do not depend on the event, `varying` those that depend on its size."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    types: Mapping[str, TensorType]
    constants: Mapping[str, np.ndarray]
    varying: Mapping[str, Varying] = field(default_factory=dict)
    table: SizeTable | None = None  # of the sizes in `types`; None: they are fixed
    held: Mapping[str, np.ndarray] = field(
        default_factory=dict
    )  # inputs that have the same value in every event

    def inputs_of(self, name: str) -> set[str]:
        """Return the inputs that a tensor depends on."""
        needed = {name}
        for node in reversed(self.nodes):
            if needed & set(node.outputs):
                needed |= set(node.inputs)
        return needed & set(self.inputs) - set(self.held)

    @property
    def rows(self) -> int:
        """Return the number of sizes."""
        return 1 if self.table is None else self.table.rows

    def shape_in(self, row: int, name: str) -> list[int]:
        """Return the shape of a tensor for one of the sizes."""
        return list(in_row(row, self.types[name].shape))

    def __str__(self) -> str:
        """Return a listing with the shape of each tensor."""
        lines = [f"input {name}{list(self.types[name].shape)}{self._held(name)}" for name in self.inputs]
        lines += [
            f"{node}  -> {[list(self.types[o].shape) for o in node.outputs if o]}" for node in self.nodes
        ]
        lines += [f"output {name}{list(self.types[name].shape)}" for name in self.outputs]
        return "\n".join(lines)

    def _held(self, name: str) -> str:
        """Return the value of an input that has the same one in every event."""
        return f" = {self.held[name].tolist()}" if name in self.held else ""
