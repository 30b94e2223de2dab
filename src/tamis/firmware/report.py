"""The report of a bundle's firmware as text that people read."""

from __future__ import annotations

from collections.abc import Sequence

from tamis._base import quantity
from tamis.firmware.design import Design
from tamis.firmware.folded import StepsInTurn
from tamis.records import FirmwareRecord, PlaceAndRoute

UNKNOWN_HERE = """Not shown here, since only the vendor's tools know it: whether the clock is reached on the part after place and route, the
power, and the resources after the vendor's optimisation. Cycles, bits and the counts of yosys are exact."""
PROXY_NOTE = """The ECP5 ({device}) is a proxy: an FPGA of 40 nm with LUTs of four inputs. The route tells that the design can be placed and routed, and which layer
is the slowest; it says nothing of the clock that the part reaches, nor of its LUTs. Shift registers at the ports (not counted) stand for its
surroundings, so that every path is between two registers."""
VHDL_NOTE = "- The language is VHDL-2008. `rtl/arithmetic.vhd` is the package that every stage uses, so that it is compiled first."
SHARED_LOGIC_NOTE = """- Layers share their multipliers (`*_products.v`, with the weights) or the logic of a row (`*_row.v`): an event is taken when `in_valid`
  and `in_ready` are both 1 at a rising edge of the clock, and has to be there in that cycle only."""


def report_text(
    record: FirmwareRecord, design: Design, remarks: Sequence[str] = (), turns: Sequence[StepsInTurn] = ()
) -> str:
    """Return the README of a folder of firmware, in Markdown.

    `remarks` say what the host computes and where engines may differ, `turns` are recurrent layers whose steps could share one cell.
    """
    is_vhdl = design.language == "vhdl"
    simulator, packages = (
        ("GHDL", "ghdl yosys make") if is_vhdl else ("Verilator", "verilator yosys make g++")
    )
    suffix, unit = (".vhd", "entity") if is_vhdl else (".v", "module")
    lines = [
        f"# {record.bundle} as hardware",
        "",
        (
            f"Latency {record.latency_cycles} cycles, {record.latency_ns:.1f} ns at {quantity(record.clock_mhz * 1e6, 'Hz')}; "
            f"{record.pace}: the initiation interval is {record.initiation_interval}."
        ),
        "",
        f"`make` simulates the golden events with {simulator} and compares every bit; `make lut` counts cells with yosys.",
        f"On Debian: `apt-get install {packages}`.",
        "",
        f"- `rtl/{design.name}{suffix}` is the top {unit}: `clk`, `in_valid`, {'`in_ready`, ' * (design.interval > 1)}`inputs`, `out_valid`, `outputs`.",
        f"- One {unit} per layer, and one per pipeline stage of it. Elements of a port follow each other from bit 0 on.",
        *[VHDL_NOTE] * is_vhdl,
        *[SHARED_LOGIC_NOTE] * (record.reuse > 1),
        "- `vectors/` holds the golden events as 32-bit little-endian words, `report.json` the numbers below.",
        "",
        "| layer | cycles | multipliers | LUT (estimate) | register bits | in | out |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {layer.name} | {layer.cycles} | {layer.multipliers} | {layer.lut_estimate:.0f} | {layer.register_bits} | {layer.inputs} | {layer.outputs} |"
        for layer in record.layers
    ]
    lines += [
        f"| together | {record.latency_cycles} | {record.multipliers} | {record.lut_estimate:.0f} | | | |",
        "",
    ]
    lines += [" ".join(remarks), ""] * bool(remarks)
    lines += [
        f"The {one.steps} equal steps of {one.layer} have logic of their own. With `--reuse {one.interval}` one cell of about {one.luts:.0f} LUT "
        f"computes them in turn, and an event may enter every {one.interval} cycles.\n"
        for one in turns
    ]
    if record.synthesis is not None:
        cells = record.synthesis
        lines += [
            (
                f"{cells.tool}, `synth_xilinx -family {cells.family}`: {cells.lut} LUT, {cells.flip_flops} flip-flops, {cells.carry} carry chains, "
                f"{cells.dsp} DSP, {cells.block_memories} block memories, {cells.shift_registers} shift registers."
            ),
            "",
        ]
    if record.place is not None:
        lines += [f"{place_text(record.place)}.", "", PROXY_NOTE.format(device=record.place.device), ""]
    lines += [
        f"Verified: the {one.what} gives every bit of the emulation in {one.simulator}, on {one.golden_events} golden events and "
        f"{one.random_vectors} random vectors over the whole range of the inputs."
        for one in record.agreement
    ]
    lines += [""] * bool(record.agreement) + [UNKNOWN_HERE, ""]
    return "\n".join(lines)


def place_text(placed: PlaceAndRoute) -> str:
    """Return what place and route found, in a sentence."""
    cells = (
        f"{placed.lut4} LUT4, {placed.flip_flops} flip-flops, {placed.multipliers} multipliers, "
        f"{placed.block_memories} block memories"
    )
    if placed.max_mhz is None:
        return f"ECP5 by {placed.tool}: {cells}; not routed: {placed.problem}"
    slowest = f" (the slowest path ends in {placed.slowest})" if placed.slowest else ""
    return f"ECP5 by {placed.tool}: {cells}; at most {placed.max_mhz:.1f} MHz after place and route{slowest}"
