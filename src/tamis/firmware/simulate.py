"""Simulate Verilog with Verilator: rows in, rows out, each after the latency of the design."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from tamis._base import ModelError, VerificationError
from tamis.firmware.design import Design
from tamis.firmware.tools import run_tool, tool
from tamis.firmware.vectors import pack, unpack, words_of

FLAGS = (
    "--cc",
    "--exe",
    "-O3",
    "--x-assign",
    "fast",
    "--prefix",
    "Vdesign",
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
)


@dataclass(frozen=True)
class Simulation:
    """A compiled simulation of a design."""

    design: Design
    binary: Path

    def run(self, values: np.ndarray) -> np.ndarray:
        """Return the outputs for rows of numbers on the input's grid; one that is late, or too early, is an error."""
        folder = self.binary.parent
        inputs, outputs = folder / "inputs.bin", folder / "outputs.bin"
        pack(values, self.design.inputs).tofile(inputs)
        try:
            run_tool([str(self.binary), str(inputs), str(outputs)], folder)
        except ModelError as error:
            raise VerificationError(
                f"the simulation of {self.design.name} failed: {error}; please report this with the bundle"
            ) from error
        words = np.fromfile(outputs, "<u4").reshape(len(values), words_of(self.design.outputs))
        return unpack(words, self.design.outputs)


def compile_design(design: Design, sources: dict[str, str], folder: Path) -> Simulation:
    """Compile sources with Verilator in a folder; `sources` may be other Verilog with the same ports."""
    verilator = tool("verilator", "verilator", "simulate firmware")
    tool("make", "make g++", "simulate firmware")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in sources.items():
        (folder / name).write_text(text)
    bench = resources.files("tamis.firmware").joinpath("testbench.cpp").read_text()
    (folder / "testbench.cpp").write_text(bench)
    macros = {
        "INPUT_WORDS": words_of(design.inputs),
        "OUTPUT_WORDS": words_of(design.outputs),
        "LATENCY": design.latency,
        "INTERVAL": design.interval,
    }
    flags = " ".join(f"-D{name}={value}" for name, value in macros.items())
    command = [verilator, *FLAGS, "-CFLAGS", f"-O1 {flags}", "--top-module", design.name, "--Mdir", "build"]
    run_tool([*command, *sources, "testbench.cpp", "-o", "simulate"], folder)
    run_tool(["make", "-C", "build", "-j", "2", "-f", "Vdesign.mk", "OPT_FAST=-O1", "simulate"], folder)
    return Simulation(design, folder / "build" / "simulate")


def verilator_version() -> str:
    """Return the name and version of the simulator."""
    done = run_tool([tool("verilator", "verilator", "simulate firmware"), "--version"], Path.cwd())
    return " ".join(done.split()[:2])
