"""Cut a program into segments that hardware can repeat: products and what follows them element by element, or windows of a pooling."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np

from tamis.firmware.folded.moves import CONSTANT, Origins, is_move, origins, starts
from tamis.firmware.folded.repeats import Repeat
from tamis.fixedpoint import INPUT_LAYER, FixedProgram, Step
from tamis.fixedpoint.liveness import live_elements, needed_elements
from tamis.fixedpoint.program import Linear, Trees


@dataclass
class Segment:
    """Steps that become one module; moves are left out, since they are wires of the steps that read them."""

    name: str
    steps: list[int]  # indices of steps
    reads: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # elements made before
    keeps: np.ndarray = field(
        default_factory=lambda: np.zeros(0, np.int64)
    )  # elements made before, read later
    writes: np.ndarray = field(
        default_factory=lambda: np.zeros(0, np.int64)
    )  # elements made here, read later
    repeat: Repeat | None = None  # whose steps these are


def segments_of(program: FixedProgram, repeats: Sequence[Repeat] = ()) -> list[Segment]:
    """Return the segments of a program, in order; a run that repeats is one of them."""
    found = origins(program)
    result: list[Segment] = []
    cutter = _Cutter(program, found)
    runs = {index: repeat for repeat in repeats for index in range(repeat.start, repeat.end)}
    for index, step in enumerate(program.steps):
        if index in runs:
            if index == runs[index].start:
                inside = range(index, runs[index].end)
                steps = [one for one in inside if not is_move(program.steps[one])]
                result.append(Segment(_name_of_run(program, steps), steps, repeat=runs[index]))
        elif not is_move(step):
            if cutter.must_cut(step) or not result or result[-1].repeat is not None:
                result.append(Segment(_name(step, program), []))
                cutter.begin()
            cutter.append(index)
            result[-1].steps.append(index)
    _find_lives(program, found, result)
    return result


def _name(step: Step, program: FixedProgram) -> str:
    """Return the layer of a step; what precedes the first layer has its name if there is no arithmetic in it."""
    return step.layer if any(one.layer != INPUT_LAYER for one in program.steps) else INPUT_LAYER


def _name_of_run(program: FixedProgram, steps: Sequence[int]) -> str:
    """Return the words with which the names of all layers of a recurrent layer begin, or else the name of the last one."""
    names = list(dict.fromkeys(program.steps[index].layer for index in steps))
    words = zip(*(name.split("_") for name in names), strict=False)
    common = [same[0] for same in takewhile(lambda same: len(set(same)) == 1, words)]
    return "_".join([*(common or [names[-1]]), "steps"])


class _Cutter:
    """Decides where a segment ends: rows of a segment's results have to depend on rows of its inputs in one way.

    The arrangement of a value says in which order its elements are; values of one arrangement are combined element by element.
    """

    def __init__(self, program: FixedProgram, found: list[Origins]) -> None:
        self.program, self.found, self.first = program, found, starts(program)
        self.begin()

    def begin(self) -> None:
        """Begin a segment."""
        self.arrangements: dict[int, Hashable] = {}
        self.layer, self.only_products = "", True

    def append(self, index: int) -> None:
        """Note a step of the segment."""
        step = self.program.steps[index]
        value = len(self.program.inputs) + index
        if isinstance(step, Linear | Trees):
            self.arrangements[value] = ("made by", value)
        else:
            self.arrangements[value] = self._arrangement(step.inputs[0])
        self.layer = step.layer
        self.only_products &= isinstance(step, Linear)

    def must_cut(self, step: Step) -> bool:
        """Return whether a step begins a segment."""
        if not self.arrangements:
            return False
        if step.layer != self.layer or isinstance(step, Trees):
            return True
        inside = [self._inside(value) for value in step.inputs]
        if isinstance(step, Linear):
            return not self.only_products or inside[0] is not False
        if None in inside or len(set(inside)) > 1:
            return None in inside or self._has_products()
        found = {self._arrangement(value) for value in step.inputs}
        return len(found) > 1 or None in found

    def _has_products(self) -> bool:
        return any(isinstance(one, tuple) and one[0] != "elements" for one in self.arrangements.values())

    def _values(self, value: int) -> np.ndarray:
        """Return the values that an operand's elements are made in."""
        elements = self.found[value].elements
        return np.unique(np.searchsorted(self.first, elements[elements != CONSTANT], side="right") - 1)

    def _inside(self, value: int) -> bool | None:
        """Return whether an operand is made in the segment; None if only a part of it is."""
        made = {int(one) in self.arrangements for one in self._values(value)} or {False}
        return made.pop() if len(made) == 1 else None

    def _arrangement(self, value: int) -> Hashable:
        """Return the arrangement of an operand; None if it repeats elements or leaves some out."""
        if not self._inside(value):
            return ("elements", self.program.shape(value))
        origin, values = self.found[value].elements, self._values(value)
        size = sum(int(self.first[one + 1] - self.first[one]) for one in values)
        if (origin == CONSTANT).any() or origin.size != size or len(np.unique(origin)) != size:
            return None
        inner = tuple(self.arrangements[int(one)] for one in values)
        if len(values) == 1 and (np.diff(origin.ravel()) == 1).all():
            return inner[0]
        return ("moved", inner, origin.tobytes())


def _find_lives(program: FixedProgram, found: list[Origins], segments: list[Segment]) -> None:
    """Note the elements that each segment reads, keeps and writes."""
    live, first, count = live_elements(program), starts(program), len(program.inputs)

    def made_by(values: list[np.ndarray]) -> np.ndarray:
        elements = np.unique(np.concatenate([*values, np.zeros(0, np.int64)]))
        return elements[elements != CONSTANT]

    later = made_by([found[value].elements.ravel() for value in program.outputs])
    for segment in reversed(segments):
        is_made = np.isin(
            np.searchsorted(first, later, side="right") - 1, [count + index for index in segment.steps]
        )
        segment.writes, segment.keeps = later[is_made], later[~is_made]
        read = []
        for index in segment.steps:
            step = program.steps[index]
            alive = (
                live[count + index] if segment.repeat is None else np.ones(step.shape, bool)
            )  # one cell makes all
            masks = needed_elements(step, alive, program)
            read += [found[value].elements[mask] for value, mask in zip(step.inputs, masks, strict=True)]
        read_elements = made_by(read)
        outside = ~np.isin(
            np.searchsorted(first, read_elements, side="right") - 1,
            [count + index for index in segment.steps],
        )
        segment.reads = read_elements[outside]
        later = np.union1d(segment.keeps, segment.reads)
