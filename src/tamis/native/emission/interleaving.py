"""Interleaved numbers, such as the phases of a stride: loaded and stored as whole vectors, with shuffles between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tamis.native.emission.loops import Axis
from tamis.native.emission.tuning import INTERLEAVED_VECTORS, SHORTEST_ROW
from tamis.native.emission.walk import Walk
from tamis.native.expression import Load
from tamis.native.view import Role, View


class Interleaving:
    """Reads and writes of a walk whose views have a stride of 2 or 4 numbers, and neighbours of the same stride between."""

    def __init__(self, walk: Walk, reads: Sequence[View], outs: Sequence[View]) -> None:
        """Find the views that are interleaved with one another."""
        self._walk, self._outs = walk, outs
        self._reads = set(reads)
        self._first: dict[View, View] = {}  # of each view, the first of those it is interleaved with
        self._reach: dict[View, int] = {}  # of each first view, the distance of the last one in numbers
        groups: dict[tuple[object, ...], View] = {}
        for view in sorted(self._reads, key=lambda one: one.offset):
            first = groups.setdefault((view.buffer, view.strides, view.step), view)
            self._first[view], self._reach[first] = first, view.offset - first.offset
        self._loaded: dict[tuple[View, int], str] = {}
        self._rows: Axis | None = None  # rows of which several share a vector
        self._width = 1  # lanes of a row

    def begin(self) -> None:
        """Begin another loop body, in which nothing is loaded yet."""
        self._loaded.clear()

    def read(self, load: Load, copy: int = 0) -> str:
        """Return the C of a vector of a view; interleaved views are loaded together, at the first read."""
        walk, view = self._walk, load.view
        count = self._interleaved(view)
        if not count:
            return walk.read(load, copy)
        first = self._first[view]
        distance = view.offset - first.offset
        phase, shift = distance % count, distance - distance % count
        name = self._loaded.get((first, shift))
        if name is None:
            name = self._loaded[first, shift] = walk.writer.name("d")
            walk.writer.line(f"V {name}[{count}];")
            address = f"{walk.address(first, copy)} + {shift}"
            if self._rows is not None:
                row = self._row(first, count)
                walk.writer.line(f"deinterleave{count}_rows({address}, {row}, {name});")
            else:
                inside = view.buffer.role is Role.SCRATCH and walk.filled == walk.mode.lanes
                needed = count * (walk.filled - 1) + min(count, self._reach[first] - shift + 1)
                floats = count * walk.mode.lanes if inside else needed
                walk.writer.line(f"deinterleave{count}({address}, {floats}, {name});")
        return f"{name}[{phase}]"

    def write(self, names: Sequence[str], copy: int = 0) -> None:
        """Store a vector of each output view."""
        walk, outs = self._walk, self._outs
        count = self._interleaved(outs[0])
        if not count:
            for out, name in zip(outs, names, strict=True):
                walk.write(out, name, copy)
            return
        name = walk.writer.name("d")
        walk.writer.line(f"V {name}[{count}] = {{{', '.join(names)}}};")
        address = walk.address(outs[0], copy)
        if self._rows is not None:
            walk.writer.line(f"interleave{count}_rows({address}, {self._row(outs[0], count)}, {name});")
        else:
            walk.writer.line(f"interleave{count}({address}, {count * walk.filled}, {name});")

    @contextmanager
    def rows(self, rows: Axis, last: Axis) -> Iterator[Iterator[None]]:
        """Loop over rows of which several share a vector; yields an iterator over the bodies that have to be written.

        If their number is not a multiple of that, the last rows are computed twice: no view that is read is written.
        """
        walk = self._walk
        count = walk.mode.lanes // last.size
        walk.vector, self._rows, self._width = Axis(walk.mode.lanes, last.strides), rows, last.size
        yield self._rounds(rows, count)
        walk.vector, self._rows = None, None

    def _rounds(self, rows: Axis, count: int) -> Iterator[None]:
        walk = self._walk
        with walk.enter(Axis(rows.size // count, tuple(stride * count for stride in rows.strides))):
            yield
        if rows.size % count:
            with walk.once(tuple(stride * (rows.size - count) for stride in rows.strides)):
                yield

    def can_share_vectors(self, rows: Axis, last: Axis) -> bool:
        """Return whether several rows can share a vector, in every view that is read or written."""
        walk = self._walk
        lanes = walk.mode.lanes
        if lanes % last.size or last.size in (1, lanes) or rows.size * last.size < lanes:
            return False
        written = {view.buffer for view in self._outs}
        for view in walk.views:
            number = walk.index(view)
            along, across = last.strides[number], rows.strides[number]
            shuffled = along in INTERLEAVED_VECTORS and (view not in self._outs or self._adjacent(along))
            if view.buffer.role is Role.INPUT or (view in self._reads and view.buffer in written):
                return (
                    False  # nothing may be read beyond an input, nor be overwritten before it is read again
                )
            if not (shuffled and last.size * along >= SHORTEST_ROW):
                contiguous = (along == 1 and across == last.size) or along == across == 0
                if not contiguous:
                    return False
        return True

    def _row(self, view: View, count: int) -> str:
        """Return the floats of a row, and from one row to the next."""
        walk, rows = self._walk, self._rows
        assert rows is not None and walk.vector is not None  # noqa: S101, PT018 - the caller checks
        return f"{self._width * count}, {rows.strides[walk.index(view)]}"

    def _adjacent(self, count: int) -> bool:
        """Return whether there are this many outputs and each is contiguous in memory."""
        return count == len(self._outs) and all(
            one == self._outs[0].moved(number) for number, one in enumerate(self._outs)
        )

    def _interleaved(self, view: View) -> int:
        """Return how many vectors a view is interleaved with, itself included; 0 if it is not."""
        walk = self._walk
        if walk.mode.wide or walk.vector is None or walk.vector.size == 1:
            return 0
        stride = walk.vector.strides[walk.index(view)]
        if stride not in INTERLEAVED_VECTORS or (view in self._outs and not self._adjacent(stride)):
            return 0
        return stride
