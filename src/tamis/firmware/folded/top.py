"""The top module of a folded design: the handing over of events, and the layers one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tamis.firmware.chain import described
from tamis.firmware.folded.block import HoldingBlock
from tamis.firmware.folded.moves import Origins
from tamis.firmware.folded.wires import ElementSource, Wires, bits_for, bits_of, joined_bits
from tamis.fixedpoint import FixedGrid


class LayerBlock(HoldingBlock, Protocol):
    """A layer as a module."""

    @property
    def name(self) -> str:
        """The name of the module."""

    @property
    def writes(self) -> Wires:
        """What leaves it."""


def top_module(
    name: str,
    entering: Wires,
    blocks: Sequence[LayerBlock],
    results: Sequence[Origins],
    outputs: FixedGrid,
    interval: int,
) -> str:
    """Return the top module."""
    latency = sum(block.latency for block in blocks)
    body, wires, bundle = layer_lines(entering, blocks, "inputs", "taken")
    sources = [
        ElementSource(int(element), int(exponent), float(constant))
        for origin in results
        for element, exponent, constant in zip(
            origin.elements.ravel(), origin.exponents.ravel(), origin.constants.ravel(), strict=True
        )
    ]
    parts = [
        part
        for source, width, fraction in zip(sources, outputs.widths, outputs.fractions, strict=True)
        for part in bits_of(source, wires.place(source), bundle, int(width), int(fraction))
    ]
    valid = f"{{valid[{latency - 2}:0], taken}}" if latency > 1 else "taken"
    bits = bits_for(interval)
    return f"""// {name}: results leave {latency} clock cycles after their event entered, and an event may enter every {interval} cycles.
// An event is handed over at the rising edge of clk at which in_valid and in_ready are both 1, and has to be there in that cycle only;
// in_ready is 0 in the {interval - 1} cycles after it. out_valid is 1 for the one cycle in which the outputs are those of an event.
// in:  {described(entering.grid)}
// out: {described(outputs)}
// Elements follow each other from bit 0 on, each as wide as its format.
module {name} (
    input wire clk,
    input wire in_valid,
    output wire in_ready,
    input wire [{entering.width - 1}:0] inputs,
    output wire out_valid,
    output wire [{int(outputs.widths.sum()) - 1}:0] outputs
);
    reg [{bits - 1}:0] busy = 0;  // cycles until the next event may enter
    assign in_ready = busy == 0;
    wire taken = in_valid && in_ready;
    always @(posedge clk) busy <= taken ? {bits}'d{interval - 1} : in_ready ? 0 : busy - 1;

    reg [{latency - 1}:0] valid = 0;  // valid[n]: an event entered n + 1 cycles ago
    assign out_valid = valid[{latency - 1}];
    always @(posedge clk) valid <= {valid};

{chr(10).join(body)}
    assign outputs = {joined_bits(parts)};
endmodule
"""


def layer_lines(
    entering: Wires, blocks: Sequence[LayerBlock], bundle: str, taken: str
) -> tuple[list[str], Wires, str]:
    """Return layers one after the other, and the bundle that leaves the last one with its elements."""
    body, wires, start = [], entering, 0
    for block in blocks:
        read = joined_bits(_elements(block.reads, wires, bundle))
        valid = f"valid[{start - 1}]" if start else taken
        target = f"{block.name}_out"
        body.append(f"    wire [{block.writes.width - 1}:0] {target};")
        body.append(
            f"    {block.name} {block.name}_layer (.clk(clk), .in_valid({valid}), .inputs({read}), .outputs({target}));"
        )
        wires, bundle, start = block.writes, target, start + block.latency
    return body, wires, bundle


def _elements(chosen: Wires, wires: Wires, bundle: str) -> list[tuple[str, int, int] | str]:
    """Return the bits of some elements of a bundle."""
    parts: list[tuple[str, int, int] | str] = []
    for element in np.asarray(chosen.elements).tolist():
        first, width, _, _ = wires.places[element]
        parts.append((bundle, first, first + width))
    return parts
