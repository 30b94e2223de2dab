"""Follow moves of a program (gathers and shifts, which are only wires) back to the elements that are computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.fixedpoint import FixedProgram, Step
from tamis.fixedpoint.program import Scale, Take

CONSTANT = -1


@dataclass(frozen=True)
class Origins:
    """Where the elements of a value come from: element `elements` times 2^`exponents`, or a constant where that is -1.

    Elements are numbered over all values of the program, one value after the other.
    """

    elements: np.ndarray
    exponents: np.ndarray
    constants: np.ndarray


def is_move(step: Step) -> bool:
    """Return whether a step only gathers elements or shifts them."""
    if isinstance(step, Scale):
        return bool((step.factors > 0).all() and (np.frexp(step.factors)[0] == 0.5).all())
    return isinstance(step, Take)


def starts(program: FixedProgram) -> np.ndarray:
    """Return the number of the first element of each value, and the number of all elements."""
    sizes = [int(np.prod(program.shape(value))) for value in range(len(program.inputs) + len(program.steps))]
    return np.cumsum([0, *sizes])


def origins(program: FixedProgram) -> list[Origins]:
    """Return where the elements of every value come from; those of inputs and of arithmetic are themselves."""
    first = starts(program)
    found: list[Origins] = []
    for value in range(len(first) - 1):
        step = program.steps[value - len(program.inputs)] if value >= len(program.inputs) else None
        shape = program.shape(value)
        if isinstance(step, Take):
            parts = [found[source] for source in step.inputs]
            joined = [
                np.concatenate([*(getattr(part, name).ravel() for part in parts), [last]])
                for name, last in (("elements", CONSTANT), ("exponents", 0), ("constants", step.fill))
            ]
            found.append(Origins(*(array[step.indices] for array in joined)))
        elif isinstance(step, Scale) and is_move(step):
            source = found[step.inputs[0]]
            exponents = source.exponents + np.frexp(step.factors)[1] - 1
            found.append(Origins(source.elements, exponents, source.constants * step.factors))
        else:
            numbers = np.arange(first[value], first[value + 1]).reshape(shape)
            found.append(Origins(numbers, np.zeros(shape, np.int64), np.zeros(shape)))
    return found
