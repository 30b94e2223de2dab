"""`tamis firmware`: a quantised bundle as Verilog or VHDL, verified bit by bit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tamis._base import UsageError, quantity
from tamis.cli.output import json_option, print_json, print_table, print_text, say

if TYPE_CHECKING:
    from tamis.records import FirmwareRecord

CLOCK_UNITS = {"mhz": 1.0, "ghz": 1e3, "khz": 1e-3}
CLOCK_LIMITS_MHZ = (1.0, 2000.0)


@click.command(
    name="firmware",
    epilog="Examples: tamis firmware small.tamis -o fw/ --clock 240MHz; tamis firmware small.tamis --verify. "
    "`make` in the folder simulates the golden events again.",
)
@click.argument("bundle")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="New folder for sources, testbench, vectors and report.",
)
@click.option(
    "--clock", default="240MHz", show_default=True, help="Clock that the pipeline is cut for, such as 240MHz."
)
@click.option(
    "--hdl",
    type=click.Choice(["verilog", "vhdl"]),
    default="verilog",
    show_default=True,
    help="Language of the sources; VHDL only without --reuse.",
)
@click.option(
    "--reuse",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Cycles from one event to the next, in which layers share their multipliers; 1: every weight has adders of its own.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Simulate golden events and random vectors with Verilator (VHDL: with GHDL, too) and compare every bit with the emulation.",
)
@click.option(
    "--netlist",
    is_flag=True,
    help="Simulate the netlist that yosys makes, too, on 10,000 random vectors; takes minutes for large designs.",
)
@click.option(
    "--vectors",
    type=click.IntRange(1),
    default=100_000,
    show_default=True,
    help="Random vectors of --verify, uniform over the range of every input.",
)
@click.option(
    "--synthesis/--no-synthesis",
    "synthesise",
    default=None,
    help="Count LUT, flip-flops, DSP and memories with yosys. Default: with --output.",
)
@click.option(
    "--place",
    is_flag=True,
    help="Place and route on an ECP5 with nextpnr: a proxy for the part, with the highest clock; takes minutes.",
)
@click.option(
    "--budget", default="", help="Limits, such as 'latency<100ns,lut<20000': of latency, lut, ff, dsp, bram."
)
@click.option(
    "--into-bundle",
    is_flag=True,
    help="With --verify, also write the record into the bundle: Level-1 menus take only such bundles.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the random vectors.")
@json_option
def command(
    bundle: str,
    output: Path | None,
    clock: str,
    hdl: str,
    reuse: int,
    verify: bool,
    netlist: bool,
    vectors: int,
    synthesise: bool | None,
    place: bool,
    budget: str,
    into_bundle: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Make the hardware of a quantised BUNDLE: Verilog or VHDL with one module per layer, and the proof that it computes the same bits."""
    if output is None and not (verify or netlist or synthesise or place):
        raise UsageError("nothing to do: name a folder with -o, or verify with --verify")
    if into_bundle and not verify:
        raise UsageError("--into-bundle records firmware that was compared bit by bit: give --verify as well")
    clock_mhz = parse_clock(clock)
    from tamis.bundle import FIRMWARE_FILE, Bundle, add_texts
    from tamis.firmware import LANGUAGES, Budget, Request, build_firmware

    request = Request(
        clock_mhz=clock_mhz,
        reuse=reuse,
        verify=verify,
        synthesise=output is not None if synthesise is None else synthesise,
        netlist=netlist,
        vectors=vectors,
        seed=seed,
        language=LANGUAGES[hdl],
        place=place,
        budget=Budget.parse(budget) if budget else None,
    )
    opened = Bundle.open(bundle)
    record = build_firmware(opened, output, request, say)
    if into_bundle:
        add_texts(opened, {FIRMWARE_FILE: record.model_dump_json(indent=1) + "\n"})
    if as_json:
        print_json(record)
        return
    _print(record)
    if output is not None:
        click.echo(f"all in {output}; `make -C {output}` simulates the golden events")


def parse_clock(text: str) -> float:
    """Return a clock in MHz."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]?Hz)", text, re.IGNORECASE)
    mhz = float(found.group(1)) * CLOCK_UNITS.get(found.group(2).lower(), 1e-6) if found else 0.0
    if not CLOCK_LIMITS_MHZ[0] <= mhz <= CLOCK_LIMITS_MHZ[1]:
        raise UsageError(f"--clock {text!r} is not a clock between 1 MHz and 2 GHz; write it like 240MHz")
    return mhz


def _print(record: FirmwareRecord) -> None:
    from tamis.firmware import place_text

    shares = record.reuse > 1
    rows = [
        *(
            (one.name, one.cycles, one.multipliers, one.lut_estimate, one.register_bits)
            for one in record.layers
        ),
        (
            "together",
            record.latency_cycles,
            record.multipliers,
            record.lut_estimate,
            sum(layer.register_bits for layer in record.layers),
        ),
    ]
    print_table(
        f"{record.bundle} at {quantity(record.clock_mhz * 1e6, 'Hz')}",
        ("layer", "cycles", *(["multipliers"] * shares), "LUT, estimate", "register bits"),
        [
            (name, cycles, *([multipliers] * shares), f"{luts:.0f}", bits)
            for name, cycles, multipliers, luts, bits in rows
        ],
    )
    print_text(f"latency {record.latency_ns:.1f} ns, {record.latency_cycles} cycles; {record.pace}")
    if record.synthesis is not None:
        cells = record.synthesis
        print_text(
            f"{cells.tool}: {cells.lut} LUT, {cells.flip_flops} flip-flops, {cells.carry} carry chains, {cells.dsp} DSP, "
            f"{cells.block_memories} block memories"
        )
    if record.place is not None:
        print_text(place_text(record.place))
    for one in record.agreement:
        print_text(
            f"{one.what} in {one.simulator}: every bit of {one.golden_events} golden events and {one.random_vectors} random vectors agrees"
        )
