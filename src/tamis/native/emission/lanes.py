"""What the lanes of a vector are in a contraction: events, or of one event neighbouring positions or outputs."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from math import prod

from tamis.native.emission.loops import Axis, joined
from tamis.native.emission.mode import Mode
from tamis.native.expression import loads
from tamis.native.program import Contract
from tamis.native.view import View

SHORT_ROWS = (4, 8)  # positions
PIECED = 1.3  # what a multiply-add takes of a vector that is put together from rows
SCATTERED = 20  # multiply-adds that it takes to write a vector number by number, or to read it
STRAIGHT = (
    4  # terms: so many are written one after the other; and a sum in more chains than this is done by itself
)


class Lanes(Enum):
    """What the lanes of a vector are."""

    EVENTS = "events"
    POSITIONS = "positions"
    OUTPUTS = "outputs"


def choose_lanes(mode: Mode, statement: Contract) -> Lanes:
    """Return what vectors hold: by how full they are, and whether the numbers lie one behind the other."""
    if mode.wide:
        return Lanes.EVENTS
    if statement.chains > STRAIGHT:
        return Lanes.OUTPUTS  # one by one: the lanes are chains
    lanes, (_, terms, outputs) = mode.lanes, statement.weights.shape
    places = positions_of(mode, statement)
    last = places[-1].size if places else 1
    others = prod(axis.size for axis in places) // last
    straight = places and places[-1].strides[0] == 1 and places[-1].strides[1] == 1
    if not straight:
        return Lanes.OUTPUTS
    rows = rows_together(mode, places)
    along = outputs * others * -(-last // lanes) / rows * (terms * (PIECED if rows > 1 else 1.0))
    spread = sum(view.strides[1] != 1 for view in views_of(statement)[1:]) if outputs > 1 else 0
    across = others * last * -(-outputs // lanes) * (terms + spread * SCATTERED)
    return Lanes.POSITIONS if along <= across else Lanes.OUTPUTS


def rows_together(mode: Mode, places: Sequence[Axis]) -> int:
    """Return how many short rows make one vector: where a row is a half or a quarter of it in every view, or the same all along."""
    if mode.wide or len(places) < 2:
        return 1
    rows, last = places[-2:]
    count = mode.lanes // last.size
    if last.size not in SHORT_ROWS or count < 2 or rows.size % count:
        return 1
    fits = all(
        inner == 1 or (inner == 0 and outer == 0)
        for inner, outer in zip(last.strides, rows.strides, strict=True)
    )
    return count if fits else 1


def views_of(statement: Contract) -> list[View]:
    """Return every view that a contraction reads or writes."""
    views = [statement.x, statement.out]
    if statement.start is not None:
        views.append(statement.start)
    if statement.finish is not None:
        views += [load.view for load in loads(statement.finish)]
    return list(dict.fromkeys(views))


def lead_of(statement: Contract, view: View) -> int:
    """Return how many axes of a view come before its positions."""
    return 1 + statement.reduced if view is statement.x else 2


def positions_of(mode: Mode, statement: Contract) -> list[Axis]:
    """Return the axes of positions, in floats, for each view; of the narrow way, events are positions too."""
    views = views_of(statement)
    shape = statement.positions
    strides = [view.strides[lead_of(statement, view) :] for view in views]
    factors = [mode.factor(view) for view in views]
    axes = [
        Axis(axis.size, tuple(s * f for s, f in zip(axis.strides, factors, strict=True)))
        for axis in joined(shape, strides)
    ]
    if not mode.wide and mode.count > 1:
        axes.insert(0, Axis(mode.count, tuple(mode.event_stride(view) for view in views)))
    return axes
