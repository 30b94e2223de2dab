"""Simulate Verilog with Verilator: rows in, rows out, and the latency that was seen."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from tamis._base import MissingExtraError, ModelError
from tamis.firmware.design import Design
from tamis.firmware.vectors import pack, unpack, words_of

FLAGS = ("--cc", "--exe", "-O3", "--x-assign", "fast", "--prefix", "Vdesign", "-Wno-fatal", "-Wno-lint", "-Wno-style")
EXTRA_CYCLES = 64


@dataclass(frozen=True)
class Simulation:
    """A compiled simulation of a design."""

    design: Design
    binary: Path

    def run(self, values: np.ndarray) -> tuple[np.ndarray, int]:
        """Return the outputs for rows of numbers on the input's grid, and the cycles until the first result."""
        folder = self.binary.parent
        inputs, outputs = folder / "inputs.bin", folder / "outputs.bin"
        pack(values, self.design.inputs).tofile(inputs)
        done = _call([str(self.binary), str(inputs), str(outputs)], folder)
        words = np.fromfile(outputs, "<u4").reshape(len(values), words_of(self.design.outputs))
        seen = re.search(r"after (\d+) cycles", done)
        assert seen is not None
        return unpack(words, self.design.outputs), int(seen.group(1))


def tool(name: str, package: str) -> str:
    """Return the path of a program; where it is missing, the error names the package that installs it."""
    found = shutil.which(name)
    if found is None:
        raise MissingExtraError(
            f"{name} is not installed, which is needed to verify firmware: apt-get install {package}"
        )
    return found


def compile_design(design: Design, sources: dict[str, str], folder: Path) -> Simulation:
    """Compile sources with Verilator in a folder; `sources` may be other Verilog with the same ports."""
    verilator = tool("verilator", "verilator")
    tool("make", "make")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in sources.items():
        (folder / name).write_text(text)
    bench = resources.files("tamis.firmware").joinpath("testbench.cpp").read_text()
    (folder / "testbench.cpp").write_text(bench)
    macros = {
        "INPUT_WORDS": words_of(design.inputs),
        "OUTPUT_WORDS": words_of(design.outputs),
        "MAX_LATENCY": design.latency + EXTRA_CYCLES,
    }
    flags = " ".join(f"-D{name}={value}" for name, value in macros.items())
    command = [verilator, *FLAGS, "-CFLAGS", f"-O1 {flags}", "--top-module", design.name, "--Mdir", "build"]
    _call([*command, *sources, "testbench.cpp", "-o", "simulate"], folder)
    _call(["make", "-C", "build", "-j", "2", "-f", "Vdesign.mk", "OPT_FAST=-O1", "simulate"], folder)
    return Simulation(design, folder / "build" / "simulate")


def _call(command: list[str], folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "VERILATOR_ROOT"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise ModelError(f"{Path(command[0]).name} failed: {lines[0] if lines else 'without a message'}")
    return done.stdout
