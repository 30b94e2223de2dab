"""Synthesise Verilog with yosys for Xilinx parts: how many LUT, flip-flops, carry chains, DSP and memories."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from tamis._base import ModelError
from tamis.firmware.design import Design
from tamis.firmware.tools import run_tool, tool

CELLS = "cells.v"
FAMILY = "xcup"  # UltraScale+
BLOCK_MEMORIES = ("RAMB", "URAM")
LUT_NAMES = tuple(f"LUT{n}" for n in range(1, 7))


@dataclass(frozen=True)
class Resources:
    """Cells of a synthesised design by kind."""

    lut: int
    flip_flops: int
    carry: int
    dsp: int
    block_memories: int
    shift_registers: int


def synthesise(
    design: Design, folder: Path, *, sources: dict[str, str] | None = None, netlist: bool = False
) -> Resources:
    """Return the resources of a design, or of other Verilog with its top; with `netlist`, write `netlist.v`, whose cells are those of the part.

    Cells of block memories have no model for simulation: in the netlist of a design that has some, they are LUTs.
    """
    yosys = tool("yosys", "yosys", "synthesise firmware")
    folder.mkdir(parents=True, exist_ok=True)
    sources = design.sources if sources is None else sources
    for name, text in sources.items():
        (folder / name).write_text(text)
    cells = _synthesise(yosys, design.name, folder, list(sources), netlist=netlist)
    if netlist and any(name.startswith(BLOCK_MEMORIES) for name in cells):
        _synthesise(yosys, design.name, folder, list(sources), netlist=True, options=" -nobram")

    def count(*starts: str) -> int:
        return sum(number for name, number in cells.items() if name.startswith(starts))

    return Resources(
        lut=count(*LUT_NAMES),
        flip_flops=count("FD"),
        carry=count("CARRY"),
        dsp=count("DSP"),
        block_memories=count(*BLOCK_MEMORIES),
        shift_registers=count("SRL"),
    )


def _synthesise(
    yosys: str, top: str, folder: Path, files: list[str], *, netlist: bool, options: str = ""
) -> dict[str, int]:
    """Run yosys on the sources in a folder and return the number of cells by kind."""
    commands = [
        f"read_verilog -defer {' '.join(files)}",
        f"synth_xilinx -family {FAMILY} -flatten -noiopad -noclkbuf -top {top}{options}",
        "tee -q -o cells.json stat -json",
    ]
    if netlist:
        # With the meaning of every cell, since Verilator 5.006 miscomputes carry chains across modules, and without second names of
        # wires, which are most of the text.
        (folder / CELLS).write_text(resources.files("tamis.firmware").joinpath(CELLS).read_text())
        commands += [
            "delete =A:blackbox; opt_clean -purge",
            f"read_verilog {CELLS}",
            f"hierarchy -top {top}",
            "proc; flatten; opt_clean -purge; splitnets; opt_clean -purge",
            "write_verilog -noattr netlist.v",
        ]
    run_tool([yosys, "-q", "-p", "; ".join(commands)], folder)
    try:
        found = json.loads((folder / "cells.json").read_text())["modules"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"yosys wrote no statistics of {top}: {error}") from error
    cells: dict[str, int] = list(found.values())[-1]["num_cells_by_type"]
    return cells


def yosys_version() -> str:
    """Return the name and version of the synthesis tool."""
    done = run_tool([tool("yosys", "yosys", "synthesise firmware"), "-V"], Path.cwd())
    return " ".join(done.split()[:2])
