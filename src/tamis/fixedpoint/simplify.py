"""Fewer steps with the same result: constants are added once, and bounds that a later step imposes anyway are left out.

A rectified sum that is rounded to the nearest step is the typical case. Its graph adds a bias, cuts at zero, adds half a step, rounds
down and cuts at zero again: as hardware that is one adder for each value more than are needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tamis.fixedpoint.program import Clip, FixedProgram, Offset, Round, Rounding, Scale, Step


def simplify(program: FixedProgram) -> FixedProgram:
    """Return a program that computes the same values with fewer steps."""
    steps = list(program.steps)
    first = len(program.inputs)
    reads = Counter(value for step in steps for value in step.inputs) + Counter(program.outputs)
    readers = {value: index for index, step in enumerate(steps) for value in step.inputs}

    def next_step(index: int) -> int | None:
        """Return the only step that reads the value of a step."""
        value = first + index
        return readers.get(value) if reads[value] == 1 and value not in program.outputs else None

    for index, step in enumerate(steps):
        if isinstance(step, Clip):
            steps[index] = _needed_bounds(step, steps, index, next_step)
    removed: dict[int, int] = {}  # values that are another value
    for index, step in enumerate(steps):
        if isinstance(step, Clip) and np.isneginf(step.low).all() and np.isposinf(step.high).all():
            removed[first + index] = step.inputs[0]
    program = _without(replace(program, steps=tuple(steps)), removed)
    return _add_once(program)


def _needed_bounds(clip: Clip, steps: list[Step], index: int, next_step: Callable[[int], int | None]) -> Clip:
    """Return a clip without the bounds that a later clip of the same elements makes unnecessary."""
    low, high = clip.low.astype(np.float64), clip.high.astype(np.float64)
    least, most = low.copy(), high.copy()  # what the bounds have become after the steps that follow
    follower = next_step(index)
    while follower is not None:
        step = steps[follower]
        if isinstance(step, Clip):
            low = np.where(least <= step.low, -np.inf, low)
            high = np.where(most >= step.high, np.inf, high)
        lower, upper = _image(step, least), _image(step, most)
        if lower is None or upper is None:
            break
        least, most = lower, upper
        follower = next_step(follower)
    return replace(clip, low=low, high=high)


def _image(step: Step, values: np.ndarray) -> np.ndarray | None:
    """Return what a step that never falls makes of each element; None for other steps."""
    if isinstance(step, Scale) and (step.factors > 0).all():
        return values * step.factors
    if isinstance(step, Offset):
        return values + step.terms
    if isinstance(step, Round):
        return np.floor(values) if step.rounding is Rounding.FLOOR else np.round(values)
    if isinstance(step, Clip):
        return np.clip(values, step.low, step.high)
    return None


def _without(program: FixedProgram, removed: dict[int, int]) -> FixedProgram:
    """Return a program without the steps that make some values, each of which is replaced by another."""
    count = len(program.inputs)
    number = {value: value for value in range(count)}
    kept: list[Step] = []
    for index, step in enumerate(program.steps):
        value = count + index
        if value in removed:
            number[value] = number[removed[value]]
        else:
            kept.append(replace(step, inputs=tuple(number[one] for one in step.inputs)))
            number[value] = count + len(kept) - 1
    return replace(program, steps=tuple(kept), outputs=tuple(number[value] for value in program.outputs))


def _add_once(program: FixedProgram) -> FixedProgram:
    """Move added constants before scales by powers of two, and join them with those that are added there."""
    changed = True
    while changed:
        changed = False
        first, steps = len(program.inputs), list(program.steps)
        reads = Counter(value for step in steps for value in step.inputs) + Counter(program.outputs)
        for index, step in enumerate(steps):
            source = step.inputs[0] - first
            if not isinstance(step, Offset) or source < 0 or reads[step.inputs[0]] != 1:
                continue
            before = steps[source]
            if isinstance(before, Scale) and _powers_of_two(before.factors):
                steps[source] = replace(
                    step, inputs=before.inputs, layer=before.layer, terms=step.terms / before.factors
                )
                steps[index] = replace(before, inputs=step.inputs, layer=step.layer)
                program, changed = replace(program, steps=tuple(steps)), True
                break
            if (
                isinstance(before, Offset)
                and ((before.terms + step.terms) - step.terms == before.terms).all()
            ):
                steps[source] = replace(before, terms=before.terms + step.terms)
                program = _without(replace(program, steps=tuple(steps)), {first + index: step.inputs[0]})
                changed = True
                break
    return program


def _powers_of_two(factors: np.ndarray) -> bool:
    mantissas, _ = np.frexp(factors)
    return bool((np.abs(mantissas) == 0.5).all())
