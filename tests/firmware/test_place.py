"""Place and route on an ECP5: a clock, the slowest layer, cells without those of the harness, and designs that do not fit."""

from __future__ import annotations

import shutil

import pytest
from tests.fixedpoint.conftest import draw, make

from tamis._base import MissingExtraError
from tamis.firmware.design import make_design
from tamis.firmware.emulator import Emulator
from tamis.firmware.folded import make_folded_design
from tamis.firmware.place import harness_of, place_and_route
from tamis.firmware.report import place_text
from tamis.firmware.tools import nextpnr


def has_nextpnr():
    try:
        return bool(nextpnr())
    except MissingExtraError:
        return False


pytestmark = [
    pytest.mark.fpga,
    pytest.mark.skipif(shutil.which("yosys") is None, reason="yosys is not installed"),
    pytest.mark.skipif(not has_nextpnr(), reason="nextpnr-ecp5 is not installed"),
]


def program_of(name):
    model = make(name)
    return Emulator(model, draw(model, 1)).graph.program


def test_a_small_design_gets_a_clock(tmp_path):
    design = make_design(program_of("integers"), "integers", 200)
    phases = []
    placed = place_and_route(design, tmp_path, design.sources, phases.append)
    assert placed.problem == ""
    assert 20 < placed.max_mhz < 1000
    assert placed.slowest == "w1"
    registers = sum(layer.register_bits for layer in design.layers) + design.latency
    assert placed.flip_flops == pytest.approx(registers, rel=0.1)  # those of the harness are twice as many
    assert 20 < placed.lut4 < 1000
    assert phases[0] == "synthesising with yosys for the ECP5"
    assert phases[-1] == "routing on the ECP5"
    assert f"at most {placed.max_mhz:.1f} MHz after place and route" in place_text(placed)


@pytest.mark.slow
def test_a_design_that_shares_multipliers(tmp_path):
    design = make_folded_design(program_of("dense"), "dense", 200, 4)
    assert ".in_ready(" in harness_of(design)
    placed = place_and_route(design, tmp_path, design.sources)
    assert placed.problem == ""
    assert placed.max_mhz > 20
    assert placed.multipliers > 0


def test_a_design_that_is_too_large_is_not_routed(tmp_path, monkeypatch):
    monkeypatch.setattr("tamis.firmware.place.LUT4S", 20)  # of a small device
    design = make_design(program_of("integers"), "integers", 200)
    phases = []
    placed = place_and_route(design, tmp_path, design.sources, phases.append)
    assert placed.max_mhz is None
    assert placed.lut4 > 20
    assert f"does not fit the largest ECP5: it takes {placed.lut4} LUT4, of which it has 20" in placed.problem
    assert "not routed: the design does not fit" in place_text(placed)
    assert len(phases) == 1


def test_what_nextpnr_cannot_route_is_told(tmp_path, monkeypatch):
    design = make_design(program_of("integers"), "integers", 200)
    script = tmp_path / "nextpnr-ecp5"
    script.write_text(
        "#!/bin/sh\necho 'ERROR: Unable to find a placement location for cell v1' >&2\nexit 1\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr("tamis.firmware.place.nextpnr", lambda: str(script))
    monkeypatch.setattr("tamis.firmware.place.nextpnr_version", lambda *_: "nextpnr 0")
    placed = place_and_route(design, tmp_path / "ecp5", design.sources)
    assert placed.max_mhz is None
    assert "Unable to find a placement location for cell v1" in placed.problem
