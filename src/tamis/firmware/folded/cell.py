"""One repetition of a run as a program of its own, and what its inputs are in each repetition."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tamis.firmware.folded.moves import Origins, starts
from tamis.firmware.folded.parts import ElementRanges
from tamis.firmware.folded.repeats import Repeat, joined_table, located
from tamis.fixedpoint import FixedGrid, FixedProgram, ProgramInput, Step
from tamis.fixedpoint.program import Linear, LookUp, Take


@dataclass(frozen=True)
class StepCell:
    """A repetition: inputs are the states, then values from before the run."""

    repeat: Repeat
    program: FixedProgram
    states: tuple[int, ...]  # places in a repetition
    initial: tuple[Origins, ...]  # of the states, before the run
    leaves: tuple[tuple[Origins, ...], ...]  # of each further input in each repetition
    outputs: tuple[
        int, ...
    ]  # places: first those of the states, then those of other values that are read after the run


def make_cell(
    program: FixedProgram, repeat: Repeat, found: list[Origins], known: ElementRanges, ranges: list[FixedGrid],
    written: np.ndarray, name: str,
) -> StepCell:  # fmt: skip
    """Return the repetition of a run, of which the elements `written` are read later."""
    first, count = starts(program), len(program.inputs)

    def value_at(repetition: int, place: int) -> int:
        return count + repeat.start + repetition * repeat.period + place

    states: dict[int, int] = {}  # place -> initial value
    leaves: dict[tuple[int, ...], int] = {}  # values in the repetitions -> number
    steps: list[tuple[int, Step, list[tuple[str, int]]]] = []
    chosen: dict[int, int] = {}  # gathers from before the run -> leaf
    for place in range(repeat.period):
        each = [program.steps[value_at(number, place) - count] for number in range(repeat.count)]
        kinds = [located(program, repeat, 1, value) for value in each[1].inputs]
        if isinstance(each[0], Take) and all(kind is None for kind in kinds):
            values = tuple(value_at(number, place) for number in range(repeat.count))
            chosen[place] = leaves.setdefault(values, len(leaves))
            continue
        operands = []
        for operand, kind in enumerate(kinds):
            if kind is None:
                values = tuple(step.inputs[operand] for step in each)
                operands.append(("leaf", leaves.setdefault(values, len(leaves))))
            elif kind[0] == -1:
                states.setdefault(kind[1], each[0].inputs[operand])
                operands.append(("state", kind[1]))
            else:
                operands.append(("leaf", chosen[kind[1]]) if kind[1] in chosen else ("own", kind[1]))
        tables = [step for step in each if isinstance(step, LookUp)]
        steps.append((place, (joined_table(tables) if tables else None) or each[1], operands))
    order = list(states)
    emitted = np.unique(
        (np.searchsorted(first, written, side="right") - 1 - count - repeat.start) % repeat.period
    )
    outputs = [*order, *(int(place) for place in emitted if place not in states)]
    inputs = []
    for place, value in states.items():
        origin = known.resolved(found[value])
        grids = [known.grid(origin), *(ranges[value_at(number, place)] for number in range(repeat.count))]
        inputs.append(_input(f"state{place}", grids))
    sources = []
    for values in leaves:
        sources.append(tuple(known.resolved(found[value]) for value in values))
        inputs.append(_input(f"leaf{len(sources)}", [known.grid(origin) for origin in sources[-1]]))
    numbers = {("state", place): number for number, place in enumerate(order)}
    numbers |= {("leaf", number): len(order) + number for number in range(len(leaves))}
    made: list[Step] = []
    # products of inputs come first, so that they share one module
    steps.sort(key=lambda one: not (isinstance(one[1], Linear) and one[2][0][0] != "own"))
    for place, step, operands in steps:
        read = tuple(numbers[operand] for operand in operands)
        made.append(replace(step, layer=name, inputs=read))
        numbers["own", place] = len(inputs) + len(made) - 1
    results = tuple(
        numbers["own", place] if ("own", place) in numbers else numbers["leaf", chosen[place]]
        for place in outputs
    )
    return StepCell(
        repeat,
        FixedProgram(tuple(inputs), tuple(made), results),
        tuple(order),
        tuple(known.resolved(found[value]) for value in states.values()),
        tuple(sources),
        tuple(outputs),
    )


def _input(name: str, ranges: list[FixedGrid]) -> ProgramInput:
    """Return an input that takes the values of several grids."""
    whole = union(ranges)
    return ProgramInput(name, whole.low.shape, whole.low, whole.high, whole.fraction)


def union(ranges: list[FixedGrid]) -> FixedGrid:
    """Return the grid of the values of several grids."""
    return FixedGrid(
        np.asarray(np.minimum.reduce([one.low for one in ranges])),
        np.asarray(np.maximum.reduce([one.high for one in ranges])),
        np.asarray(np.maximum.reduce([one.fraction for one in ranges])),
    )
