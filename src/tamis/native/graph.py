"""The graph of one event: every shape known, everything folded that does not depend on the event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tamis._base import ModelError

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | np.ndarray


@dataclass(frozen=True)
class TensorType:
    """What a tensor is: its shape for one event (a leading 1 where a batch would be), and its type."""

    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True)
class Node:
    """One operator of the graph; an input that is left out is ''."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    opset: int = 17

    def has(self, attribute: str) -> bool:
        """Tell whether an attribute is given."""
        return attribute in self.attributes

    def number(self, attribute: str, default: float | None = None) -> float:
        """Return an attribute that is a number."""
        value = self._attribute(attribute, default)
        if isinstance(value, int | float):
            return float(value)
        raise self._wrong(attribute, value, "a number")

    def integer(self, attribute: str, default: int | None = None) -> int:
        """Return an attribute that is a whole number."""
        value = self._attribute(attribute, default)
        if isinstance(value, int):
            return value
        raise self._wrong(attribute, value, "a whole number")

    def integers(self, attribute: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """Return an attribute that is a list of whole numbers."""
        value = self._attribute(attribute, None if default is None else tuple(default))
        if isinstance(value, tuple):
            return tuple(int(one) for one in value)
        raise self._wrong(attribute, value, "a list of whole numbers")

    def text(self, attribute: str, default: str | None = None) -> str:
        """Return an attribute that is text."""
        value = self._attribute(attribute, default)
        if isinstance(value, str):
            return value
        raise self._wrong(attribute, value, "text")

    def input(self, place: int) -> str:
        """Return the name of an input, '' where it is left out."""
        return self.inputs[place] if place < len(self.inputs) else ""

    def _attribute(self, attribute: str, default: Attribute | None) -> Attribute:
        value = self.attributes.get(attribute, default)
        if value is None:
            raise ModelError(
                f"the node {self.name!r} ({self.kind}) has no attribute {attribute!r}, which it needs; check the model with onnx.checker"
            )
        return value

    def _wrong(self, attribute: str, value: Attribute, wanted: str) -> ModelError:
        return ModelError(
            f"the attribute {attribute!r} of the node {self.name!r} ({self.kind}) is {value!r:.60}, not {wanted}; check the model with onnx.checker"
        )

    def __str__(self) -> str:
        """Return the node as a line of the listing."""
        given = ", ".join(f"{k}={v}" for k, v in self.attributes.items() if not isinstance(v, np.ndarray))
        return f"{', '.join(self.outputs)} = {self.kind}({', '.join(self.inputs)})" + (
            f" {{{given}}}" if given else ""
        )


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which each has its inputs; `constants` holds what is known before the event."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    types: Mapping[str, TensorType]
    constants: Mapping[str, np.ndarray]

    def __str__(self) -> str:
        """Return the listing: each tensor with its shape."""
        lines = [f"input {name}{list(self.types[name].shape)}" for name in self.inputs]
        lines += [
            f"{node}  -> {[list(self.types[o].shape) for o in node.outputs if o]}" for node in self.nodes
        ]
        lines += [f"output {name}{list(self.types[name].shape)}" for name in self.outputs]
        return "\n".join(lines)
