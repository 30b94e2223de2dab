"""Loops over the elements of several views at once: addresses, and how a vector of each view is read and written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod

from tamis.native.emission.loops import Axis, by_distance, joined
from tamis.native.emission.mode import Mode
from tamis.native.emission.tuning import READ_COSTS, SHUFFLE_STRIDES
from tamis.native.emission.writer import Writer
from tamis.native.expression import Load
from tamis.native.sizes import is_fixed, typical
from tamis.native.view import Role, View


class Walk:
    """Views of one shape and the loops over them; strides are in floats. In a narrow kernel, one loop goes by vectors."""

    def __init__(self, writer: Writer, mode: Mode, views: Sequence[View]) -> None:
        """Take views with the same axes; the first one is written."""
        self.writer, self.mode, self.views = writer, mode, list(dict.fromkeys(views))
        self.loops: list[tuple[str, Axis]] = []
        self.vector: Axis | None = None  # the axis that vectors are along
        self.plan: list[Axis] = []  # all loops, also those that are not entered yet; the outermost first
        self.beside = (0,) * len(self.views)  # strides from one interleaved copy to the next
        self.filled = mode.lanes  # lanes of the current vector that exist

    def axes(self, shape: Sequence[int], strides: Sequence[Sequence[int]]) -> list[Axis]:
        """Return the axes of a shape, the largest stride of the first view first, merged where they are contiguous."""
        factors = [self.mode.factor(view) for view in self.views]
        return [
            Axis(axis.size, tuple(s * f for s, f in zip(axis.strides, factors, strict=True)))
            for axis in by_distance(joined(shape, strides))
        ]

    def events(self) -> Axis:
        """Return the axis of a kernel's events (narrow) or vectors of events (wide)."""
        if self.mode.wide:
            moves = [0 if self.mode.is_constant(view) else self.mode.lanes for view in self.views]
        else:
            moves = [self.mode.event_stride(view) for view in self.views]
        return Axis(self.mode.count, tuple(moves))

    @contextmanager
    def enter(self, axis: Axis) -> Iterator[int]:
        """Write a loop over an axis; yield its depth."""
        counter = f"i{len(self.loops)}"
        self.loops.append((counter, axis))
        with self.writer.loop(counter, axis.size):
            yield len(self.loops) - 1
        self.loops.pop()

    def index(self, view: View) -> int:
        """Return the index of a view in `views`, and in the strides of axes."""
        return self.views.index(view)

    def address(self, view: View, copy: int = 0) -> str:
        """Return the address of a view's element, or of an interleaved copy."""
        number = self.index(view)
        terms = [self.mode.base(view)]
        for counter, axis in self.loops:
            stride = axis.strides[number]
            if stride and axis.size != 1:
                terms.append(counter if stride == 1 else f"{counter} * {stride}")
        if copy and self.beside[number]:
            terms.append(str(copy * self.beside[number]))
        return " + ".join(terms)

    def depth(self, load: Load) -> int:
        """Return the innermost planned loop that a view moves in; -1 if it moves in none."""
        number = self.index(load.view)
        moving = [depth for depth, axis in enumerate(self.plan) if axis.strides[number] and axis.size != 1]
        return moving[-1] if moving else -1

    def read(self, load: Load, copy: int = 0) -> str:
        """Return the C of a vector of a view."""
        view = load.view
        address = self.address(view, copy)
        if self.mode.wide:
            return f"all(*({address}))" if self.mode.is_constant(view) else f"ld({address})"
        stride = self.vector.strides[self.index(view)] if self.vector else 0
        if not stride:
            return f"all(*({address}))"
        full = self.filled == self.mode.lanes
        if stride == 1:
            return f"ld({address})" if full else f"ld_n({address}, {self.filled})"
        inside = (
            full and view.buffer.role is Role.SCRATCH
        )  # there, floats beyond the last element may be read
        if stride == 2:
            return f"evens({address})" if inside else f"evens_n({address}, {self.filled})"
        if stride in SHUFFLE_STRIDES:
            count = stride * self.filled if inside else stride * (self.filled - 1) + 1
            return f"every{stride}({address}, {count})"
        return f"gather({address}, {stride}, {self.filled})"

    def write(self, view: View, value: str, copy: int = 0) -> None:
        """Store a vector."""
        address = self.address(view, copy)
        stride = self.vector.strides[self.index(view)] if self.vector else 1
        if self.mode.wide:
            text = f"st({address}, {value});"
        elif stride == 1 or (self.vector is not None and self.vector.size == 1):
            full = self.filled == self.mode.lanes
            text = f"st({address}, {value});" if full else f"st_n({address}, {value}, {self.filled});"
        else:
            text = f"scatter({address}, {value}, {stride}, {self.filled});"
        self.writer.line(text)

    @contextmanager
    def along(self, axis: Axis, copies: int = 1) -> Iterator[Iterator[int]]:
        """Loop over an axis by vectors; yields an iterator over the bodies that have to be written, as their number of copies.

        First a loop of several interleaved vectors, then single vectors, then one that is not full.
        """
        self.vector = None if self.mode.wide else axis
        yield self._rounds(axis, copies)
        self.vector, self.filled = None, self.mode.lanes

    def _rounds(self, axis: Axis, copies: int) -> Iterator[int]:
        width = 1 if self.mode.wide else self.mode.lanes
        whole, rest = axis.size // width, axis.size % width
        self.beside = tuple(stride * width for stride in axis.strides)
        rounds = whole // copies
        if rounds:
            with self.enter(Axis(rounds, tuple(stride * copies for stride in self.beside))):
                yield copies
        if is_fixed(whole):
            for number in range(rounds * copies, whole):
                with self.once(tuple(stride * number for stride in self.beside)):
                    yield 1
        elif copies > 1:
            begin = rounds * copies
            with (
                self.once(tuple(stride * begin for stride in self.beside)),
                self.enter(Axis(whole - begin, self.beside)),
            ):
                yield 1
        if rest:
            self.filled = rest
            with self.writer.where(rest), self.once(tuple(stride * whole for stride in self.beside)):
                yield 1
            self.filled = self.mode.lanes
        self.beside = (0,) * len(self.views)

    @contextmanager
    def once(self, strides: tuple[int, ...]) -> Iterator[None]:
        """Write a block in which each view is moved by a stride."""
        counter = f"i{len(self.loops)}"
        with self.writer.block():
            self.writer.line(f"const long {counter} = 1; (void){counter};")
            self.loops.append((counter, Axis(2, strides)))
            yield
            self.loops.pop()


def best_vector(mode: Mode, axes: Sequence[Axis], first_read: int) -> int:
    """Return the axis along which vectors cost least; the views from `first_read` on are read, the first one is written."""
    best, least = 0, float("inf")
    total = prod(typical(axis.size) for axis in axes)
    for number, axis in enumerate(axes):
        vectors = total // max(1, typical(axis.size)) * -(-typical(axis.size) // mode.lanes)
        cost = 1.0 if axis.strides[0] == 1 else float(mode.lanes)
        for stride in axis.strides[first_read:]:
            cost += READ_COSTS.get(stride, mode.lanes / 2)
        if vectors * cost < least:
            best, least = number, vectors * cost
    return best
