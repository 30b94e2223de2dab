"""The two kinds of kernels, and where each number is in memory.

Wide: the lanes of a vector are events, so that everything is vectorised, whatever its shape. Narrow: the lanes are neighbouring numbers
of one event; a few events are computed together, so that weights are read once. Both compute each number by the same operations in the
same order, and give the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tamis.native.targets import Target
from tamis.native.view import Buffer, Role, View


@dataclass(frozen=True)
class Mode:
    """Wide or narrow, and the memory layout that follows from it."""

    target: Target
    wide: bool
    count: int  # wide: vectors per number; narrow: events
    offsets: Mapping[Buffer, int]  # of scratch and constants, in numbers
    total: int  # numbers of scratch of one event
    names: Mapping[Buffer, str]  # of inputs and outputs, in C

    @property
    def lanes(self) -> int:
        """Return the floats of a vector."""
        return self.target.lanes

    @property
    def scale(self) -> int:
        """Return the floats that a number of scratch takes."""
        return self.count * self.lanes if self.wide else 1

    def is_constant(self, view: View) -> bool:
        """Return whether a view is the same for all events."""
        return view.buffer.role is Role.CONSTANT

    def factor(self, view: View) -> int:
        """Return the floats from one number of a view's buffer to the next."""
        return 1 if self.is_constant(view) else self.scale

    def event_stride(self, view: View) -> int:
        """Return the floats from event to event in a narrow kernel."""
        role = view.buffer.role
        if role is Role.CONSTANT:
            return 0
        return self.total if role is Role.SCRATCH else view.buffer.elements

    def base(self, view: View) -> str:
        """Return the address of a view's first element, in C."""
        factor, role = self.factor(view), view.buffer.role
        moving = f" + t * {view.step * factor}" if view.step else ""
        if role is Role.CONSTANT:
            return f"w + {self.offsets[view.buffer] + view.offset}{moving}"
        if role is Role.SCRATCH or self.wide:
            return f"s + {(self.offsets[view.buffer] + view.offset) * factor}{moving}"
        return f"{self.names[view.buffer]} + {view.offset}{moving}"
