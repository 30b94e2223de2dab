"""How a contraction is cut into blocks: the accumulators that registers hold while the terms are added, as frozen values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt

from tamis.native.emission.lanes import Lanes, choose_lanes, positions_of, rows_together, views_of
from tamis.native.emission.loops import Axis, joined, tiles
from tamis.native.emission.mode import Mode
from tamis.native.emission.tuning import (
    ALTERNATING_VECTORS,
    MANY_POSITIONS,
    NEAR_EXCESS,
    NEAR_SHARE,
    OUTPUT_VECTORS,
    POSITION_VECTORS,
    STRAIGHT_TERMS,
)
from tamis.native.program import Contract
from tamis.native.sizes import is_fixed, typical
from tamis.native.view import View


@dataclass(frozen=True)
class Blocking:
    """The loops of a contraction, and its largest block: `outputs` by `positions`, in vectors if lanes are along them."""

    lanes: Lanes
    dot: bool  # one output at a time, in many chains
    views: tuple[View, ...]
    outer: tuple[Axis, ...]  # loops over positions around the blocks
    last: Axis  # the positions that are cut into blocks
    row: Axis  # a short row of positions, where several share a vector
    rows: int  # how many rows share one; 1: none
    reduced: tuple[Axis, ...]  # the terms; strides of x in floats
    taps: tuple[int, ...]  # offsets of x along the last reduced axis, in floats, if not evenly spaced
    width: int  # positions of `last` per vector
    step: int  # outputs per vector
    total: int  # outputs
    outputs: int
    positions: int
    column: int  # floats of weights of one output, or of one vector of outputs
    alternates: bool  # the loop over outputs runs forward and backward in turn

    @property
    def output_tiles(self) -> list[tuple[int, int]]:
        """Return the blocks along the outputs: (how many, their size)."""
        return tiles(-(-self.total // self.step), self.outputs)


@dataclass(frozen=True)
class PositionTile:
    """Blocks of one size along the positions: a loop of `count`."""

    positions: int
    count: int
    start: tuple[int, ...]  # of the first block, for each view in floats
    strides: tuple[int, ...]  # from block to block
    tail: int  # lanes of the last vector, if it is not full; else 0


@dataclass(frozen=True)
class OutputTile:
    """Blocks of one size along the outputs: a loop of `count`."""

    outputs: int
    count: int
    first: int  # output of the first block
    apart: int  # outputs from block to block; 0: there is one
    filled: int  # outputs of the last block that exist
    weights: int  # where the weights of the first block begin
    alternates: bool


def choose_blocks(mode: Mode, statement: Contract, *, turns: bool) -> Blocking:
    """Choose lanes, loops and block sizes; `turns`: the statement is executed at every turn of a loop."""
    lanes = choose_lanes(mode, statement)
    views = views_of(statement)
    axes = positions_of(mode, statement)
    _, terms, total = statement.weights.shape
    rows = rows_together(mode, axes) if lanes is Lanes.POSITIONS else 1
    row = axes.pop() if rows > 1 else Axis(1, ())
    last = axes.pop() if axes else Axis(1, (0,) * len(views))
    x, factor = statement.x, mode.factor(statement.x)
    ranges = slice(1, 1 + statement.reduced - bool(statement.taps))
    reduced = [
        Axis(axis.size, (axis.strides[0] * factor,)) for axis in joined(x.shape[ranges], [x.strides[ranges]])
    ]
    if statement.taps or not reduced:
        reduced.append(Axis(len(statement.taps) or 1, (0,)))
    dot = statement.chains > STRAIGHT_TERMS
    width = 1 if lanes is not Lanes.POSITIONS else rows if rows > 1 else mode.lanes
    step = mode.lanes if lanes is Lanes.OUTPUTS and not dot else 1
    near, weight_bytes = mode.target.near, 4 * statement.weights.size
    alternates = turns and lanes is Lanes.OUTPUTS and NEAR_SHARE * near < weight_bytes < NEAR_EXCESS * near
    outputs, positions = _largest(mode, statement.chains, lanes, typical(last.size), width, total, alternates)
    return Blocking(
        lanes=lanes,
        dot=dot,
        views=tuple(views),
        outer=tuple(axes),
        last=last,
        row=row,
        rows=rows,
        reduced=tuple(reduced),
        taps=tuple(tap * factor for tap in statement.taps),
        width=width,
        step=step,
        total=total,
        outputs=outputs,
        positions=positions,
        # An odd number of vectors: those that are read together then fall into different sets of the cache.
        column=(terms | 1) * mode.lanes if step > 1 else terms,
        alternates=alternates,
    )


def _largest(
    mode: Mode, chains: int, lanes: Lanes, size: int, width: int, total: int, alternates: bool
) -> tuple[int, int]:
    """Return the outputs and positions of the largest block."""
    if chains > STRAIGHT_TERMS:
        return 1, 1
    room = mode.target.sums // chains
    if lanes is Lanes.EVENTS:
        together = min(size, max(1, mode.target.wide_positions // mode.count))
        return max(1, room // (mode.count * together)), together
    if lanes is Lanes.POSITIONS:
        vectors = _even(-(-size // width), _position_vectors(mode, chains, total))
        return max(1, room // vectors), vectors
    vectors = -(-total // mode.lanes)
    together = min(size, room)
    if together == 1:
        return _even(vectors, ALTERNATING_VECTORS if alternates else room), 1
    most = max(1, min(vectors, OUTPUT_VECTORS if together >= MANY_POSITIONS else room // together))
    most = _even(vectors, most)
    return most, max(1, min(together, room // most))


def _position_vectors(mode: Mode, chains: int, total: int) -> int:
    """Return the most vectors of positions in a block; besides the sums, registers hold these and a weight."""
    target = mode.target
    if target.registers - target.sums > POSITION_VECTORS:
        return POSITION_VECTORS
    room = target.sums // chains
    outputs = min(total, room // isqrt(room))  # as square as possible, since fewest numbers are loaded then
    return max(1, min(POSITION_VECTORS, (target.registers - 1) // (chains * outputs + 1)))


def _even(units: int, most: int) -> int:
    """Return the size of blocks, at most `most`, that cut units evenly."""
    if units <= most:
        return units
    return -(-units // -(-units // most))


def position_tiles(plan: Blocking) -> Iterator[PositionTile]:
    """Yield the blocks along the positions; one whose last vector is not full is a tile of its own."""
    if not is_fixed(plan.last.size):
        yield from _tiles_of_any_size(plan)
        return
    size, done = plan.width, 0
    units = -(-plan.last.size // size)
    tail = plan.last.size % size if plan.lanes is Lanes.POSITIONS and plan.rows == 1 else 0
    for count, positions in tiles(units, plan.positions):
        start, done = done, done + count * positions
        ends = bool(tail) and done == units
        for begin, times in [(0, count - 1), (count - 1, 1)] if ends and count > 1 else [(0, count)]:
            yield PositionTile(
                positions,
                times,
                tuple(stride * (start + begin * positions) * size for stride in plan.last.strides),
                tuple(stride * positions * size for stride in plan.last.strides),
                tail if ends and begin + times == count else 0,
            )


def _tiles_of_any_size(plan: Blocking) -> Iterator[PositionTile]:
    """Yield the blocks along positions of which the number is known only at run time; a last vector that is not full stands alone."""
    size, done = plan.width, 0
    for count, positions in tiles(plan.last.size // size, plan.positions):
        start = tuple(stride * done * size for stride in plan.last.strides)
        yield PositionTile(
            positions, count, start, tuple(stride * positions * size for stride in plan.last.strides), 0
        )
        done += count * positions
    tail = plan.last.size % size
    if tail:
        start = tuple(stride * done * size for stride in plan.last.strides)
        yield PositionTile(1, 1, start, (0,) * len(start), tail)


def output_tiles(plan: Blocking, weights: list[int], column: int) -> Iterator[OutputTile]:
    """Yield the blocks along the outputs, given where the weights of each size begin, and how far those of two outputs (or vectors) are apart.

    A partly filled block is a tile of its own.
    """
    done = 0
    for (number, size), where in zip(plan.output_tiles, weights, strict=True):
        first, done = done, done + number * size
        partial = plan.lanes is Lanes.OUTPUTS and done * plan.step > plan.total
        for begin, count in [(0, number - 1), (number - 1, 1)] if partial and number > 1 else [(0, number)]:
            output = (first + begin * size) * plan.step
            yield OutputTile(
                outputs=size,
                count=count,
                first=output,
                apart=size * plan.step if count > 1 else 0,
                filled=plan.total - output if partial and begin + count == number else size * plan.step,
                weights=where + begin * size * column,
                alternates=plan.alternates and count == number > 1,
            )
