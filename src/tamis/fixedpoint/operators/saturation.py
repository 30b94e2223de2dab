"""Saturation that a graph writes as choices: `Where(x > high, high, Where(x < low, low, x))`, as HGQ2 exports it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from tamis.fixedpoint.operators.operands import Inexact, Operands, operand

ABOVE, BELOW = frozenset(["Greater", "GreaterOrEqual"]), frozenset(["Less", "LessOrEqual"])


@dataclass(frozen=True)
class Limit:
    """A value of the program that was compared with constants, or that a limit was chosen for: from above or from below."""

    value: int
    above: bool
    bound: np.ndarray


@dataclass
class Choices:
    """Comparisons of values with constants, and values that are limited by some already."""

    asked: dict[str, Limit] = field(default_factory=dict)
    limited: dict[int, Limit] = field(default_factory=dict)

    def note(
        self, node: onnx.NodeProto, core: Mapping[str, int], constants: Mapping[str, np.ndarray]
    ) -> bool:
        """Remember a comparison of a value of the program with a constant; return whether the node is one."""
        names = list(node.input)
        if node.op_type in ("Cast", "Identity") and names[0] in self.asked:
            self.asked[node.output[0]] = self.asked[names[0]]
            return True
        if node.op_type not in ABOVE | BELOW:
            return False
        if names[0] in core and names[1] in constants:
            above, value, bound = node.op_type in ABOVE, core[names[0]], constants[names[1]]
        elif names[1] in core and names[0] in constants:
            above, value, bound = node.op_type in BELOW, core[names[1]], constants[names[0]]
        else:
            return False
        self.asked[node.output[0]] = Limit(value, above, np.asarray(bound))
        return True

    def chooses(self, node: onnx.NodeProto, core: Container[str], constants: Container[str]) -> bool:
        """Return whether a node takes a constant or a value of the program by a comparison."""
        names = node.input
        return (
            node.op_type == "Where" and names[0] in self.asked and names[1] in constants and names[2] in core
        )

    def saturated(self, operands: Operands) -> list[int]:
        """Translate such a choice where it is a limit."""
        limit = self.asked[operands.node.input[0]]
        inner = operands.value(2)
        before = self.limited.get(inner)
        shape = operands.shape(inner)
        bound, chosen = (
            np.broadcast_to(operand(one, len(shape)), shape).astype(np.float64)
            for one in (limit.bound, operands.constant(1, "the limit"))
        )
        crossed = (
            before is not None
            and before.above != limit.above
            and ((before.bound < bound).any() if before.above else (before.bound > bound).any())
        )
        if (before.value if before else inner) != limit.value or not np.array_equal(bound, chosen) or crossed:
            raise Inexact("it chooses between values in another way than saturation")
        result = operands.clip(inner, *((-np.inf, bound) if limit.above else (bound, np.inf)))
        self.limited[result] = Limit(limit.value, limit.above, bound)
        return [result]
