"""The folder of a bundle's firmware: sources, a testbench that `make` runs, golden vectors, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from tamis._base import atomic_path, write_text
from tamis.firmware.design import Design
from tamis.firmware.folded import StepsInTurn
from tamis.firmware.ghdl import BENCH, bench_source
from tamis.firmware.report import report_text
from tamis.firmware.synthesis import FAMILY
from tamis.firmware.vectors import pack, words_of
from tamis.firmware.vhdl import VHDL
from tamis.records import FirmwareRecord

COUNT = (
    'yosys -Q -T -p "tee -q read_verilog -defer {sources}; '
    'tee -q synth_xilinx -family {family} -flatten -noiopad -noclkbuf -top {top}; stat"'
)
VERILOG_MAKEFILE = """# make: simulate the golden events with Verilator and compare every bit.  make lut: count cells with yosys.
# Debian: apt-get install verilator yosys make g++
SOURCES := $(wildcard rtl/*.v)

check: build/simulate
\tbuild/simulate vectors/inputs.bin build/outputs.bin vectors/outputs.bin

build/simulate: $(SOURCES) sim/testbench.cpp
\tverilator --cc --exe -O3 --x-assign fast --prefix Vdesign -Wno-fatal -Wno-lint -Wno-style --top-module {top} --Mdir build \\
\t    -CFLAGS "-O1 -DINPUT_WORDS={inputs} -DOUTPUT_WORDS={outputs} -DLATENCY={latency} -DINTERVAL={interval}" $(SOURCES) $(CURDIR)/sim/testbench.cpp -o simulate
\t$(MAKE) -C build -f Vdesign.mk OPT_FAST=-O1 simulate

lut:
\t{count}

clean:
\trm -rf build

.PHONY: check lut clean
"""
VHDL_MAKEFILE = """# make: simulate the golden events with GHDL and compare every bit.  make lut: count cells with yosys.
# Debian: apt-get install ghdl yosys make
SOURCES := $(wildcard rtl/*.vhd) sim/testbench.vhd
GHDL := cd build && ghdl

check: build/analysed
\t$(GHDL) -r --std=08 testbench --ieee-asserts=disable-at-0 -gINPUTS=../vectors/inputs.bin -gEXPECTED=../vectors/outputs.bin

build/analysed: $(SOURCES)
\tmkdir -p build
\t$(GHDL) -i --std=08 $(addprefix ../,$(SOURCES))
\t$(GHDL) -m --std=08 testbench
\ttouch $@

lut: build/analysed
\t$(GHDL) --synth --std=08 --out=verilog {top} > design.v
\t{count}

clean:
\trm -rf build

.PHONY: check lut clean
"""


def write_folder(
    out: Path,
    design: Design,
    record: FirmwareRecord,
    golden: np.ndarray,
    results: np.ndarray,
    remarks: Sequence[str] = (),
    turns: Sequence[StepsInTurn] = (),
) -> None:
    """Write the folder of a design; golden events are rows of numbers on the grids of its ports, `remarks` and `turns` are for the report."""
    is_vhdl = design.language == VHDL.name
    bench = (
        bench_source(design)
        if is_vhdl
        else resources.files("tamis.firmware").joinpath("testbench.cpp").read_text()
    )
    sources = "build/design.v" if is_vhdl else "$(SOURCES)"
    makefile = (VHDL_MAKEFILE if is_vhdl else VERILOG_MAKEFILE).format(
        top=design.name,
        inputs=words_of(design.inputs),
        outputs=words_of(design.outputs),
        latency=design.latency,
        interval=design.interval,
        count=COUNT.format(sources=sources, family=FAMILY, top=design.name),
    )
    with atomic_path(out) as part:
        for folder in ("rtl", "sim", "vectors"):
            (part / folder).mkdir(parents=True)
        for name, text in design.sources.items():
            write_text(part / "rtl" / name, text)
        write_text(part / "sim" / (f"{BENCH}.vhd" if is_vhdl else f"{BENCH}.cpp"), bench)
        write_text(part / "Makefile", makefile)
        pack(golden, design.inputs).tofile(part / "vectors" / "inputs.bin")
        pack(results, design.outputs).tofile(part / "vectors" / "outputs.bin")
        write_text(part / "report.json", record.model_dump_json(indent=1) + "\n")
        write_text(part / "README.md", report_text(record, design, remarks, turns))
