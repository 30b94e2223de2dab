"""The module of a layer: it holds an event, gives its elements to shared logic in turn, and collects the results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.firmware.folded.products import ProductPlan
from tamis.firmware.folded.wires import ElementSource, Wires, bits_for, bits_of, joined_bits
from tamis.fixedpoint import FixedGrid


@dataclass(frozen=True)
class SharedLogic:
    """Logic that serves rows of elements in turn: products first, if there are any, and alkaid's pipeline after them."""

    module: str  # alkaid's
    slots: FixedGrid  # what the logic reads in each turn
    rows: tuple[tuple[ElementSource, ...], ...]  # the elements of each row in the slots
    results: tuple[tuple[int, ...], ...]  # the elements that each row makes
    used: np.ndarray  # which slots, or sums of the products, alkaid's module reads
    stages: int
    writes: FixedGrid  # of a row
    copies: int = 1
    products: ProductPlan | None = None
    products_stages: int = 0  # from the last address to the sums

    @property
    def turns(self) -> int:
        """Rows that each copy serves."""
        return -(-len(self.rows) // self.copies)

    @property
    def stride(self) -> int:
        """Cycles that a row takes."""
        return self.products.cycles * self.products.groups if self.products else 1

    @property
    def first_result(self) -> int:
        """The cycle, counted from that in which the event entered, in which the results of the first row are there."""
        return (self.stride + self.products_stages if self.products else 2) + self.stages

    @property
    def last_result(self) -> int:
        """The cycle in which the results of the last row are there."""
        return self.first_result + (self.turns - 1) * self.stride


@dataclass(frozen=True)
class Block:
    """A layer that shares its logic."""

    name: str
    reads: Wires
    keeps: np.ndarray  # elements that later layers read
    shared: tuple[SharedLogic, ...]
    interval: int

    @property
    def collects(self) -> bool:
        """Whether results wait for others."""
        return any(logic.turns > 1 for logic in self.shared)

    @property
    def last_result(self) -> int:
        """The cycle in which the last results are there."""
        return max(logic.last_result for logic in self.shared)

    @property
    def latency(self) -> int:
        """Cycles from an event to its results."""
        return self.last_result + self.collects

    @property
    def writes(self) -> Wires:
        """Return what the layer writes: the results row by row, then the elements that it keeps."""
        numbers, grids = [], []
        for logic in self.shared:
            for row in logic.results:
                numbers.append(np.array(row, np.int64))
                grids.append(logic.writes)
        kept = self.reads.only(np.isin(self.reads.elements, self.keeps))
        grids.append(kept.grid)
        bounds = [
            np.concatenate([getattr(grid, name) for grid in grids]) for name in ("low", "high", "fraction")
        ]
        return Wires(np.concatenate([*numbers, kept.elements]), FixedGrid(*bounds))

    @property
    def multipliers(self) -> int:
        """Multipliers of two numbers that vary."""
        return sum(logic.products.multipliers * logic.copies for logic in self.shared if logic.products)

    @property
    def summary(self) -> str:
        """What it is, in a few words."""
        rows = sum(len(logic.rows) for logic in self.shared)
        copies = sum(logic.copies for logic in self.shared)
        served = f"{rows} rows in turn by {copies} of logic" if rows > len(self.shared) else "shared logic"
        return f"{served}, {self.multipliers} multipliers"

    def source(self, heading: str) -> str:
        """Return the Verilog."""
        body: list[str] = []
        outputs: list[str] = []
        for number, logic in enumerate(self.shared):
            name = "" if len(self.shared) == 1 else str(number)
            body += _shared(logic, name, self)
            outputs += [f"results{name}"]
        kept = self.reads.only(np.isin(self.reads.elements, self.keeps))
        if kept.width:
            body += _kept(self, kept)
            outputs.append("kept")
        return f"""{heading}
module {self.name} (
    input wire clk,
    input wire in_valid,
    input wire [{self.reads.width - 1}:0] inputs,
    output wire [{self.writes.width - 1}:0] outputs
);
    reg [{self.reads.width - 1}:0] held;  // the event, until the next one enters
    always @(posedge clk) if (in_valid) held <= inputs;
    reg [{max(self.latency, 2) - 1}:0] valid = 0;  // valid[n]: the event entered n + 1 cycles ago
    always @(posedge clk) valid <= {{valid, in_valid}};

{chr(10).join(body)}
    assign outputs = {{{", ".join(reversed(outputs))}}};
endmodule
"""


def _shared(logic: SharedLogic, name: str, block: Block) -> list[str]:
    """Return the counters, the choice of elements, the logic, and the collection of its results."""
    plan = logic.products
    row_width = int(logic.writes.widths.sum())
    late = (
        block.last_result - logic.last_result
    )  # all rows are complete together: this logic begins later, as far as
    begin = min(
        late, block.interval - logic.turns * logic.stride
    )  # the event is there, and then its results wait
    delay = late - begin
    lines, address, start = _counters(logic, name, f"valid[{begin - 1}]" if begin else "in_valid")
    collected: list[str] = []
    for copy in range(logic.copies):
        suffix = f"{name}_{copy}" if logic.copies > 1 else name
        lines += _lanes(logic, suffix, copy, address, block)
        port = f"lanes{suffix}"
        if plan is not None:
            width = int(plan.results.widths.sum())
            lines.append(f"    wire [{width - 1}:0] sums{suffix};")
            lines.append(
                f"    {logic.module}_products products{suffix} (.clk(clk), .address({start[0]}), .first({start[1]}), "
                f".lanes({port}), .sums(sums{suffix}));"
            )
            port = f"sums{suffix}"
        widths = plan.results.widths if plan is not None else logic.slots.widths
        ends = np.cumsum(widths)
        read = joined_bits(
            (port, int(end - width), int(end))
            for end, width, used in zip(ends, widths, logic.used, strict=True)
            if used and width
        )
        lines.append(f"    wire [{row_width - 1}:0] row{suffix};")
        lines.append(
            f"    {logic.module} shared{suffix} (.clk(clk), .model_inp({read}), .model_out(row{suffix}));"
        )
        row = f"row{suffix}"
        for stage in range(delay):
            lines.append(f"    reg [{row_width - 1}:0] row{suffix}_after{stage};")
            lines.append(f"    always @(posedge clk) row{suffix}_after{stage} <= {row};")
            row = f"row{suffix}_after{stage}"
        served = range(copy * logic.turns, min((copy + 1) * logic.turns, len(logic.rows)))
        if not block.collects:
            collected += [row] * bool(served)
            continue
        if not served:
            continue
        lines.append(f"    reg [{row_width * len(served) - 1}:0] rows{suffix};")
        lines.append("    always @(posedge clk) begin")
        for turn in range(len(served)):
            cycle = logic.first_result + late + turn * logic.stride
            part = f"rows{suffix}[{(turn + 1) * row_width - 1}:{turn * row_width}]"
            lines.append(f"        if (valid[{cycle - 1}]) {part} <= {row};")
        lines.append("    end")
        collected.append(f"rows{suffix}")
    total = row_width * len(logic.rows)
    lines.append(f"    wire [{total - 1}:0] results{name} = {{{', '.join(reversed(collected))}}};")
    return lines


def _counters(
    logic: SharedLogic, name: str, begin: str
) -> tuple[list[str], list[tuple[str, int]], tuple[str, str]]:
    """Return counters, those that choose the elements with their lengths, and the address and the start of the products."""
    counters: list[tuple[str, int]] = []
    if logic.products is not None:
        counters = [(f"cycle{name}", logic.products.cycles), (f"group{name}", logic.products.groups)]
    counters.append((f"turn{name}", logic.turns))
    lines, ends = [], []
    for counter, count in counters:
        if count == 1:
            continue
        bits = bits_for(count)
        following = f"{counter} == {count - 1} ? 0 : {counter} + 1"
        if ends:
            following = f"{' && '.join(ends)} ? ({following}) : {counter}"
        lines.append(f"    reg [{bits - 1}:0] {counter} = 0;")
        lines.append(f"    always @(posedge clk) {counter} <= {begin} ? 0 : {following};")
        ends.append(f"{counter} == {count - 1}")
    chosen = [
        (counter, count) for counter, count in counters if count > 1 and not counter.startswith("group")
    ]
    if logic.products is None:
        return lines, chosen, ("", "")
    cycles, groups = logic.products.cycles, logic.products.groups
    address = f"address{name}"
    bits = bits_for(cycles * groups)
    value = f"group{name} * {cycles} + cycle{name}" if cycles > 1 else f"group{name}"
    value = value if groups > 1 else f"cycle{name}" if cycles > 1 else "0"
    lines.append(f"    wire [{bits - 1}:0] {address} = {value};")
    first = f"cycle{name} == 0" if cycles > 1 else "1'b1"
    return lines, chosen, (address, first)


def _lanes(
    logic: SharedLogic, suffix: str, copy: int, counters: list[tuple[str, int]], block: Block
) -> list[str]:
    """Return the registers that hold the elements of a turn, and the multiplexer in front of them."""
    grid = logic.slots if logic.products is None else logic.products.lanes
    width = int(grid.widths.sum())
    turns, order = logic.turns, [np.arange(len(logic.slots.low))]
    if logic.products is not None:
        order = list(logic.products.inputs)
    bits = sum(bits_for(count) for _, count in counters)
    choices = []
    for turn in range(turns):
        row = copy * turns + turn
        if row >= len(logic.rows):
            continue
        for cycle, places in enumerate(order):
            label, sources = 0, logic.rows[row]
            for counter, count in reversed(counters):
                label = (label << bits_for(count)) | (turn if counter.startswith("turn") else cycle)
            parts = []
            for place, size, fraction in zip(places, grid.widths, grid.fractions, strict=True):
                if place >= 0 and size:
                    parts += bits_of(sources[place], block.reads, "held", int(size), int(fraction))
                elif size:
                    parts.append(f"{size}'d0")
            choices.append((label, joined_bits(parts)))
    lines = [f"    reg [{width - 1}:0] lanes{suffix};"]
    if not counters:
        return [*lines, f"    always @(posedge clk) lanes{suffix} <= {choices[0][1]};"]
    names = ", ".join(counter for counter, _ in reversed(counters))
    lines += ["    always @(posedge clk)", f"        case ({{{names}}})"]
    lines += [f"            {bits}'d{label}: lanes{suffix} <= {text};" for label, text in choices]
    return [*lines, f"            default: lanes{suffix} <= {{{width}{{1'bx}}}};", "        endcase"]


def _kept(block: Block | DirectBlock, kept: Wires) -> list[str]:
    """Return registers that carry elements to later layers, a new one for every interval of the latency."""
    chosen = joined_bits(
        part
        for element in kept.elements.tolist()
        for part in bits_of(
            ElementSource(element, 0, 0.0),
            block.reads,
            "held",
            block.reads.places[element][1],
            block.reads.places[element][2],
        )
    )
    lines = [f"    wire [{kept.width - 1}:0] kept0 = {chosen};"]
    count = -(-block.latency // block.interval)
    for number in range(1, count):
        lines.append(f"    reg [{kept.width - 1}:0] kept{number};")
        lines.append(
            f"    always @(posedge clk) if (valid[{number * block.interval - 1}]) kept{number} <= kept{number - 1};"
        )
    lines.append(f"    wire [{kept.width - 1}:0] kept = kept{count - 1};")
    return lines


@dataclass(frozen=True)
class DirectBlock:
    """A layer with logic for every operation: alkaid's pipeline, into which an event could enter in every cycle."""

    name: str
    reads: Wires
    keeps: np.ndarray
    module: str
    sources: tuple[ElementSource, ...]
    slots: FixedGrid
    used: np.ndarray
    latency: int
    results: Wires
    interval: int

    @property
    def summary(self) -> str:
        """What it is, in a few words."""
        return "every operation has logic of its own"

    @property
    def writes(self) -> Wires:
        """Return what the layer writes: its results, then the elements that it keeps."""
        kept = self.reads.only(np.isin(self.reads.elements, self.keeps))
        bounds = [
            np.concatenate([getattr(grid, name) for grid in (self.results.grid, kept.grid)])
            for name in ("low", "high", "fraction")
        ]
        return Wires(np.concatenate([self.results.elements, kept.elements]), FixedGrid(*bounds))

    def source(self, heading: str) -> str:
        """Return the Verilog."""
        read = joined_bits(
            part
            for source, width, fraction, used in zip(
                self.sources, self.slots.widths, self.slots.fractions, self.used, strict=True
            )
            if used and width
            for part in bits_of(source, self.reads, "inputs", int(width), int(fraction))
        )
        kept = self.reads.only(np.isin(self.reads.elements, self.keeps))
        body, outputs = [], ["results"]
        if kept.width:
            body = [
                f"    reg [{max(self.latency, 2) - 1}:0] valid = 0;  // valid[n]: the event entered n + 1 cycles ago",
                "    always @(posedge clk) valid <= {valid, in_valid};",
                f"    reg [{self.reads.width - 1}:0] held;",
                "    always @(posedge clk) if (in_valid) held <= inputs;",
                *_kept(self, kept),
            ]
            outputs = ["kept", "results"]
        width = self.results.width
        return f"""{heading}
module {self.name} (
    input wire clk,
    input wire in_valid,
    input wire [{self.reads.width - 1}:0] inputs,
    output wire [{self.writes.width - 1}:0] outputs
);
    wire [{width - 1}:0] results;
    {self.module} logic_of_layer (.clk(clk), .model_inp({read}), .model_out(results));
{chr(10).join(body)}
    assign outputs = {{{", ".join(outputs)}}};
endmodule
"""
