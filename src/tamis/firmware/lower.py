"""Lower the layers of a program to alkaid's logic: adders by distributed arithmetic, pipelined to a clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tamis._base import require
from tamis.fixedpoint import INPUT_LAYER, FixedGrid, FixedProgram, Rounding, live_elements
from tamis.fixedpoint.program import (
    Add,
    Clip,
    Linear,
    LookUp,
    Maximum,
    Multiply,
    Offset,
    Round,
    Scale,
    Take,
    Trees,
    Wrap,
)
from tamis.fixedpoint.simplify import simplify

PURPOSE = "firmware"
TABLE_BITS = 6  # inputs of one LUT
HARD_DC = 2  # alkaid's bound on the depth of adders beyond the smallest


@dataclass(frozen=True)
class Layer:
    """A layer of the program: its steps, and the values that cross its borders."""

    name: str
    steps: tuple[int, ...]  # indices of steps
    reads: tuple[int, ...]  # values made before, in order
    writes: tuple[int, ...]  # values that later layers or the outputs read


@dataclass(frozen=True)
class Logic:
    """A layer as combinational logic of alkaid, and the grids of its ports: the live elements of its values, joined."""

    layer: Layer
    comb: Any
    reads: FixedGrid
    writes: FixedGrid


def layers_of(program: FixedProgram) -> list[Layer]:
    """Cut a program where the layer changes."""
    count = len(program.inputs)
    names = [step.layer for step in program.steps]
    borders = [index for index in range(1, len(names)) if names[index] != names[index - 1]]
    if borders and names[0] == INPUT_LAYER:
        del borders[0]  # what precedes the first layer is part of it
    borders = [0, *borders, len(names)]
    layers = []
    for begin, end in pairwise(borders):
        made = set(range(count + begin, count + end))
        read_inside = {value for step in program.steps[begin:end] for value in step.inputs}
        read_later = {value for step in program.steps[end:] for value in step.inputs} | set(program.outputs)
        earlier = {value for value in read_inside | read_later if value < count + begin}
        layers.append(
            Layer(
                names[end - 1],
                tuple(range(begin, end)),
                tuple(sorted(earlier)),
                tuple(sorted((made | earlier) & read_later)),
            )
        )
    return layers


def lower(program: FixedProgram) -> list[Logic]:
    """Return the logic of every layer; the ports of each are as wide as the layer before makes them."""
    require("alkaid", extra="fpga", purpose=PURPOSE)
    program = simplify(program)
    from alkaid.trace import FVArray, HWConfig, trace

    live = live_elements(program)
    known = {  # the grids of the live elements
        index: FixedGrid(one.low[live[index]], one.high[live[index]], one.fraction[live[index]])
        for index, one in enumerate(program.inputs)
    }
    hardware = HWConfig(1, 1, -1)
    result = []
    for layer in layers_of(program):
        reads = joined([known[value] for value in layer.reads])
        if any(isinstance(program.steps[index], LookUp) for index in layer.steps):
            reads = _whole_range(reads)  # alkaid optimises logic for all numbers of its inputs' formats
        ports = FVArray.from_lhs(
            reads.low, reads.high, np.ldexp(1.0, -reads.fractions), hardware, 0.0, {"hard_dc": HARD_DC}
        )
        values: dict[int, Any] = {}
        start = 0
        for value in layer.reads:
            elements = np.zeros(program.shape(value), object)  # dead ones are never read
            elements[live[value]] = np.asarray(ports)[start : start + live[value].sum()]
            values[value] = FVArray(elements, ports.solver_options, hwconf=hardware)
            start += live[value].sum()
        for index in layer.steps:
            step = program.steps[index]
            values[len(program.inputs) + index] = step.apply(Tracing(), [values[i] for i in step.inputs])
        outputs = np.concatenate([np.asarray(values[value])[live[value]] for value in layer.writes])
        comb = trace(ports, FVArray(outputs, hwconf=hardware))
        ranges = np.array([(q.min, q.max, q.step) for q in comb.out_qint], np.float64).reshape(-1, 3)
        writes = FixedGrid(ranges[:, 0], ranges[:, 1], -np.rint(np.log2(ranges[:, 2])).astype(np.int64))
        result.append(Logic(layer, comb, reads, writes))
        start = 0
        for value in layer.writes:
            part = slice(start, start + live[value].sum())
            known[value] = FixedGrid(writes.low[part], writes.high[part], writes.fraction[part])
            start = part.stop
    return result


def joined(grids: Sequence[FixedGrid]) -> FixedGrid:
    """Return grids flattened and joined."""
    return FixedGrid(
        *(
            np.concatenate([getattr(grid, name).ravel() for grid in grids])
            for name in ("low", "high", "fraction")
        )
    )


def _whole_range(grid: FixedGrid) -> FixedGrid:
    """Return grids of all numbers that their bits can hold; constants stay."""
    varies = grid.low < grid.high
    half = np.ldexp(1.0, grid.widths - grid.signed - grid.fractions)
    low = np.where(varies & grid.signed, -half, np.where(varies, 0.0, grid.low))
    return FixedGrid(low, np.where(varies, half - np.ldexp(1.0, -grid.fractions), grid.high), grid.fraction)


class Tracing:
    """Evaluates a program on alkaid's symbolic arrays."""

    def take(self, values: list[Any], step: Take) -> Any:
        """Gather elements."""
        from alkaid.trace import FVArray

        first = values[0]
        flat = np.concatenate([*(np.asarray(value).reshape(-1) for value in values), [step.fill]])
        return FVArray(flat[step.indices], first.solver_options, hwconf=first.hwconf)

    def linear(self, value: Any, step: Linear) -> Any:
        """Multiply by a matrix, row by row."""
        from alkaid.trace import FVArray

        rows = [_product(row, step.matrix, value) for row in np.asarray(value).reshape(-1, value.shape[-1])]
        return FVArray(np.array(rows, object).reshape(step.shape), value.solver_options, hwconf=value.hwconf)

    def scale(self, value: Any, step: Scale) -> Any:
        """Multiply by constants."""
        return value * step.factors

    def offset(self, value: Any, step: Offset) -> Any:
        """Add constants."""
        return value + step.terms

    def add(self, first: Any, second: Any, step: Add) -> Any:
        """Add two values."""
        del step
        return first + second

    def multiply(self, first: Any, second: Any, step: Multiply) -> Any:
        """Multiply two values."""
        del step
        return first * second

    def maximum(self, first: Any, second: Any, step: Maximum) -> Any:
        """Return the larger of two values."""
        pairs = zip(np.asarray(first).ravel(), np.asarray(second).ravel(), strict=True)
        return _array([_larger(one, other) for one, other in pairs], first, step.shape)

    def round(self, value: Any, step: Round) -> Any:
        """Round to integers."""
        signed, integer, _ = value.kif
        mode = "TRN" if step.rounding is Rounding.FLOOR else "RND_CONV"
        return value.quantize(signed, integer + (mode == "RND_CONV"), np.zeros_like(integer), "WRAP", mode)

    def clip(self, value: Any, step: Clip) -> Any:
        """Limit to bounds."""
        bounds = zip(step.low.ravel(), step.high.ravel(), strict=True)
        elements = zip(np.asarray(value).ravel(), bounds, strict=True)
        return _array([_clipped(element, low, high) for element, (low, high) in elements], value, step.shape)

    def wrap(self, value: Any, step: Wrap) -> Any:
        """Keep the low bits."""
        _, _, fraction = value.kif
        integer = np.log2(step.moduli).astype(np.int64)
        return value.quantize(np.zeros_like(integer), integer, fraction, "WRAP", "TRN")

    def look_up(self, value: Any, step: LookUp) -> Any:
        """Read a table, of which the logic holds the entries that can be read."""
        from alkaid.trace.fixed_variable import FVariable, LookupTable

        results = []
        for element in np.asarray(value).ravel():
            low, high, stride = (int(number) for number in (element.low, element.high, max(element.step, 1)))
            places = np.arange(low, high + 1, stride) - step.low
            entries = step.table[np.clip(places, 0, len(step.table) - 1)]  # numbers beyond it never come
            if (entries == entries[0]).all():
                results.append(FVariable.from_const(float(entries[0]), hwconf=element.hwconf))
            else:
                results.append(LookupTable(entries).lookup(element, (low, high, stride)))
        return _array(results, value, step.shape)

    def trees(self, value: Any, step: Trees) -> Any:
        """Compare each feature once with each of its thresholds, choose the leaves, and add them."""
        forest, elements = step.forest, np.asarray(value).ravel()
        bits: dict[tuple[int, float], Any] = {}

        def reached(node: int, output: int) -> Any:
            if node < 0:
                return float(forest.leaves[-1 - node, output])
            key = int(forest.features[node]), float(forest.thresholds[node])
            if key not in bits:
                bits[key] = _at_most(elements[key[0]], key[1])
            yes, no = reached(int(forest.yes[node]), output), reached(int(forest.no[node]), output)
            if isinstance(bits[key], bool):
                return yes if bits[key] else no
            if isinstance(yes, float) and yes == no:
                return yes
            return bits[key].msb_mux(yes, no)

        sums = []
        for output in range(forest.leaves.shape[1]):
            terms = [reached(int(root), output) for root in forest.roots]
            constant = sum(term for term in terms if isinstance(term, float))
            terms = [term for term in terms if not isinstance(term, float)]
            while len(terms) > 1:  # a tree of adders, which is not deep
                pairs = [terms[i] + terms[i + 1] for i in range(0, len(terms) - 1, 2)]
                terms = pairs + terms[len(pairs) * 2 :]
            sums.append(terms[0] + constant if terms else constant)
        return _array(sums, value, step.shape)


