"""The program of a segment, cut into the rows that shared logic computes one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tamis.firmware.folded.compact import Compacted, Leaf, chosen, compact
from tamis.firmware.folded.moves import CONSTANT, Origins, is_move, starts
from tamis.firmware.folded.rows import rows_of
from tamis.firmware.folded.segments import Segment
from tamis.firmware.folded.wires import ElementSource
from tamis.fixedpoint import FixedGrid, FixedProgram, ProgramInput, Step, fraction_bits, live_elements
from tamis.fixedpoint.program import Linear, Scale, Take

NOT_NEEDED = -1  # in place of an element that a row makes because others do


@dataclass(frozen=True)
class ElementRanges:
    """The range of every element of a program, as far as it is made; those that cannot vary are constants."""

    low: np.ndarray
    high: np.ndarray
    fraction: np.ndarray

    def resolved(self, origin: Origins) -> Origins:
        """Return origins in which elements that cannot vary are constants."""
        inside = np.maximum(origin.elements, 0)
        constant = (origin.elements != CONSTANT) & (self.low[inside] == self.high[inside])
        values = np.ldexp(self.low[inside], origin.exponents)
        return Origins(
            np.where(constant, CONSTANT, origin.elements),
            origin.exponents,
            np.where(constant, values, origin.constants),
        )

    def grid(self, origin: Origins) -> FixedGrid:
        """Return the grid of elements."""
        inside, constant = np.maximum(origin.elements, 0), origin.elements == CONSTANT
        low, high = (
            np.where(constant, origin.constants, np.ldexp(bound[inside], origin.exponents))
            for bound in (self.low, self.high)
        )
        fraction = np.where(
            constant, fraction_bits(origin.constants), self.fraction[inside] - origin.exponents
        )
        return FixedGrid(low, high, fraction)


@dataclass(frozen=True)
class Part:
    """Rows that one copy of logic computes: its program, whose flat inputs are slots, and what each row puts there."""

    program: FixedProgram
    rows: tuple[tuple[ElementSource, ...], ...]
    results: tuple[tuple[int, ...], ...]  # the elements that each row makes, or NOT_NEEDED

    @property
    def slots(self) -> FixedGrid:
        """The grids of the slots."""
        bounds = [
            np.concatenate([getattr(one, name) for one in self.program.inputs])
            for name in ("low", "high", "fraction")
        ]
        return FixedGrid(*bounds)


def segment_program(
    program: FixedProgram, segment: Segment, found: list[Origins], known: ElementRanges
) -> tuple[Compacted, list[ElementSource]]:
    """Return a segment as a program that makes the elements it writes, and the source of each element of its inputs."""
    first, count = starts(program), len(program.inputs)
    made = {count + index for index in segment.steps}
    operands: dict[bytes, int] = {}  # that are made outside, by where their elements come from
    inputs: list[ProgramInput] = []
    sources: list[Origins] = []
    steps: list[Step] = []
    pending: list[tuple[Step, list[tuple[str, int]]]] = []

    def operand(value: int) -> tuple[str, int]:
        origin = found[value]
        values = np.searchsorted(first, origin.elements[origin.elements >= 0], side="right") - 1
        if made & set(values.tolist()):
            return ("inside", value)
        origin = known.resolved(origin)
        key = (
            origin.elements.tobytes()
            + origin.exponents.tobytes()
            + origin.constants.tobytes()
            + bytes(str(origin.elements.shape), "ascii")
        )
        if key not in operands:
            operands[key] = len(inputs)
            grid = known.grid(origin)
            inputs.append(
                ProgramInput(
                    f"operand{len(inputs)}", origin.elements.shape, grid.low, grid.high, grid.fraction
                )
            )
            sources.append(origin)
        return ("outside", operands[key])

    for index in segment.steps:
        step = program.steps[index]
        pending.append((step, [operand(value) for value in step.inputs]))
    numbers: dict[int, int] = {}

    def moved(value: int, layer: str) -> int:
        """Return a value made in the segment, or moved from such values."""
        if value in numbers:
            return numbers[value]
        origin = found[value]
        values = np.unique(np.searchsorted(first, origin.elements.ravel(), side="right") - 1).tolist()
        offsets = np.zeros(len(first), np.int64)
        total = 0
        for one in values:
            offsets[one], total = total - first[one], total + first[one + 1] - first[one]
        owner = np.searchsorted(first, origin.elements, side="right") - 1
        indices = origin.elements + offsets[owner]
        steps.append(Take(layer, tuple(numbers[one] for one in values), indices.shape, indices))
        if origin.exponents.any():
            factors = np.ldexp(1.0, origin.exponents)
            steps.append(Scale(layer, (len(inputs) + len(steps) - 1,), indices.shape, factors))
        return len(inputs) + len(steps) - 1

    for index, (step, read) in zip(segment.steps, pending, strict=True):
        placed = tuple(moved(value, step.layer) if kind == "inside" else value for kind, value in read)
        steps.append(replace(step, inputs=placed))
        numbers[count + index] = len(inputs) + len(steps) - 1
    owners = np.searchsorted(first, segment.writes, side="right") - 1
    values = np.unique(owners).tolist()
    offsets = np.cumsum([0, *(first[one + 1] - first[one] for one in values)])
    shifts = {one: offset - first[one] for one, offset in zip(values, offsets[:-1], strict=True)}
    indices = segment.writes + np.array([shifts[one] for one in owners.tolist()])
    steps.append(Take(segment.name, tuple(numbers[one] for one in values), indices.shape, indices))
    whole = FixedProgram(tuple(inputs), tuple(steps), (len(inputs) + len(steps) - 1,))
    result = compact(whole)
    return result, [_source(sources[value], place) for value, place in result.leaves]


def _source(origin: Origins, place: int) -> ElementSource:
    return ElementSource(
        int(origin.elements.flat[place]),
        int(origin.exponents.flat[place]),
        float(origin.constants.flat[place]),
    )


def parts_of(
    program: FixedProgram, segment: Segment, found: list[Origins], known: ElementRanges
) -> list[Part]:
    """Return the parts of a segment; the rows of each are computed by the same logic."""
    first = starts(program)
    values = np.unique(np.searchsorted(first, segment.writes, side="right") - 1)
    writes = np.concatenate([np.arange(first[value], first[value + 1]) for value in values])
    whole, sources = segment_program(program, replace(segment, writes=writes), found, known)
    read, needed = set(segment.reads.tolist()), set(segment.writes.tolist())
    flat: dict[Leaf, ElementSource] = {}
    start = 0
    for value, one in enumerate(whole.program.inputs):
        for place in range(one.shape[0]):
            source = sources[start + place]
            is_there = source.element in read or source.element < 0
            flat[value, place] = source if is_there else ElementSource(CONSTANT, 0, 0.0)
        start += one.shape[0]
    result = []
    for group in rows_of(whole.program):
        table = writes[np.array([row.results for row in group.rows])]
        table[~np.isin(table, list(needed))] = NOT_NEEDED
        kept, used = (table != NOT_NEEDED).any(axis=1), (table != NOT_NEEDED).any(axis=0)
        if not kept.any():
            continue
        example = group.rows[0]
        row_program = chosen(whole.program, whole.program.outputs[0], np.array(example.results)[used])
        places = [example.leaves.index(leaf) for leaf in row_program.leaves]
        leaves = [row.leaves for row, is_kept in zip(group.rows, kept, strict=True) if is_kept]
        rows = tuple(tuple(flat[row[place]] for place in places) for row in leaves)
        results = tuple(tuple(row) for row in table[kept][:, used].tolist())
        result.append(Part(_widened(row_program.program, rows, known), rows, results))
    return result


def _widened(
    program: FixedProgram, rows: tuple[tuple[ElementSource, ...], ...], known: ElementRanges
) -> FixedProgram:
    """Return the program of a row with inputs that hold those of all rows."""
    table = Origins(
        *(
            np.array([[getattr(source, name) for source in row] for row in rows], kind).reshape(len(rows), -1)
            for name, kind in (("element", np.int64), ("exponent", np.int64), ("constant", np.float64))
        )
    )
    grid = known.grid(table)
    low, high, fraction = grid.low.min(axis=0), grid.high.max(axis=0), grid.fraction.max(axis=0)
    inputs, start = [], 0
    for one in program.inputs:
        part = slice(start, start + one.shape[0])
        inputs.append(replace(one, low=low[part], high=high[part], fraction=fraction[part]))
        start = part.stop
    return replace(program, inputs=tuple(inputs))


def split_products(part: Part) -> tuple[np.ndarray, np.ndarray, FixedProgram] | None:
    """Return the slots that a row's only product reads, its matrix, and the program after it; None if there is no such product."""
    program = part.program
    products = [(index, step) for index, step in enumerate(program.steps) if isinstance(step, Linear)]
    if len(products) != 1:
        return None
    index, step = products[0]
    count = len(program.inputs)
    if step.shape[0] != 1 or any(not is_move(one) for one in program.steps[:index]):
        return None
    sizes = np.cumsum([0, *(one.shape[0] for one in program.inputs)])
    numbers = [np.arange(sizes[value], sizes[value + 1]) for value in range(count)]
    for one in program.steps[:index]:
        if not isinstance(one, Take):
            return None
        numbers.append(np.concatenate([*(numbers[value] for value in one.inputs), [-1]])[one.indices])
    read = numbers[step.inputs[0]].ravel()
    later = program.steps[index + 1 :]
    if (read < 0).any() or any(value < count + index for one in later for value in one.inputs):
        return None
    output = step.matrix.shape[1]
    empty = np.zeros(output)
    sums = ProgramInput("sums", step.shape, empty[None], empty[None], empty[None].astype(np.int64))
    shifted = tuple(
        replace(one, inputs=tuple(value - count - index for value in one.inputs)) for one in later
    )
    outputs = tuple(value - count - index for value in program.outputs)
    return read, step.matrix, FixedProgram((sums,), shifted, outputs)


def is_live(program: FixedProgram) -> np.ndarray:
    """Return which elements of the only input of a program are needed."""
    return live_elements(program)[0].ravel()
