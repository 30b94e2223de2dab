"""VHDL: GHDL computes every bit of the emulation, in simulation and in what it synthesises, after the latency of the Verilog."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from tests.fixedpoint.conftest import NAMES, draw, make

from tamis._base import VerificationError
from tamis.firmware.design import make_design
from tamis.firmware.emulator import Emulator
from tamis.firmware.ghdl import as_verilog, simulate_vhdl
from tamis.firmware.verify import compare, compared, emulated, random_vectors
from tamis.firmware.vhdl import VHDL, corrected_relus, readable

pytestmark = [
    pytest.mark.fpga,
    pytest.mark.skipif(shutil.which("ghdl") is None, reason="ghdl is not installed"),
]
needs_verilator = pytest.mark.skipif(shutil.which("verilator") is None, reason="verilator is not installed")


def program_of(model):
    return Emulator(model, draw(model, 1)).graph.program


def simulated(design, program, folder, count=200, seed=2):
    vectors = random_vectors(design, count, seed)
    return compared(simulate_vhdl(design, vectors, folder), emulated(program, vectors))


@pytest.mark.parametrize("name", ["dense", "table", "wrapped"])
def test_simulated_vhdl_computes_the_bits(name, tmp_path):
    program = program_of(make(name))
    design = make_design(program, name, 200, VHDL)
    found = simulated(design, program, tmp_path)
    assert found.differing == 0, found.first
    assert design.latency == make_design(program, name, 200).latency


@pytest.mark.slow
@pytest.mark.parametrize("clock", [10, 1000])
@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_operator_in_vhdl(name, clock, tmp_path):
    program = program_of(make(name))
    design = make_design(program, name, clock, VHDL)
    found = simulated(design, program, tmp_path)
    assert found.differing == 0, found.first


@pytest.mark.slow
@needs_verilator
@pytest.mark.parametrize("name", ["dense", "residual", "functions"])
def test_synthesised_vhdl_computes_the_bits(name, tmp_path):
    program = program_of(make(name))
    design = make_design(program, name, 200, VHDL)
    verilog = as_verilog(design, tmp_path / "translation")
    found = compare(program, design, verilog, random_vectors(design, 5000, seed=3), tmp_path / "simulation")
    assert found.differing == 0, found.first


def test_one_entity_for_each_layer_with_its_name_and_widths():
    design = make_design(program_of(make("dense")), "dense", 400, VHDL)
    top = design.sources["dense.vhd"]
    for layer in design.layers:
        text = design.sources[f"{layer.name}.vhd"]
        assert f"-- in:  {layer.reads}" in text
        assert f"-- out: {layer.writes}" in text
        assert f"entity {layer.name} is port(" in text
        assert f"{layer.name}_layer: entity work.{layer.name} port map(" in top
        stages = {file for file in design.sources if file.startswith(f"{layer.name}_stage")}
        assert len(stages) == layer.stages
        assert all(
            "<= sum(" in design.sources[stage] or "<= difference(" in design.sources[stage]
            for stage in stages
        )
    assert f"results leave {design.latency} clock cycles after their event entered" in top


def broken(design, old, new):
    file = next(file for file, text in sorted(design.sources.items()) if re.search(old, text))
    text = re.sub(old, new, design.sources[file], count=1)
    return design.__class__(**{**vars(design), "sources": design.sources | {file: text}})


def test_a_wrong_adder_is_found(tmp_path):
    program = program_of(make("dense"))
    design = broken(make_design(program, "dense", 100, VHDL), r"<= sum\(", "<= difference(")
    found = simulated(design, program, tmp_path)
    assert found.differing > 0
    assert "instead of" in found.first


def test_a_late_result_is_found(tmp_path):
    program = program_of(make("dense"))
    design = make_design(program, "dense", 100, VHDL)
    late = broken(design, rf"valid\({design.latency - 1}\);", "valid(0);")
    with pytest.raises(VerificationError, match="a result left the design in cycle 1: it is early"):
        simulated(late, program, tmp_path)


def test_a_relu_of_one_bit_takes_the_bit_that_is_kept():
    from alkaid.codegen.rtl.vhdl.comb import comb_logic_gen
    from alkaid.trace import FVArray, HWConfig, trace

    hardware = HWConfig(1, 1, -1)
    port = FVArray.from_lhs(
        np.array([-2.0]), np.array([1.75]), np.array([0.25]), hardware, 0.0, {"hard_dc": 2}
    )
    kept = np.asarray(port)[0].relu(i=1, f=0)  # of the bits for 2, 1, 1/2, 1/4
    comb = trace(port, FVArray(np.array([kept], object), hwconf=hardware))
    assert "(0) <= v0(2) and (not v0(3));" in corrected_relus(comb_logic_gen(comb, "logic"), comb)


def test_reductions_are_operators():
    text = readable(
        "library ieee;\nuse ieee.std_logic_misc.or_reduce;\n\n\n\nsignal v1:bit;\n    v1(0) <= or_reduce(v0);\n"
    )
    assert text == "library ieee;\n\nsignal v1: bit;\n    v1(0) <= or v0;\n"
