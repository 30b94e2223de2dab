"""Sums of products by a few multipliers in turn: which input and which weight each of them takes in which cycle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.firmware.folded.wires import bits_for, listed
from tamis.fixedpoint import FixedGrid, fraction_bits
from tamis.fixedpoint.grids import Ranges
from tamis.fixedpoint.program import Linear

SMALLEST_DSP = 9  # bits of a product from which yosys takes a DSP, if both factors have two or more


@dataclass(frozen=True)
class ProductPlan:
    """A vector times a matrix in `cycles` cycles for each of `groups` groups of outputs."""

    weights: np.ndarray  # integers: (cycles * groups, lanes, sums of a group)
    inputs: np.ndarray  # the slot that each lane takes in each cycle, or -1: (cycles, lanes)
    outputs: np.ndarray  # the output that each sum is in each group, or -1: (groups, sums)
    lanes: FixedGrid
    results: FixedGrid  # of all outputs
    shifts: np.ndarray  # of the products of each lane, to their common fraction

    @property
    def cycles(self) -> int:
        """Cycles of a group of outputs."""
        return len(self.inputs)

    @property
    def groups(self) -> int:
        """Groups of outputs."""
        return len(self.outputs)

    @property
    def used(self) -> np.ndarray:
        """Which lanes each sum multiplies: (lanes, sums)."""
        return np.asarray((self.weights != 0).any(axis=0))

    @property
    def multipliers(self) -> int:
        """Multipliers of two numbers that vary."""
        return int((self.used & ~(self.weights == self.weights[:1]).all(axis=0)).sum())

    @property
    def sum_widths(self) -> np.ndarray:
        """The bits of each sum, in which it may wrap around on the way: those of its results."""
        widths = self.results.widths
        return np.where(self.outputs < 0, 0, widths[np.maximum(self.outputs, 0)]).max(axis=0)

    @property
    def depth(self) -> int:
        """The stages of the tree of adders, with registers after each: yosys makes compressors of longer sums, of twice the LUTs."""
        return (int(self.used.sum(axis=0).max(initial=1)) - 1).bit_length()

    @property
    def stages(self) -> int:
        """The cycles from the last address to the sums: memory, product, adders and accumulator."""
        return 3 + self.depth

    def weight_format(self, lane: int, place: int) -> tuple[int, bool]:
        """Return the width of a multiplier's weights, and whether one is negative."""
        weights = self.weights[:, lane, place]
        low, high = float(weights.min()), float(weights.max())
        grid = FixedGrid(np.array([low]), np.array([high]), np.array([0]))
        return int(grid.widths[0]), bool(low < 0)


