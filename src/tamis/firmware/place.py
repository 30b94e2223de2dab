"""Place and route on an ECP5, the largest FPGA for which free tools do: a proxy for the part that the design is meant for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from tamis._base import ModelError
from tamis.firmware.design import Design
from tamis.firmware.synthesis import yosys_version
from tamis.firmware.tools import nextpnr, run_tool, tool
from tamis.records import PlaceAndRoute

DEVICE = "LFE5U-85F, speed grade 8"
DEVICE_OPTIONS = ("--85k", "--package", "CABGA756", "--speed", "8")
LUT4S, ECP5_MULTIPLIERS, ECP5_BLOCK_MEMORIES = (
    83_640,
    156,
    208,
)  # of the device; it has as many flip-flops as LUTs
HARNESS = "harness"
PHASES = {  # of nextpnr, by what it prints when one begins
    "Packing constants": "packing for the ECP5",
    "Creating initial analytic placement": "placing on the ECP5",
    "Running simulated annealing": "refining the placement",
    "Routing globals": "routing on the ECP5",
}
LAYER_OF_CELL = re.compile(r"\.(\w+?)_layer\b")


def place_and_route(
    design: Design, folder: Path, sources: dict[str, str], say: Callable[[str], None] = lambda _: None
) -> PlaceAndRoute:
    """Synthesise a design for the ECP5, place and route it, and return its cells and its highest clock.

    `sources` are Verilog. A design that does not fit, or that nextpnr cannot route, has no clock, and the record says why.
    """
    router = nextpnr()
    say("synthesising with yosys for the ECP5")
    cells = _synthesise(design, folder, sources)
    record = PlaceAndRoute(
        tool=f"{nextpnr_version(router, folder)} and {yosys_version()}",
        device=DEVICE,
        lut4=cells.get("LUT4", 0) + 2 * cells.get("CCU2C", 0),
        flip_flops=cells.get("TRELLIS_FF", 0),
        multipliers=cells.get("MULT18X18D", 0),
        block_memories=cells.get("DP16KD", 0),
        max_mhz=None,
    )
    problem = _too_large(record)
    if not problem:
        try:
            return record.model_copy(update=_routed(router, design, folder, say))
        except ModelError as error:
            problem = f"{error}"
    return record.model_copy(update={"problem": problem})


def harness_of(design: Design) -> str:
    """Return a module of four pins around a design: a shift register feeds its inputs, and another one carries its outputs away.

    The FPGA has fewer pins than most designs have bits, and paths from a pin have no clock; all paths of the design are between registers.
    """
    inputs, outputs = int(design.inputs.widths.sum()), int(design.outputs.widths.sum())
    ready = ".in_ready(results[1]), " if design.interval > 1 else ""
    places = 2 if design.interval > 1 else 1
    return f"""module {HARNESS} (input wire clk, input wire in_bit, input wire load, output wire out_bit);
    reg [{inputs}:0] entering;
    always @(posedge clk) entering <= {{entering, in_bit}};
    wire [{outputs + places - 1}:0] results;
    {design.name} design (.clk(clk), .in_valid(entering[{inputs}]), .inputs(entering[{inputs - 1}:0]),
        .out_valid(results[0]), {ready}.outputs(results[{outputs + places - 1}:{places}]));
    reg [{outputs + places - 1}:0] leaving;
    always @(posedge clk) leaving <= load ? results : leaving >> 1;
    assign out_bit = leaving[0];
endmodule
"""


def _synthesise(design: Design, folder: Path, sources: dict[str, str]) -> dict[str, int]:
    """Write `netlist.json` for nextpnr and return the number of the design's cells by kind, without those of the harness."""
    folder.mkdir(parents=True, exist_ok=True)
    files = sources | {f"{HARNESS}.v": harness_of(design)}
    for name, text in files.items():
        (folder / name).write_text(text)
    commands = [
        f"read_verilog -defer {' '.join(files)}",
        f"hierarchy -top {HARNESS}",
        f"setattr -mod -set keep_hierarchy 1 {design.name}",
        f"synth_ecp5 -abc9 -top {HARNESS}",
        "tee -q -o cells.json stat -json",
        f"setattr -mod -unset keep_hierarchy {design.name}",
        "flatten; opt_clean; write_json netlist.json",
    ]
    run_tool([tool("yosys", "yosys", "synthesise firmware"), "-q", "-p", "; ".join(commands)], folder)
    try:
        modules = json.loads((folder / "cells.json").read_text())["modules"]
        cells: dict[str, int] = modules[f"\\{design.name}"]["num_cells_by_type"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"yosys wrote no statistics of {design.name}: {error}") from error
    return cells


def _too_large(record: PlaceAndRoute) -> str:
    """Return why a design does not fit the device; nothing if it may."""
    needed = {
        "LUT4": (record.lut4, LUT4S),
        "flip-flops": (record.flip_flops, LUT4S),
        "multipliers": (record.multipliers, ECP5_MULTIPLIERS),
        "block memories": (record.block_memories, ECP5_BLOCK_MEMORIES),
    }
    over = [
        f"{count} {name}, of which it has {most}" for name, (count, most) in needed.items() if count > most
    ]
    return f"the design does not fit the largest ECP5: it takes {', and '.join(over)}" if over else ""


def _routed(router: str, design: Design, folder: Path, say: Callable[[str], None]) -> dict[str, object]:
    """Place and route, and return the highest clock, and the layer in which the slowest path ends."""
    waiting = dict(PHASES)

    def watch(line: str) -> None:
        for begin in [begin for begin in waiting if begin in line]:
            say(waiting.pop(begin))

    run_tool(
        [
            *(router, *DEVICE_OPTIONS, "--json", "netlist.json", "--report", "report.json", "--seed", "1"),
            *("--freq", f"{design.clock_mhz:g}", "--timing-allow-fail", "--lpf-allow-unconstrained"),
        ],
        folder,
        watch,
    )
    try:
        report = json.loads((folder / "report.json").read_text())
        clock, facts = min(report["fmax"].items(), key=lambda item: item[1]["achieved"])
        path = next(
            one["path"] for one in report["critical_paths"] if clock in one["from"] and clock in one["to"]
        )
        layer = LAYER_OF_CELL.search(path[-1]["to"]["cell"])
        return {"max_mhz": float(facts["achieved"]), "slowest": layer.group(1) if layer else ""}
    except (OSError, ValueError, KeyError, StopIteration) as error:
        raise ModelError(f"nextpnr wrote no timing of {design.name}: {error}") from error


def nextpnr_version(router: str, folder: Path) -> str:
    """Return the name and version of the router, which it prints to standard error."""
    told: list[str] = []
    run_tool([router, "--version"], folder, told.append)
    found = re.search(r"Version (?:nextpnr-)?([\w.-]+)", "".join(told))
    return f"nextpnr {found.group(1)}" if found else "nextpnr"
