"""What the lanes of a vector are in a contraction: events; or, of one event, neighbouring positions or outputs."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from math import prod

from tamis.native.emission.loops import Axis, joined
from tamis.native.emission.mode import Mode
from tamis.native.emission.tuning import ROW_LOAD_COST, SCATTER_COST, SHORT_ROWS, STRAIGHT_TERMS
from tamis.native.expression import loads
from tamis.native.program import Contract
from tamis.native.sizes import is_fixed, typical
from tamis.native.view import View


class Lanes(Enum):
    """What the lanes of a vector are."""

    EVENTS = "events"
    POSITIONS = "positions"
    OUTPUTS = "outputs"


def choose_lanes(mode: Mode, statement: Contract) -> Lanes:
    """Return what takes fewer vectors, given how full they are and whether their elements are contiguous."""
    if mode.wide:
        return Lanes.EVENTS
    if statement.chains > STRAIGHT_TERMS:
        return Lanes.OUTPUTS  # of which there is one: the lanes are its chains
    lanes, (_, terms, outputs) = mode.lanes, statement.weights.shape
    positions = positions_of(mode, statement)
    last = typical(positions[-1].size) if positions else 1
    others = prod(typical(axis.size) for axis in positions) // last
    contiguous = positions and positions[-1].strides[0] == 1 and positions[-1].strides[1] == 1
    if not contiguous:
        return Lanes.OUTPUTS
    rows = rows_together(mode, positions)
    load = ROW_LOAD_COST if rows > 1 else 1.0
    by_positions = outputs * others * -(-last // lanes) / rows * (terms * load)
    scattered = sum(view.strides[1] != 1 for view in views_of(statement)[1:]) if outputs > 1 else 0
    by_outputs = others * last * -(-outputs // lanes) * (terms + scattered * SCATTER_COST)
    return Lanes.POSITIONS if by_positions <= by_outputs else Lanes.OUTPUTS


def rows_together(mode: Mode, positions: Sequence[Axis]) -> int:
    """Return how many short rows share a vector: several if each is contiguous, or one element, in every view."""
    if mode.wide or len(positions) < 2:
        return 1
    rows, last = positions[-2:]
    if not is_fixed(rows.size, last.size):
        return 1
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


def positions_of(mode: Mode, statement: Contract) -> list[Axis]:
    """Return the axes of positions, with strides in floats for each view; in a narrow kernel, the events are one of them."""
    views = views_of(statement)
    leads = [1 + statement.reduced if view is statement.x else 2 for view in views]
    strides = [view.strides[lead:] for view, lead in zip(views, leads, strict=True)]
    factors = [mode.factor(view) for view in views]
    axes = [
        Axis(axis.size, tuple(s * f for s, f in zip(axis.strides, factors, strict=True)))
        for axis in joined(statement.positions, strides)
    ]
    if not mode.wide and mode.count > 1:
        axes.insert(0, Axis(mode.count, tuple(mode.event_stride(view) for view in views)))
    return axes
