"""The module of a recurrent layer: one cell, whose state goes back into it step by step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.firmware.folded.block import kept_lines
from tamis.firmware.folded.cell import StepCell
from tamis.firmware.folded.moves import Origins
from tamis.firmware.folded.top import LayerBlock, layer_lines
from tamis.firmware.folded.wires import BitRange, ElementSource, Wires, bits_for, fitted_bits, joined_bits
from tamis.fixedpoint import FixedGrid


@dataclass(frozen=True)
class CellLogic:
    """The layers of a cell one after the other, and where its results are after them."""

    name: str
    entering: Wires
    blocks: tuple[LayerBlock, ...]
    results: tuple[Origins, ...]
    formats: tuple[FixedGrid, ...]  # in which the results leave
    interval: int  # cycles that layers may take to share multipliers

    @property
    def latency(self) -> int:
        """Cycles from the inputs to the results."""
        return sum(block.latency for block in self.blocks)

    @property
    def pace(self) -> int:
        """Cycles from a step to the next: the state is stored in between."""
        return max(self.latency + 1, self.interval)

    @property
    def widths(self) -> list[int]:
        """The bits of each result."""
        return [int(grid.widths.sum()) for grid in self.formats]

    def source(self, heading: str) -> str:
        """Return the Verilog."""
        lines, wires, bundle = layer_lines(self.entering, self.blocks, "inputs", "in_valid")
        parts: list[BitRange] = []
        for origin, grid in zip(self.results, self.formats, strict=True):
            parts += _bits(origin, grid, wires, bundle)
        delayed = self.latency - 1  # the last layer's time needs no signal
        valid = [
            f"    reg [{max(delayed, 2) - 1}:0] valid = 0;  // valid[n]: a step began n + 1 cycles ago",
            "    always @(posedge clk) valid <= {valid, in_valid};",
        ]
        return f"""{heading}
module {self.name} (
    input wire clk,
    input wire in_valid,
    input wire [{self.entering.width - 1}:0] inputs,
    output wire [{sum(self.widths) - 1}:0] outputs
);
{chr(10).join([*valid, *lines])}
    assign outputs = {joined_bits(parts)};
endmodule
"""


@dataclass(frozen=True)
class StepsBlock:
    """A run of equal steps, which one cell takes one after the other."""

    name: str
    reads: Wires
    keeps: np.ndarray  # elements that later layers read
    cell: StepCell
    logic: CellLogic
    written: np.ndarray  # elements that are read later
    places: tuple[tuple[int, int, int], ...]  # of the written elements: repetition, output, and element of it
    interval: int
    multipliers: int

    @property
    def steps(self) -> int:
        """The number of steps."""
        return self.cell.repeat.count

    @property
    def latency(self) -> int:
        """Cycles from an event to its results."""
        return steps_latency(self.steps, self.logic)

    @property
    def writes(self) -> Wires:
        """Return what the layer writes: states of steps, then the elements that it keeps."""
        kept = self.reads.only(np.isin(self.reads.elements, self.keeps))
        bounds = []
        for name in ("low", "high", "fraction"):
            own = [getattr(self.logic.formats[output], name).flat[place] for _, output, place in self.places]
            bounds.append(np.concatenate([np.array(own), getattr(kept.grid, name)]))
        return Wires(np.concatenate([self.written, kept.elements]), FixedGrid(*bounds))

    @property
    def summary(self) -> str:
        """What it is, in a few words."""
        sharing = f", with {self.multipliers} multipliers" if self.multipliers else ""
        return f"{self.steps} steps, one after the other through one cell, {self.logic.pace} cycles each{sharing}"

    def source(self, heading: str) -> str:
        """Return the Verilog."""
        steps, pace, latency = self.steps, self.logic.pace, self.logic.latency
        states = len(self.cell.states)
        state_width = sum(self.logic.widths[:states])
        cycle, step = bits_for(pace), bits_for(steps)
        initial: list[BitRange] = []
        for origin, grid in zip(self.cell.initial, self.logic.formats, strict=False):
            initial += _bits(origin, grid, self.reads, "inputs")
        lines = [
            f"    reg [{self.reads.width - 1}:0] held;  // the event, until the next one enters",
            "    always @(posedge clk) if (in_valid) held <= inputs;",
            f"    reg active = 0;\n    reg [{cycle - 1}:0] cycle = 0;\n    reg [{step - 1}:0] step = 0;",
            f"    wire ends = cycle == {pace - 1};",
            "    always @(posedge clk)",
            "        if (in_valid) begin active <= 1; cycle <= 0; step <= 0; end",
            "        else if (active) begin",
            "            cycle <= ends ? 0 : cycle + 1;",
            f"            if (ends) begin step <= step + 1; active <= step != {steps - 1}; end",
            "        end",
            f"    wire [{sum(self.logic.widths) - 1}:0] made;  // by the cell",
            f"    wire done = active && cycle == {latency};",
            f"    reg [{state_width - 1}:0] state;",
            f"    always @(posedge clk) if (in_valid) state <= {joined_bits(initial)}; else if (done) state <= made[{state_width - 1}:0];",
        ]
        lines += self._read()
        port = "{read, state}" if self.cell.leaves else "state"
        lines.append(
            f"    {self.logic.name} cell_of_layer (.clk(clk), .in_valid(active && cycle == 0), .inputs({port}), .outputs(made));"
        )
        lines += self._results()
        outputs = ["results"]
        kept = self.reads.only(np.isin(self.reads.elements, self.keeps))
        if kept.width:
            lines += kept_lines(self, kept)
            outputs = ["kept", "results"]
        return f"""{heading}