def best_cycles(inputs: int, outputs: int, available: int) -> tuple[int, int]:
    """Return cycles and groups of outputs that need the fewest multipliers; of equals, the one with the fewest groups."""
    options = []
    for cycles in range(1, min(inputs, available) + 1):
        groups = min(outputs, available // cycles)
        lanes, sums = -(-inputs // cycles), -(-outputs // groups)
        options.append((lanes * sums, -(-outputs // sums), -(-inputs // lanes)))
    _, groups, cycles = min(options)
    return cycles, groups


def plan_products(matrix: np.ndarray, slots: FixedGrid, read: np.ndarray, available: int) -> ProductPlan:
    """Return how the slots that a matrix (inputs, outputs) reads are multiplied by it within some cycles."""
    count, outputs = matrix.shape
    elements = FixedGrid(slots.low[read], slots.high[read], slots.fraction[read])
    cycles, groups = best_cycles(count, outputs, available)
    lanes, sums = -(-count // cycles), -(-outputs // groups)
    fractions, widths = elements.fractions, elements.widths
    order = np.full(cycles * lanes, -1)
    order[:count] = np.lexsort((widths, fractions))  # elements of one format share a lane
    uniform = len(np.unique(fractions)) == 1
    inputs = order.reshape(cycles, lanes) if uniform else order.reshape(lanes, cycles).T
    placed = np.full(groups * sums, -1)
    placed[:outputs] = np.arange(outputs)
    columns = placed.reshape(groups, sums)
    column_fractions = np.maximum(fraction_bits(matrix).max(axis=0), -(2**10))
    column_fractions = np.where((matrix != 0).any(axis=0), column_fractions, 0)
    padded = np.zeros((count + 1, outputs + 1), np.int64)
    padded[:count, :outputs] = np.rint(np.ldexp(matrix, column_fractions)).astype(np.int64)
    weights = padded[inputs[None, :, :, None], columns[:, None, None, :]]
    lane_fraction = np.array([fractions[lane[lane >= 0]].max() for lane in inputs.T])
    low, high = (
        np.array([function(bound[lane[lane >= 0]]) for lane in inputs.T])
        for function, bound in ((np.min, elements.low), (np.max, elements.high))
    )
    reached = Ranges().linear(elements, Linear("", (0,), (outputs,), matrix))
    fraction = int(lane_fraction.max())
    return ProductPlan(
        weights.reshape(groups * cycles, lanes, sums),
        np.where(inputs < 0, -1, read[inputs]),
        columns,
        FixedGrid(low, high, lane_fraction),
        FixedGrid(reached.low, reached.high, fraction + column_fractions),
        fraction - lane_fraction,
    )


def products_module(name: str, plan: ProductPlan) -> str:
    """Return the module of the weights, the multipliers and the sums."""
    sums, depth = plan.used.shape[1], plan.depth
    writer = _Writer(plan)
    for place in range(sums):
        writer.sum(place)
    address = bits_for(plan.cycles * plan.groups)
    memory = writer.memory(address)
    widths = plan.results.widths
    results = [f"result{index}" for index in range(len(widths)) if widths[index]]
    ready = depth + 2
    return f"""// {name}: {plan.multipliers} multipliers make {len(widths)} sums of {int((plan.inputs >= 0).sum())} products in {plan.cycles * plan.groups} cycles.
// Weights are in a memory: those of `address` meet the elements that are in `lanes` one cycle after it. `first` comes with the first
// address of a sum; the sums of all groups are there for one cycle, {ready + 1} cycles after their last address.
module {name} (
    input wire clk,
    input wire [{address - 1}:0] address,
    input wire first,
    input wire [{int(plan.lanes.widths.sum()) - 1}:0] lanes,
    output wire [{int(widths.sum()) - 1}:0] sums
);
{chr(10).join(writer.declarations)}
{memory}
    reg [{ready - 1}:0] starts = 0;
    always @(posedge clk) starts <= {{starts, first}};
    always @(posedge clk) begin
{chr(10).join(writer.statements)}
    end
    assign sums = {{{listed(results[::-1])}}};
endmodule
"""


class _Writer:
    """Collects declarations and statements of a module of products."""

    def __init__(self, plan: ProductPlan) -> None:
        self.plan, self.depth = plan, plan.depth
        self.declarations: list[str] = []
        self.statements: list[str] = []
        self.columns: list[tuple[int, int, int]] = []  # lane, sum and width of the weights in memory
        widths = plan.lanes.widths
        for lane, (width, end) in enumerate(zip(widths, np.cumsum(widths), strict=True)):
            kind = "signed " if plan.lanes.signed[lane] else ""
            if width:
                self.declarations.append(
                    f"    wire {kind}[{width - 1}:0] x{lane} = lanes[{end - 1}:{end - width}];"
                )

    def sum(self, place: int) -> None:
        """Write the products of a sum, their tree of adders, and the accumulator."""
        size = int(self.plan.sum_widths[place])
        outputs = [int(one) for one in self.plan.outputs[:, place] if one >= 0]
        if not size:
            return
        self.statements.append(f"        // sum of output {', '.join(map(str, outputs))}: {size} bits")
        terms = [
            self._product(lane, place, size)
            for lane in np.flatnonzero(self.plan.used[:, place] & (self.plan.lanes.widths > 0)).tolist()
        ]
        for level in range(self.depth):
            parts = [terms[begin : begin + 2] for begin in range(0, len(terms), 2)]
            new = []
            for number, part in enumerate(parts):
                width = min(size, max(width for _, width in part) + (len(part) - 1).bit_length())
                name = f"s{place}_{level}_{number}"
                self._register(name, width, " + ".join(one for one, _ in part))
                new.append((name, width))
            terms = new
        total = terms[0][0] if terms else "0"
        if self.plan.cycles > 1:
            start = f"starts[{self.depth + 1}]"
            # in this order, the choice is in the LUT of the carry chain
            self._register(f"sum{place}", size, f"{total} + ({start} ? {size}'sd0 : sum{place})")
        else:
            self._register(f"sum{place}", size, total)
        self._results(place)

    def _results(self, place: int) -> None:
        """Write where the results of a sum are: those of earlier groups move on whenever a group begins."""
        plan, size = self.plan, int(self.plan.sum_widths[place])
        begins = f"if (starts[{self.depth + 1}]) " if plan.cycles > 1 else ""
        for age in range(1, plan.groups):
            newer = f"older{place}_{age - 1}" if age > 1 else f"sum{place}"
            self.declarations.append(f"    reg [{size - 1}:0] older{place}_{age};")
            self.statements.append(f"        {begins}older{place}_{age} <= {newer};")
        for group, output in enumerate(plan.outputs[:, place]):
            width = int(plan.results.widths[output]) if output >= 0 else 0
            age = plan.groups - 1 - group
            source = f"older{place}_{age}" if age else f"sum{place}"
            if width:
                self.declarations.append(
                    f"    wire [{width - 1}:0] result{output} = {source}[{width - 1}:0];"
                )

    def _product(self, lane: int, place: int, size: int) -> tuple[str, int]:
        plan = self.plan
        width, negative = plan.weight_format(lane, place)
        factor = f"x{lane}" if plan.lanes.signed[lane] else f"$signed({{1'b0, x{lane}}})"
        bits = int(plan.lanes.widths[lane]) + (not plan.lanes.signed[lane])
        constant = int(plan.weights[0, lane, place])
        if (plan.weights[:, lane, place] == constant).all():
            weight = f"{'-' * (constant < 0)}{width + 1}'sd{abs(constant)}"
            width += 1
        else:
            self.columns.append((lane, place, width))
            weight = f"w{lane}_{place}" if negative else f"$signed({{1'b0, w{lane}_{place}}})"
            width += not negative
        shift = int(plan.shifts[lane])
        name, total = f"p{lane}_{place}", min(size, bits + width + shift)
        self._register(name, total, f"({factor} * {weight})" + (f" <<< {shift}" if shift else ""))
        return name, total

    def _register(self, name: str, width: int, value: str) -> None:
        self.declarations.append(f"    reg signed [{width - 1}:0] {name};")
        self.statements.append(f"        {name} <= {value};")

    def memory(self, address: int) -> str:
        """Return the memory of the weights and the names of its columns."""
        plan, lines, end = self.plan, [], 0
        for lane, place, width in self.columns:
            kind = "signed " if plan.weight_format(lane, place)[1] else ""
            lines.append(
                f"    wire {kind}[{width - 1}:0] w{lane}_{place} = weights[{end + width - 1}:{end}];"
            )
            end += width
        if not end:
            return ""
        rows = []
        for number, weights in enumerate(plan.weights):
            texts = []
            for lane, place, width in reversed(self.columns):
                signed = plan.weight_format(lane, place)[1]
                weight = int(weights[lane, place])
                low = signed and weight == -(
                    1 << (width - 1)
                )  # its magnitude has no positive number of that width
                texts.append(
                    f"{width}'d{weight & ((1 << width) - 1)}"
                    if low or not signed
                    else f"{'-' * (weight < 0)}{width}'sd{abs(weight)}"
                )
            rows.append(f"            {address}'d{number}: weights <= {{{listed(texts)}}};")
        return "\n".join(
            [
                f"    reg [{end - 1}:0] weights;  // w(lane)_(sum), the last first",
                *lines,
                "    always @(posedge clk)",
                "        case (address)",
                *rows,
                f"            default: weights <= {{{end}{{1'bx}}}};",
                "        endcase",
            ]
        )
