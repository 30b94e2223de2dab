"""VHDL in GHDL: simulate a design, or translate it to Verilog for Verilator, yosys and place and route."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from tamis._base import ModelError, VerificationError
from tamis.firmware.design import Design
from tamis.firmware.tools import run_tool, tool
from tamis.firmware.vectors import pack, unpack, words_of

STANDARD = "--std=08"
QUIET = "--ieee-asserts=disable-at-0"  # nothing is known before the first event
BENCH = "testbench"


def simulate_vhdl(design: Design, values: np.ndarray, folder: Path) -> np.ndarray:
    """Return the outputs for rows of numbers on the input's grid; one that is late, or too early, is an error."""
    ghdl = _analysed(design, {f"{BENCH}.vhd": bench_source(design)}, folder, "simulate VHDL", BENCH)
    pack(values, design.inputs).tofile(folder / "inputs.bin")
    try:
        run_tool([ghdl, "-r", STANDARD, BENCH, QUIET], folder)
    except ModelError as error:
        raise VerificationError(
            f"the simulation of {design.name} failed: {error}; please report this with the bundle"
        ) from error
    words = np.fromfile(folder / "outputs.bin", "<u4").reshape(len(values), words_of(design.outputs))
    return unpack(words, design.outputs)


def as_verilog(design: Design, folder: Path) -> dict[str, str]:
    """Return a design as Verilog: what GHDL synthesises of its VHDL, for tools that read Verilog only."""
    ghdl = _analysed(design, {}, folder, "read VHDL", design.name)
    return {"design.v": run_tool([ghdl, "--synth", STANDARD, "--out=verilog", design.name], folder)}


def bench_source(design: Design) -> str:
    """Return the testbench of a design."""
    text = resources.files("tamis.firmware").joinpath(f"{BENCH}.vhd").read_text()
    facts = {
        "TOP": design.name,
        "LATENCY": design.latency,
        "INPUT_BITS": int(design.inputs.widths.sum()),
        "OUTPUT_BITS": int(design.outputs.widths.sum()),
    }
    for name, value in facts.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def ghdl_version() -> str:
    """Return the name and version of the simulator."""
    done = run_tool([tool("ghdl", "ghdl", "simulate VHDL"), "--version"], Path.cwd())
    return " ".join(done.split()[:2])


def _analysed(design: Design, more: dict[str, str], folder: Path, purpose: str, top: str) -> str:
    """Write and analyse the sources of a design in a folder; return the path of GHDL."""
    ghdl = tool("ghdl", "ghdl", purpose)
    folder.mkdir(parents=True, exist_ok=True)
    sources = design.sources | more
    for name, text in sources.items():
        (folder / name).write_text(text)
    run_tool([ghdl, "-i", STANDARD, *sources], folder)
    run_tool([ghdl, "-m", STANDARD, top], folder)
    return ghdl