def _at_most(element: Any, threshold: float) -> Any:
    """Return the bit `element <= threshold`, or whether it always is so; up to TABLE_BITS bits, one LUT compares."""
    from alkaid.trace.fixed_variable import LookupTable

    low, high, step = float(element.low), float(element.high), float(element.step)
    threshold = np.floor(threshold / step) * step
    if threshold >= high or threshold < low:
        return bool(threshold >= high)
    if sum(element.kif) > TABLE_BITS:
        return element <= threshold
    numbers = np.arange(round((high - low) / step) + 1) * step + low
    return LookupTable((numbers <= threshold).astype(np.float64)).lookup(element, (low, high, step))


def _product(row: np.ndarray, matrix: np.ndarray, like: Any) -> np.ndarray:
    """Return a vector times a matrix; alkaid's solver takes no vector that is constant."""
    from alkaid.trace import FVArray
    from alkaid.trace.fixed_variable import FVariable

    lows = np.array([float(getattr(element, "low", element)) for element in row])
    highs = np.array([float(getattr(element, "high", element)) for element in row])
    varies = lows < highs
    constant = np.where(varies, 0.0, lows) @ matrix
    read = varies & (matrix != 0).any(axis=1)
    if not read.any():
        return np.array([FVariable.from_const(float(term), hwconf=like.hwconf) for term in constant], object)
    vector = FVArray(row[read], like.solver_options, hwconf=like.hwconf)
    return np.asarray(vector @ matrix[read] + constant, object)


def _larger(one: Any, other: Any) -> Any:
    """Return the larger of two numbers; alkaid's own `max_of` mistakes a difference that is known to be positive for a signed one."""
    difference = one - other
    if difference.low >= 0:
        return one
    if difference.high <= 0:
        return other
    low, high = max(one.low, other.low), max(one.high, other.high)
    return difference.msb_mux(other, one, qint=(float(low), float(high), float(min(one.step, other.step))))


def _array(elements: list[Any], like: Any, shape: tuple[int, ...]) -> Any:
    """Return symbolic numbers as an array of a shape."""
    from alkaid.trace import FVArray

    flat = np.empty(len(elements), object)
    flat[:] = elements
    return FVArray(flat.reshape(shape), like.solver_options, hwconf=like.hwconf)


def _clipped(element: Any, low: float, high: float) -> Any:
    if low == 0 and element.low < 0:
        element = element.relu()
    elif low > element.low:
        element = element.max_of(low)
    return element.min_of(high) if high < element.high else element
