"""The two ways in which events go through a program, and where numbers lie in each.

Wide: a vector holds the same number of many events, so that everything is vectorised, whatever its shape.
Narrow: a vector holds neighbouring numbers of one event; a few events go through together, so that weights are read once.
Each number is computed by the same operations in the same order, so that both give the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tamis.native.view import Buffer, Role, View


@dataclass(frozen=True)
class Target:
    """What code is written for: floats of a vector, vector registers, bytes of the nearest cache."""

    lanes: int = 16
    registers: int = 32
    near: int = 32768


@dataclass(frozen=True)
class Mode:
    """A way, and its addresses."""

    target: Target
    wide: bool
    count: int  # wide: vectors per number; narrow: events
    offsets: Mapping[Buffer, int]  # of scratch and constants, in numbers
    total: int  # numbers of scratch of one event
    names: Mapping[Buffer, str]  # of inputs and outputs

    @property
    def lanes(self) -> int:
        """Return the floats of a vector."""
        return self.target.lanes

    @property
    def scale(self) -> int:
        """Return how many floats a number of scratch takes."""
        return self.count * self.lanes if self.wide else 1

    def is_constant(self, view: View) -> bool:
        """Tell whether a view is the same for all events."""
        return view.buffer.role is Role.CONSTANT

    def factor(self, view: View) -> int:
        """Return how many floats lie between two numbers of a view's buffer."""
        return 1 if self.is_constant(view) else self.scale

    def event_stride(self, view: View) -> int:
        """Return how many floats lie between events of the narrow way."""
        role = view.buffer.role
        if role is Role.CONSTANT:
            return 0
        return self.total if role is Role.SCRATCH else view.buffer.elements

    def base(self, view: View) -> str:
        """Return where a view begins, in C."""
        factor, role = self.factor(view), view.buffer.role
        moving = f" + t * {view.step * factor}" if view.step else ""
        if role is Role.CONSTANT:
            return f"w + {self.offsets[view.buffer] + view.offset}{moving}"
        if role is Role.SCRATCH or self.wide:
            return f"s + {(self.offsets[view.buffer] + view.offset) * factor}{moving}"
        return f"{self.names[view.buffer]} + {view.offset}{moving}"
