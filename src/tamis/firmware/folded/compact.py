"""The steps and elements of a program that some of its elements need, as a program of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tamis.fixedpoint import FixedProgram, ProgramInput, Step
from tamis.fixedpoint.liveness import live_elements
from tamis.fixedpoint.program import Clip, Linear, Offset, Scale, Take, Trees, Wrap

Leaf = tuple[int, int]  # an input of a program, and the flat index of an element in it
CONSTANTS_OF_STEPS: dict[type[Step], tuple[str, ...]] = {
    Scale: ("factors",),
    Offset: ("terms",),
    Clip: ("low", "high"),
    Wrap: ("moduli",),
}


@dataclass(frozen=True)
class Compacted:
    """A program with flat values, and which element of which old input each element of its inputs is, one input after the other."""

    program: FixedProgram
    leaves: tuple[Leaf, ...]


def chosen(program: FixedProgram, value: int, elements: np.ndarray) -> Compacted:
    """Return what computes some elements of a value, by their flat indices, and nothing else."""
    take = Take(program.steps[-1].layer, (value,), elements.shape, elements)
    last = len(program.inputs) + len(program.steps)
    return compact(replace(program, steps=(*program.steps, take), outputs=(last,)))


def compact(program: FixedProgram) -> Compacted:
    """Return a program of one output without the elements that it does not need."""
    compactor = _Compactor(program)
    for index, step in enumerate(program.steps):
        compactor.append(step, len(program.inputs) + index)
    leaves = [
        (value, int(place))
        for value in range(len(program.inputs))
        for place in np.flatnonzero(compactor.live[value])
    ]
    output = compactor.values[program.outputs[0]]
    return Compacted(FixedProgram(compactor.inputs, tuple(compactor.steps), (output,)), tuple(leaves))


class _Compactor:
    """Rewrites the steps of a program one by one."""

    def __init__(self, program: FixedProgram) -> None:
        self.program, self.live = program, live_elements(program)
        self.numbers: dict[int, np.ndarray] = {}  # of each element among those that are kept, or -1
        self.values: dict[int, int] = {}
        self.steps: list[Step] = []
        inputs: list[ProgramInput] = []
        for value, one in enumerate(program.inputs):
            mask = self._number(value)
            if mask.any():
                self.values[value] = len(inputs)
                inputs.append(
                    ProgramInput(
                        one.tensor, (int(mask.sum()),), one.low[mask], one.high[mask], one.fraction[mask]
                    )
                )
        self.inputs: tuple[ProgramInput, ...] = tuple(inputs)

    def append(self, step: Step, value: int) -> None:
        """Append a step with the elements that are needed."""
        mask = self._number(value)
        if not mask.any():
            return
        shape = (int(mask.sum()),)
        places = np.arange(mask.size).reshape(mask.shape)
        if isinstance(step, Take):
            self.values[value] = self._take(step, [*step.inputs], step.indices[mask], step.fill)
        elif isinstance(step, Linear):
            rows, columns = mask.any(axis=-1), mask.any(axis=tuple(range(mask.ndim - 1)))
            used = (step.matrix[:, columns] != 0).any(axis=1)
            operand = self.program.shape(step.inputs[0])
            read = np.arange(int(np.prod(operand))).reshape(operand)
            gathered = self._take(step, [*step.inputs], read[rows][:, used])
            matrix = step.matrix[used][:, columns]
            product = self._add(Linear(step.layer, (gathered,), (int(rows.sum()), matrix.shape[1]), matrix))
            kept = np.flatnonzero(mask[rows][:, columns])
            self.values[value] = self._add(Take(step.layer, (product,), kept.shape, kept))
        elif isinstance(step, Trees):
            size = int(np.prod(self.program.shape(step.inputs[0])))
            gathered = self._take(step, [*step.inputs], np.arange(size))
            product = self._add(replace(step, inputs=(gathered,)))
            kept = np.flatnonzero(mask)
            self.values[value] = self._add(Take(step.layer, (product,), kept.shape, kept))
        else:
            fields: dict[str, Any] = {
                name: getattr(step, name)[mask] for name in CONSTANTS_OF_STEPS.get(type(step), ())
            }
            read_values = tuple(self._take(step, [one], places[mask]) for one in step.inputs)
            self.values[value] = self._add(replace(step, inputs=read_values, shape=shape, **fields))

    def _number(self, value: int) -> np.ndarray:
        """Number the elements of a value that are kept; return which they are."""
        mask = self.live[value]
        self.numbers[value] = np.where(mask, np.cumsum(mask.ravel()).reshape(mask.shape) - 1, -1)
        return mask

    def _add(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.inputs) + len(self.steps) - 1

    def _take(self, step: Step, inputs: list[int], indices: np.ndarray, fill: float = 0.0) -> int:
        """Append a gather of old elements."""
        numbers, sources, offset = [], [], 0
        for value in inputs:
            flat = self.numbers[value].ravel()
            numbers.append(np.where(flat < 0, -1, flat + offset))
            if value in self.values:
                sources.append(self.values[value])
                offset += int((flat >= 0).sum())
        mapped = np.concatenate([*numbers, [-1]])[indices]
        kept = [self.numbers[value] for value in inputs if value in self.values]
        if len(sources) == 1 and np.array_equal(mapped, np.arange(kept[0].max() + 1)):
            return sources[0]
        # where nothing but the fill is left, any value is read
        return self._add(Take(step.layer, tuple(sources or [0]), mapped.shape, mapped, fill))
