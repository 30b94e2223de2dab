"""Which elements of a program's values its outputs depend on: pruned weights leave some without a reader."""

from __future__ import annotations

import numpy as np

from tamis.fixedpoint.program import FixedProgram, Linear, Scale, Step, Take, Trees


def live_elements(program: FixedProgram) -> list[np.ndarray]:
    """Return for every value which of its elements are needed for the outputs."""
    count = len(program.inputs) + len(program.steps)
    live = [np.zeros(program.shape(value), bool) for value in range(count)]
    for value in program.outputs:
        live[value][...] = True
    for index in reversed(range(len(program.steps))):
        step = program.steps[index]
        for value, mask in zip(
            step.inputs, needed_elements(step, live[len(program.inputs) + index], program), strict=True
        ):
            live[value] |= mask
    return live


def needed_elements(step: Step, live: np.ndarray, program: FixedProgram) -> list[np.ndarray]:
    """Return which elements of a step's inputs its live elements need."""
    if isinstance(step, Take):
        sizes = [int(np.prod(program.shape(value))) for value in step.inputs]
        flat = np.zeros(sum(sizes) + 1, bool)  # the last one is the fill
        flat[step.indices[live]] = True
        parts = np.split(flat[:-1], np.cumsum(sizes)[:-1])
        return [part.reshape(program.shape(value)) for part, value in zip(parts, step.inputs, strict=True)]
    if isinstance(step, Linear):
        return [live.astype(np.int64) @ (step.matrix != 0).T.astype(np.int64) > 0]
    if isinstance(step, Scale):
        return [live & (step.factors != 0)]
    if isinstance(step, Trees):
        read = np.zeros(program.shape(step.inputs[0]), bool)
        read[step.forest.features] = True
        return [read]
    return [live] * len(step.inputs)