module {self.name} (
    input wire clk,
    input wire in_valid,
    input wire [{self.reads.width - 1}:0] inputs,
    output wire [{self.writes.width - 1}:0] outputs
);
{chr(10).join(lines)}
    assign outputs = {{{", ".join(outputs)}}};
endmodule
"""

    def _read(self) -> list[str]:
        """Write what each step reads of the event."""
        grids = [
            FixedGrid(one.low, one.high, one.fraction)
            for one in self.cell.program.inputs[len(self.cell.states) :]
        ]
        width = sum(int(grid.widths.sum()) for grid in grids)
        if not width:
            return []
        lines = [
            f"    reg [{width - 1}:0] read;  // of the event, for this step",
            "    always @(*)",
            "        case (step)",
        ]
        for number in range(self.steps):
            parts: list[BitRange] = []
            for origins, grid in zip(self.cell.leaves, grids, strict=True):
                parts += _bits(origins[number], grid, self.reads, "held")
            lines.append(f"            {number}: read = {joined_bits(parts)};")
        return [*lines, f"            default: read = {{{width}{{1'bx}}}};", "        endcase"]

    def _results(self) -> list[str]:
        """Write the registers in which results wait, those of each step together."""
        starts = np.cumsum([0, *self.logic.widths]).tolist()
        bits: dict[int, list[BitRange]] = {}
        slices: list[tuple[int, int, int]] = []
        for repetition, output, place in self.places:
            widths = self.logic.formats[output].widths.ravel()
            begin = starts[output] + int(widths[:place].sum())
            parts = bits.setdefault(repetition, [])
            held = sum(part[2] - part[1] for part in parts if isinstance(part, tuple))
            parts.append(("made", begin, begin + int(widths[place])))
            slices.append((repetition, held, held + int(widths[place])))
        lines = []
        for repetition, parts in bits.items():
            width = sum(part[2] - part[1] for part in parts if isinstance(part, tuple))
            lines += [
                f"    reg [{width - 1}:0] step{repetition};",
                f"    always @(posedge clk) if (done && step == {repetition}) step{repetition} <= {joined_bits(parts)};",
            ]
        total = sum(end - begin for _, begin, end in slices)
        chosen = joined_bits((f"step{repetition}", begin, end) for repetition, begin, end in slices)
        return [*lines, f"    wire [{total - 1}:0] results = {chosen};"]


def steps_latency(steps: int, logic: CellLogic) -> int:
    """Return the cycles that a cell takes for some steps, from the event to the registers of the last results."""
    return (steps - 1) * logic.pace + logic.latency + 2


def _bits(origin: Origins, grid: FixedGrid, wires: Wires, bundle: str) -> list[BitRange]:
    """Return elements in the formats of a grid, which hold their values."""
    parts: list[BitRange] = []
    flat = zip(
        origin.elements.ravel(),
        origin.exponents.ravel(),
        origin.constants.ravel(),
        grid.widths.ravel(),
        grid.fractions.ravel(),
        strict=True,
    )
    for element, exponent, constant, width, fraction in flat:
        if width:
            source = ElementSource(int(element), int(exponent), float(constant))
            parts += fitted_bits(source, wires.place(source), bundle, int(width), int(fraction))
    return parts
