"""The module of a layer: it holds an event, gives its elements to shared logic in turn, and collects the results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tamis.firmware.folded.shared import SharedLogic
from tamis.firmware.folded.turns import TurnWriter
from tamis.firmware.folded.wires import ElementSource, Wires, bits_of, joined_bits
from tamis.fixedpoint import FixedGrid


class HoldingBlock(Protocol):
    """A layer that holds what it reads in `held`, and knows in `valid` how many cycles ago it came."""

    @property
    def reads(self) -> Wires:
        """What it holds."""

    @property
    def latency(self) -> int:
        """Cycles from an event to its results."""

    @property
    def interval(self) -> int:
        """Cycles from an event to the next."""


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
        products = [logic.products for logic in self.shared if logic.products is not None]
        sums = (
            f"{self.multipliers} multipliers, which make {len(products[0].results.low)} sums in turn"
            if products
            else ""
        )
        if rows == copies:
            return sums or "every row has logic of its own"
        served = f"{rows} rows, one after the other through {'one copy' if copies == 1 else f'{copies} copies'} of their logic"
        return f"{served}, with {sums} for each" if sums else served

    def source(self, heading: str) -> str:
        """Return the Verilog."""
        body: list[str] = []
        outputs: list[str] = []
        for number, logic in enumerate(self.shared):
            name = "" if len(self.shared) == 1 else str(number)
            writer = TurnWriter(logic, name, self.reads, self.interval, self.last_result)
            body += writer.write(self.collects)
            outputs += [f"results{name}"]
        kept = self.reads.only(np.isin(self.reads.elements, self.keeps))
        if kept.width:
            body += kept_lines(self, kept)
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


def kept_lines(block: HoldingBlock, kept: Wires) -> list[str]:
    """Return registers that carry elements to later layers, a new one for every interval of the latency."""
    places = [block.reads.places[element] for element in kept.elements.tolist()]
    chosen = joined_bits(("held", first, first + width) for first, width, _, _ in places)
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
            for part in bits_of(source, self.reads.place(source), "inputs", int(width), int(fraction))
        )
        kept = self.reads.only(np.isin(self.reads.elements, self.keeps))
        body, outputs = [], ["results"]
        if kept.width:
            body = [
                f"    reg [{max(self.latency, 2) - 1}:0] valid = 0;  // valid[n]: the event entered n + 1 cycles ago",
                "    always @(posedge clk) valid <= {valid, in_valid};",
                f"    reg [{self.reads.width - 1}:0] held;",
                "    always @(posedge clk) if (in_valid) held <= inputs;",
                *kept_lines(self, kept),
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
