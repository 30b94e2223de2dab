"""Interleaved numbers, as complex numbers or the phases of a stride: loaded and stored as whole vectors, with shuffles between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tamis.native.emission.loops import Axis
from tamis.native.emission.tuning import INTERLEAVED_VECTORS, SHORTEST_ROW
from tamis.native.emission.walk import Walk
from tamis.native.expression import Load
from tamis.native.view import Role, View


class Dealing:
    """Reads and writes of a walk whose views have a stride of 2 or 4 floats, and neighbours with the same stride."""

    def __init__(self, walk: Walk, reads: Sequence[View], outs: Sequence[View]) -> None:
        """Find the views that are neighbours."""
        self._walk, self._outs = walk, outs
        self._reads = set(reads)
        self._first: dict[View, View] = {}  # of each view, the first of its neighbours
        self._reach: dict[View, int] = {}  # of each first view, the distance of its last neighbour in numbers
        groups: dict[tuple[object, ...], View] = {}
        for view in sorted(self._reads, key=lambda one: one.offset):
            first = groups.setdefault((view.buffer, view.strides, view.step), view)
            self._first[view], self._reach[first] = first, view.offset - first.offset
        self._dealt: dict[tuple[View, int], str] = {}
        self._rows: Axis | None = None  # rows of which several share a vector
        self.width = 1  # lanes of a row

    def begin(self) -> None:
        """Begin another round, in which nothing has been read yet."""
        self._dealt.clear()

    def read(self, load: Load, copy: int = 0) -> str:
        """Return the C of a vector of a view."""
        walk, view = self._walk, load.view
        hands = self._hands(view)
        if not hands:
            return walk.read(load, copy)
        first = self._first[view]
        far = view.offset - first.offset
        place, shift = far % hands, far - far % hands
        name = self._dealt.get((first, shift))
        if name is None:
            name = self._dealt[first, shift] = walk.writer.name("d")
            walk.writer.line(f"V {name}[{hands}];")
            address = f"{walk.address(first, copy)} + {shift}"
            if self._rows is not None:
                walk.writer.line(f"deal{hands}_rows({address}, {self._row(first, hands)}, {name});")
            else:
                needed = hands * (walk.filled - 1) + min(hands, self._reach[first] - shift + 1)
                inside = view.buffer.role is Role.SCRATCH and walk.filled == walk.mode.lanes
                count = hands * walk.mode.lanes if inside else needed
                walk.writer.line(f"deal{hands}({address}, {count}, {name});")
        return f"{name}[{place}]"

    def write(self, names: Sequence[str], copy: int = 0) -> None:
        """Store a vector of each output view."""
        walk, outs = self._walk, self._outs
        hands = self._hands(outs[0])
        if not hands:
            for out, name in zip(outs, names, strict=True):
                walk.write(out, name, copy)
            return
        name = walk.writer.name("d")
        walk.writer.line(f"V {name}[{hands}] = {{{', '.join(names)}}};")
        address = walk.address(outs[0], copy)
        if self._rows is not None:
            walk.writer.line(f"collect{hands}_rows({address}, {self._row(outs[0], hands)}, {name});")
        else:
            walk.writer.line(f"collect{hands}({address}, {hands * walk.filled}, {name});")

    @contextmanager
    def rows(self, rows: Axis, last: Axis) -> Iterator[Iterator[None]]:
        """Loop over rows of which several share a vector; yields once for each body that has to be written.

        If their number is not a multiple of that, the last rows are computed twice: no view that is read is written.
        """
        walk = self._walk
        count = walk.mode.lanes // last.size
        walk.vector, self._rows, self.width = Axis(walk.mode.lanes, last.strides), rows, last.size
        yield self._rounds(rows, count)
        walk.vector, self._rows = None, None

    def _rounds(self, rows: Axis, count: int) -> Iterator[None]:
        walk = self._walk
        with walk.enter(Axis(rows.size // count, tuple(stride * count for stride in rows.strides))):
            yield
        if rows.size % count:
            with walk.once(tuple(stride * (rows.size - count) for stride in rows.strides)):
                yield

    def makes_vectors(self, rows: Axis, last: Axis) -> bool:
        """Tell whether several rows can share a vector, in every view that is read or written."""
        walk = self._walk
        lanes = walk.mode.lanes
        if lanes % last.size or last.size in (1, lanes) or rows.size * last.size < lanes:
            return False
        written = {view.buffer for view in self._outs}
        for view in walk.views:
            place = walk.place(view)
            along, across = last.strides[place], rows.strides[place]
            dealt = along in INTERLEAVED_VECTORS and (view not in self._outs or self._together(along))
            if view.buffer.role is Role.INPUT or (view in self._reads and view.buffer in written):
                return (
                    False  # nothing may be read beyond an input, nor be overwritten before it is read again
                )
            if not (dealt and last.size * along >= SHORTEST_ROW):
                contiguous = (along == 1 and across == last.size) or along == across == 0
                if not contiguous:
                    return False
        return True

    def _row(self, view: View, hands: int) -> str:
        """Return the floats of a row, and from one row to the next."""
        walk, rows = self._walk, self._rows
        assert rows is not None and walk.vector is not None  # noqa: S101, PT018 - the caller checks
        return f"{self.width * hands}, {rows.strides[walk.place(view)]}"

    def _together(self, hands: int) -> bool:
        return hands == len(self._outs) and all(
            one == self._outs[0].moved(number) for number, one in enumerate(self._outs)
        )

    def _hands(self, view: View) -> int:
        """Return how many vectors a view is interleaved with, itself included; 0 if it is not."""
        walk = self._walk
        if walk.mode.wide or walk.vector is None or walk.vector.size == 1:
            return 0
        stride = walk.vector.strides[walk.place(view)]
        if stride not in INTERLEAVED_VECTORS or (view in self._outs and not self._together(stride)):
            return 0
        return stride
