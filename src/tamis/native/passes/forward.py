"""Forward a temporary into its only reader.

1. `t = f(x); y = g(t)`, where nothing else reads or writes t, becomes `y = g(f(x))`, also where y is t under another shape.

Temporaries stay where the joined expression would be long, where y cannot be seen under the shape of t, and where a statement between
the two changes what f reads.
"""

from __future__ import annotations

from dataclasses import replace

from tamis.native.expression import Expression, Load, cost, loads, replaced
from tamis.native.passes.base import Pass
from tamis.native.program import Map, Program, Statement, touched
from tamis.native.thresholds import FORWARDED_COST
from tamis.native.view import Role, View, row_major


class ForwardTemporaries(Pass):
    """Join maps with the only map that reads their result."""

    name = "forward-temporaries"

    def apply(self, program: Program) -> Program:
        """Join maps, in the order in which they run."""
        statements: list[Statement | None] = list(program.statements)
        readers, writers = touched(program.statements)
        for number in range(len(statements)):
            first = statements[number]
            if not isinstance(first, Map):
                continue
            buffer = first.out.buffer
            places = readers.get(buffer, set())
            if buffer.role is not Role.SCRATCH or len(writers[buffer]) > 1 or len(places) != 1:
                continue
            (place,) = places
            reader = statements[place]
            changed = {one for view in first.reads() for one in writers.get(view.buffer, ())}
            if not isinstance(reader, Map) or place <= number or any(number < one < place for one in changed):
                continue
            joined = _joined(first, reader)
            if joined is not None:
                statements[number], statements[place] = None, joined
                for view in first.reads():
                    readers[view.buffer] = (readers[view.buffer] - {number}) | {place}
        return replace(program, statements=[one for one in statements if one is not None])


def _joined(first: Map, reader: Map) -> Map | None:
    """Return both maps as one, or None where that is not possible or not worth it."""
    views = [load.view for load in loads(reader.value) if load.view.buffer == first.out.buffer]
    if cost(first.value) + cost(reader.value) > FORWARDED_COST or len(set(views)) != 1:
        return None
    if any(view.buffer == reader.out.buffer for view in first.reads()):
        return None  # elements would be overwritten before they are read
    if not _is_whole(views[0]) or not _is_whole(first.out):
        return None
    shape = first.out.shape
    others = [load.view for load in loads(reader.value) if load.view != views[0]]
    out = reader.out.reshape(shape)
    if out is None or any(view.reshape(shape) is None for view in others):
        return None

    def change(load: Load) -> Expression:
        if load.view == views[0]:
            return first.value
        result = load.view.reshape(shape)
        assert result is not None  # noqa: S101 - checked above
        return Load(result)

    return Map(replaced(reader.value, change).moved(lambda view: view, shape), out)


def _is_whole(view: View) -> bool:
    """Return whether a view covers its whole buffer in C order."""
    plain = all(s == usual for n, s, usual in zip(view.shape, view.strides, row_major(view.shape), strict=True) if n != 1)  # fmt: skip
    return plain and view.elements == view.buffer.elements and not view.offset and not view.step
