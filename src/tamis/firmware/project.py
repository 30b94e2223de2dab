"""The folder of a bundle's firmware: Verilog, a testbench that `make` runs, golden vectors, and the report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np

from tamis._base import UsageError, VerificationError, atomic_path, host_facts, utc_timestamp, write_text
from tamis.bundle import Bundle, rows_of
from tamis.bundle.store import MODEL_FILE
from tamis.firmware.budget import Budget
from tamis.firmware.design import Design, make_design
from tamis.firmware.emulator import Emulator
from tamis.firmware.folded import StepsInTurn, make_folded_design, steps_in_turn
from tamis.firmware.report import report_text
from tamis.firmware.simulate import verilator_version
from tamis.firmware.synthesis import FAMILY, synthesise, yosys_version
from tamis.firmware.vectors import pack, words_of
from tamis.firmware.verify import compare, emulated, random_vectors
from tamis.fixedpoint import FixedProgram
from tamis.records import BitAgreement, FirmwareRecord, HardwareLayer, Synthesis

RANDOM_VECTORS = 100_000
NETLIST_VECTORS = 10_000

MAKEFILE = """# make: simulate the golden events with Verilator and compare every bit.  make lut: count cells with yosys.
# Debian: apt-get install verilator yosys make g++
SOURCES := $(wildcard rtl/*.v)

check: build/simulate
\tbuild/simulate vectors/inputs.bin build/outputs.bin vectors/outputs.bin

build/simulate: $(SOURCES) sim/testbench.cpp
\tverilator --cc --exe -O3 --x-assign fast --prefix Vdesign -Wno-fatal -Wno-lint -Wno-style --top-module {top} --Mdir build \\
\t    -CFLAGS "-O1 -DINPUT_WORDS={inputs} -DOUTPUT_WORDS={outputs} -DLATENCY={latency} -DINTERVAL={interval}" $(SOURCES) $(CURDIR)/sim/testbench.cpp -o simulate
\t$(MAKE) -C build -f Vdesign.mk OPT_FAST=-O1 simulate

lut:
\tyosys -q -p "read_verilog -defer $(SOURCES); synth_xilinx -family {family} -flatten -noiopad -noclkbuf -top {top}; stat"

clean:
\trm -rf build

.PHONY: check lut clean
"""


@dataclass(frozen=True)
class Request:
    """What to make of a bundle, and what to prove."""

    clock_mhz: float
    reuse: int = 1
    verify: bool = False
    synthesise: bool = True
    netlist: bool = False
    vectors: int = RANDOM_VECTORS
    seed: int = 0
    budget: Budget | None = None


def build_firmware(
    bundle: Bundle, out: Path | None, request: Request, say: Callable[[str], None] = lambda _: None
) -> FirmwareRecord:
    """Make the hardware of a bundle, check its budget, verify it, and write its folder; nothing is written on failure."""
    if out is not None and out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise UsageError(f"{out} exists already: choose another folder, or remove it")
    emulator = Emulator(bundle.model, rows_of(bundle.golden.inputs, slice(0, 1)))
    program = emulator.graph.program
    say(
        "lowering the layers to adders"
        if request.reuse == 1
        else "sharing multipliers between the products of layers"
    )
    if request.reuse == 1:
        design = make_design(program, bundle.name, request.clock_mhz)
    else:
        design = make_folded_design(program, bundle.name, request.clock_mhz, request.reuse)
    record = FirmwareRecord(
        bundle=bundle.name,
        checksum=bundle.manifest.files[MODEL_FILE].sha256,
        created=utc_timestamp(),
        host=host_facts(),
        language="verilog",
        clock_mhz=request.clock_mhz,
        latency_cycles=design.latency,
        initiation_interval=design.interval,
        reuse=request.reuse,
        multipliers=sum(layer.multipliers for layer in design.layers),
        lut_estimate=sum(layer.lut_estimate for layer in design.layers),
        layers=tuple(
            HardwareLayer(
                name=layer.name,
                cycles=layer.stages,
                lut_estimate=layer.lut_estimate,
                register_bits=layer.register_bits,
                multipliers=layer.multipliers,
                inputs=layer.reads,
                outputs=layer.writes,
            )
            for layer in design.layers
        ),
        seed=request.seed,
    )
    if request.budget is not None:
        request.budget.check_estimate(record)
    integers = emulator.integers(bundle.golden.inputs)
    golden = np.concatenate(
        [integers[one.tensor].reshape(bundle.golden_events, -1) for one in program.inputs], axis=1
    ).astype(np.float64)
    with tempfile.TemporaryDirectory(prefix="tamis-firmware-") as scratch:
        work = Path(scratch)
        if request.synthesise or request.netlist:
            say("synthesising with yosys")
            cells = synthesise(design, work / "synthesis", netlist=request.netlist)
            found = Synthesis(tool=yosys_version(), family=FAMILY, **vars(cells))
            record = record.model_copy(update={"synthesis": found})
            if request.budget is not None:
                request.budget.check(record)
        agreements = []
        if request.verify:
            vectors = np.concatenate([golden, random_vectors(design, request.vectors, request.seed)])
            say(f"simulating {len(vectors)} vectors with Verilator")
            agreements.append(
                _agreement("RTL", program, design, design.sources, vectors, len(golden), work / "rtl")
            )
        if request.netlist:
            vectors = np.concatenate([golden, random_vectors(design, NETLIST_VECTORS, request.seed)])
            say(f"simulating {len(vectors)} vectors on the netlist")
            netlist = {"netlist.v": (work / "synthesis" / "netlist.v").read_text()}
            agreements.append(
                _agreement("netlist", program, design, netlist, vectors, len(golden), work / "netlist")
            )
        record = record.model_copy(update={"agreement": tuple(agreements)})
    if out is not None:
        turns = steps_in_turn(program, request.clock_mhz) if request.reuse == 1 else []
        _write(out, design, record, golden, emulated(program, golden), turns)
    return record


def _agreement(
    what: Literal["RTL", "netlist"],
    program: FixedProgram,
    design: Design,
    sources: dict[str, str],
    vectors: np.ndarray,
    golden: int,
    folder: Path,
) -> BitAgreement:
    """Compare Verilog with the emulation; a difference of one bit raises VerificationError."""
    found = compare(program, design, sources, vectors, folder)
    if found.differing:
        raise VerificationError(
            f"the {what} of {design.name} differs from the emulation in {found.differing} of {len(vectors)} vectors; "
            f"the first: {found.first}; please report this with the bundle"
        )
    return BitAgreement(
        what=what,
        simulator=verilator_version(),
        golden_events=golden,
        random_vectors=len(vectors) - golden,
        differing=0,
    )


def _write(
    out: Path,
    design: Design,
    record: FirmwareRecord,
    golden: np.ndarray,
    results: np.ndarray,
    turns: Sequence[StepsInTurn],
) -> None:
    with atomic_path(out) as part:
        for folder in ("rtl", "sim", "vectors"):
            (part / folder).mkdir(parents=True)
        for name, text in design.sources.items():
            write_text(part / "rtl" / name, text)
        bench = resources.files("tamis.firmware").joinpath("testbench.cpp").read_text()
        write_text(part / "sim" / "testbench.cpp", bench)
        makefile = MAKEFILE.format(
            top=design.name,
            inputs=words_of(design.inputs),
            outputs=words_of(design.outputs),
            latency=design.latency,
            interval=design.interval,
            family=FAMILY,
        )
        write_text(part / "Makefile", makefile)
        pack(golden, design.inputs).tofile(part / "vectors" / "inputs.bin")
        pack(results, design.outputs).tofile(part / "vectors" / "outputs.bin")
        write_text(part / "report.json", record.model_dump_json(indent=1) + "\n")
        write_text(part / "README.md", report_text(record, design, turns))
