"""From a bundle to hardware that is counted, verified and written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tamis._base import UsageError, VerificationError, host_facts, utc_timestamp
from tamis.bundle import Bundle, rows_of
from tamis.bundle.store import MODEL_FILE
from tamis.firmware.budget import Budget
from tamis.firmware.design import Design, make_design
from tamis.firmware.emulator import Emulator
from tamis.firmware.folded import make_folded_design, steps_in_turn
from tamis.firmware.folder import write_folder
from tamis.firmware.ghdl import as_verilog, ghdl_version, simulate_vhdl
from tamis.firmware.language import Language
from tamis.firmware.outside import outside_hardware
from tamis.firmware.place import place_and_route
from tamis.firmware.simulate import verilator_version
from tamis.firmware.synthesis import FAMILY, synthesise, yosys_version
from tamis.firmware.tools import nextpnr, tool
from tamis.firmware.verify import Comparison, compare, compared, emulated, random_vectors
from tamis.firmware.verilog import VERILOG
from tamis.firmware.vhdl import VHDL
from tamis.fixedpoint import FixedProgram
from tamis.records import BitAgreement, FirmwareRecord, HardwareLayer, Synthesis

RANDOM_VECTORS = 100_000
NETLIST_VECTORS = 10_000
GHDL_VECTORS = (
    1_000  # GHDL simulates a few hundred a second; Verilator, all of them, on what GHDL synthesises
)
LANGUAGES = {one.name: one for one in (VERILOG, VHDL)}


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
    language: Language = VERILOG
    place: bool = False

    @property
    def reads_verilog(self) -> bool:
        """Whether a tool is asked for that reads Verilog."""
        return self.verify or self.synthesise or self.netlist or self.place


def build_firmware(
    bundle: Bundle, out: Path | None, request: Request, say: Callable[[str], None] = lambda _: None
) -> FirmwareRecord:
    """Make the hardware of a bundle, check its budget, verify it, and write its folder; nothing is written on failure."""
    if out is not None and out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise UsageError(f"{out} exists already: choose another folder, or remove it")
    if request.reuse > 1 and request.language is not VERILOG:
        raise UsageError(
            f"hardware that shares multipliers (--reuse {request.reuse}) is written in Verilog only: leave out --hdl "
            f"{request.language.name}, or --reuse"
        )
    emulator = Emulator(bundle.model, rows_of(bundle.golden.inputs, slice(0, 1)))
    program = emulator.graph.program
    remarks = [*outside_hardware(emulator.graph), *emulator.graph.doubts]
    for sentence in remarks:
        say(sentence)
    if request.reuse == 1:
        say("lowering the layers to adders")
        design = make_design(program, bundle.name, request.clock_mhz, request.language)
    else:
        say("sharing multipliers between the products of layers")
        design = make_folded_design(program, bundle.name, request.clock_mhz, request.reuse)
    record = _record(bundle, design, request)
    if request.budget is not None:
        request.budget.check_estimate(record)
    _require_tools(request)
    integers = emulator.integers(bundle.golden.inputs)
    golden = np.concatenate(
        [integers[one.tensor].reshape(bundle.golden_events, -1) for one in program.inputs], axis=1
    ).astype(np.float64)
    with tempfile.TemporaryDirectory(prefix="tamis-firmware-") as scratch:
        work = Path(scratch)
        sources = design.sources
        if request.language is VHDL and request.reads_verilog:
            say("translating the VHDL to Verilog with GHDL, for tools that read no VHDL")
            sources = as_verilog(design, work / "translation")
        if request.synthesise or request.netlist:
            say("synthesising with yosys")
            cells = synthesise(design, work / "synthesis", sources=sources, netlist=request.netlist)
            found = Synthesis(tool=yosys_version(), family=FAMILY, **vars(cells))
            record = record.model_copy(update={"synthesis": found})
            if request.budget is not None:
                request.budget.check(record)
        if request.place:
            placed = place_and_route(design, work / "ecp5", sources, say)
            record = record.model_copy(update={"place": placed})
        agreements = _verify(program, design, sources, golden, request, work, say)
        record = record.model_copy(update={"agreement": agreements})
    if out is not None:
        turns = steps_in_turn(program, request.clock_mhz) if request.reuse == 1 else []
        write_folder(out, design, record, golden, emulated(program, golden), remarks, turns)
    return record


def _verify(
    program: FixedProgram,
    design: Design,
    sources: dict[str, str],
    golden: np.ndarray,
    request: Request,
    work: Path,
    say: Callable[[str], None],
) -> tuple[BitAgreement, ...]:
    """Simulate as the request says and return the agreements; `sources` are the design as Verilog."""
    agreements = []
    if request.verify and request.language is VHDL:
        count = min(request.vectors, GHDL_VECTORS)
        vectors = np.concatenate([golden, random_vectors(design, count, request.seed)])
        say(f"simulating {len(vectors)} vectors with GHDL")
        seen = simulate_vhdl(design, vectors, work / "vhdl")
        agreements.append(
            _agreement(
                "RTL", ghdl_version(), design, compared(seen, emulated(program, vectors)), vectors, golden
            )
        )
    if request.verify:
        vectors = np.concatenate([golden, random_vectors(design, request.vectors, request.seed)])
        say(f"simulating {len(vectors)} vectors with Verilator")
        simulator = verilator_version() + " on the Verilog of GHDL" * (request.language is VHDL)
        comparison = compare(program, design, sources, vectors, work / "rtl")
        agreements.append(_agreement("RTL", simulator, design, comparison, vectors, golden))
    if request.netlist:
        vectors = np.concatenate([golden, random_vectors(design, NETLIST_VECTORS, request.seed)])
        say(f"simulating {len(vectors)} vectors on the netlist")
        netlist = {"netlist.v": (work / "synthesis" / "netlist.v").read_text()}
        comparison = compare(program, design, netlist, vectors, work / "netlist")
        agreements.append(_agreement("netlist", verilator_version(), design, comparison, vectors, golden))
    return tuple(agreements)


def _require_tools(request: Request) -> None:
    """Check that the tools are there before the first of them works for minutes."""
    if request.language is VHDL and request.reads_verilog:
        tool("ghdl", "ghdl", "read VHDL")
    if request.synthesise or request.netlist or request.place:
        tool("yosys", "yosys", "synthesise firmware")
    if request.place:
        nextpnr()
    if request.verify or request.netlist:
        tool("verilator", "verilator", "simulate firmware")


def _record(bundle: Bundle, design: Design, request: Request) -> FirmwareRecord:
    """Return the record of a design that no tool has read yet."""
    return FirmwareRecord(
        bundle=bundle.name,
        checksum=bundle.manifest.files[MODEL_FILE].sha256,
        created=utc_timestamp(),
        host=host_facts(),
        language=design.language,
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


def _agreement(
    what: Literal["RTL", "netlist"],
    simulator: str,
    design: Design,
    found: Comparison,
    vectors: np.ndarray,
    golden: np.ndarray,
) -> BitAgreement:
    """Return the record of a comparison with the emulation; a difference of one bit raises VerificationError."""
    if found.differing:
        raise VerificationError(
            f"the {what} of {design.name} differs from the emulation in {found.differing} of {len(vectors)} vectors in "
            f"{simulator}; the first: {found.first}; please report this with the bundle"
        )
    return BitAgreement(
        what=what,
        simulator=simulator,
        golden_events=len(golden),
        random_vectors=len(vectors) - len(golden),
        differing=0,
    )
