"""Find equal steps of recurrent layers in a program: a run of operations that repeats and reads what its last repetition made.

Repetitions have the same operations with the same constants, in the same order; each reads values of its own, values of the one before
(its state), and elements of values from before the run, which differ from one to the next.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np

from tamis.fixedpoint import FixedProgram, Step
from tamis.fixedpoint.program import Linear, LookUp, Take

OWN_FIELDS = ("layer", "inputs")
COMPARED_APART: dict[type[Step], tuple[str, ...]] = {Take: ("indices",), LookUp: ("table", "low")}


@dataclass(frozen=True)
class Repeat:
    """`count` repetitions of `period` steps, from step number `start` on."""

    start: int
    period: int
    count: int

    @property
    def end(self) -> int:
        """The number of the step after the last one."""
        return self.start + self.period * self.count

    def pieces(self, most: int) -> list[Repeat]:
        """Return runs of at most that many repetitions, of about equal length, one after the other."""
        number = -(-self.count // most)
        borders = [self.count * one // number for one in range(number + 1)]
        return [
            Repeat(self.start + begin * self.period, self.period, end - begin)
            for begin, end in pairwise(borders)
        ]


def find_repeats(program: FixedProgram) -> list[Repeat]:
    """Return the repeating runs with products, in order."""
    signatures = [_signature(step) for step in program.steps]
    by_matrix: dict[Hashable, list[int]] = {}
    for index, step in enumerate(program.steps):
        if isinstance(step, Linear):
            by_matrix.setdefault(signatures[index], []).append(index)
    found: list[Repeat] = []
    for positions in by_matrix.values():
        if any(one.start <= positions[0] < one.end for one in found):
            continue
        repeat = _repeat_at(program, signatures, positions)
        if repeat is not None:
            found.append(repeat)
    return sorted(found, key=lambda one: one.start)


def _signature(step: Step) -> Hashable:
    """Return what equal steps have in common; indices of gathers are compared where it matters."""
    parts: list[Hashable] = [type(step).__name__, len(step.inputs)]
    for one in fields(step):
        value = getattr(step, one.name)
        if one.name not in (*OWN_FIELDS, *COMPARED_APART.get(type(step), ())):
            parts.append(value.tobytes() if isinstance(value, np.ndarray) else value)
    try:
        hash(tuple(parts))
    except TypeError:  # of trees, which do not repeat
        return id(step)
    return tuple(parts)


def _repeat_at(program: FixedProgram, signatures: list[Hashable], positions: list[int]) -> Repeat | None:
    """Return the longest run around equal products at equal distances; the first or the last of them may differ."""
    distances = np.diff(positions)
    for first, last in _longest_first(len(positions)):
        inside = distances[first:last]
        if len(set(inside.tolist())) != 1:
            continue
        period = int(inside[0])
        for before in range(period):
            repeat = Repeat(positions[first] - before, period, last - first + 1)
            if (
                repeat.start >= 0
                and repeat.end <= len(program.steps)
                and _repeats(program, signatures, repeat)
            ):
                return repeat
    return None


def _longest_first(count: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of at least two products: all of them, or without one at an end."""
    yield from (
        (first, last) for first, last in ((0, count - 1), (1, count - 1), (0, count - 2)) if last > first
    )


def _repeats(program: FixedProgram, signatures: list[Hashable], repeat: Repeat) -> bool:
    """Return whether all repetitions are equal and read the state of the one before."""
    initial: dict[int, int] = {}  # the first value of each state, by its place in a repetition
    for place in range(repeat.period):
        numbers = [repeat.start + number * repeat.period + place for number in range(repeat.count)]
        if len({signatures[number] for number in numbers}) != 1:
            return False
        steps = [program.steps[number] for number in numbers]
        for operand in range(len(steps[0].inputs)):
            values = [step.inputs[operand] for step in steps]
            if not _is_alike(program, repeat, values, initial):
                return False
        tables = [step for step in steps if isinstance(step, LookUp)]
        if tables and joined_table(tables) is None:
            return False
        gathers = [step for step in steps if isinstance(step, Take)]
        moved = any(not np.array_equal(one.indices, gathers[0].indices) for one in gathers)
        if moved and any(located(program, repeat, 1, value) for value in gathers[1].inputs):
            return False
    return bool(initial)


def _is_alike(program: FixedProgram, repeat: Repeat, values: list[int], initial: dict[int, int]) -> bool:
    """Return whether an operand is the same value of each repetition, or its state, or comes from before the run in all of them."""
    first, *others = (located(program, repeat, number, value) for number, value in enumerate(values))
    if any(one != others[0] for one in others):
        return False
    if others[0] is None:
        return first is None
    repetition, place = others[0]
    if repetition == 0:
        return first == others[0]
    return repetition == -1 and first is None and initial.setdefault(place, values[0]) == values[0]


def joined_table(steps: Sequence[LookUp]) -> LookUp | None:
    """Return a look-up in which all others are contained, each for the integers that reach it; None if two differ."""
    low = min(step.low for step in steps)
    table = np.full(max(step.low + len(step.table) for step in steps) - low, np.nan)
    for step in steps:
        part = table[step.low - low : step.low - low + len(step.table)]
        if (~np.isnan(part) & (part != step.table)).any():
            return None
        part[:] = step.table
    return None if np.isnan(table).any() else replace(steps[0], table=table, low=low)


def located(program: FixedProgram, repeat: Repeat, repetition: int, value: int) -> tuple[int, int] | None:
    """Return in which repetition, counted from the given one, and at which place of it a value is made; None before the run."""
    index = value - len(program.inputs) - repeat.start
    if index < 0:
        return None
    number, place = divmod(index, repeat.period)
    return number - repetition, place
