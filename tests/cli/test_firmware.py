"""`tamis firmware` on the command line: the folder, the numbers, and one sentence for every error."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import onnx
import pytest
from tests.fixedpoint.conftest import draw, make

from tamis._base import MissingExtraError
from tamis.bundle import pack
from tamis.firmware.tools import nextpnr

pytestmark = [
    pytest.mark.fpga,
    pytest.mark.skipif(shutil.which("verilator") is None, reason="verilator is not installed"),
    pytest.mark.skipif(shutil.which("yosys") is None, reason="yosys is not installed"),
]


@pytest.fixture
def small(tmp_path):
    """A bundle of the graph `integers`: two sums of five numbers of 16 bits."""
    return packed("integers", tmp_path)


def packed(name, tmp_path):
    model = make(name)
    onnx.save(model, tmp_path / f"{name}.onnx")
    np.savez(tmp_path / "x.npz", **draw(model, 32))
    pack(tmp_path / f"{name}.onnx", tmp_path / f"{name}.tamis", inputs=tmp_path / "x.npz")
    return tmp_path / f"{name}.tamis"


@pytest.mark.slow
def test_one_command_writes_verified_verilog(call, small, tmp_path):
    code, out, err = call("firmware", small, "-o", tmp_path / "fw", "--verify", "--netlist", "--vectors", 300)
    assert code == 0, err
    assert "RTL in Verilator" in out
    assert "netlist in Verilator" in out
    assert out.count("random vectors agrees") == 2
    record = json.loads((tmp_path / "fw" / "report.json").read_text())
    assert record["kind"] == "firmware"
    assert record["synthesis"]["lut"] > 50
    assert [one["random_vectors"] for one in record["agreement"]] == [300, 10_000]
    assert "an event may enter at every cycle" in (tmp_path / "fw" / "README.md").read_text()
    assert "// layer w1" in (tmp_path / "fw" / "rtl" / "w1.v").read_text()
    done = subprocess.run(["make", "-C", tmp_path / "fw"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "PASSED: every bit of 32 events agrees" in done.stdout
    done = subprocess.run(["make", "-C", tmp_path / "fw", "lut"], capture_output=True, text=True, check=False)
    assert "LUT2" in done.stdout, done.stderr
    code, _, err = call("firmware", small, "-o", tmp_path / "fw")
    assert code == 2
    assert "exists already: choose another folder" in err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ghdl") is None, reason="ghdl is not installed")
def test_one_command_writes_verified_vhdl(call, small, tmp_path):
    code, out, err = call(
        *(
            "firmware",
            small,
            "-o",
            tmp_path / "fw",
            "--hdl",
            "vhdl",
            "--verify",
            "--netlist",
            "--vectors",
            2000,
        )
    )
    assert code == 0, err
    assert "RTL in GHDL" in out
    assert "on the Verilog of GHDL: every bit of 32 golden events and 2000 random vectors agrees" in out
    record = json.loads((tmp_path / "fw" / "report.json").read_text())
    assert record["language"] == "vhdl"
    assert [one["random_vectors"] for one in record["agreement"]] == [1000, 2000, 10_000]
    assert {path.suffix for path in (tmp_path / "fw" / "rtl").iterdir()} == {".vhd"}
    assert "-- layer w1" in (tmp_path / "fw" / "rtl" / "w1.vhd").read_text()
    assert "One entity per layer" in (tmp_path / "fw" / "README.md").read_text()
    done = subprocess.run(["make", "-C", tmp_path / "fw"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "PASSED: every bit of 32 events agrees" in done.stdout
    expected = bytearray((tmp_path / "fw" / "vectors" / "outputs.bin").read_bytes())
    expected[0] ^= 1
    (tmp_path / "fw" / "vectors" / "outputs.bin").write_bytes(expected)
    done = subprocess.run(["make", "-C", tmp_path / "fw"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "FAILED: 1 events differ" in done.stdout + done.stderr
    done = subprocess.run(["make", "-C", tmp_path / "fw", "lut"], capture_output=True, text=True, check=False)
    assert "LUT2" in done.stdout, done.stderr


def test_shared_multipliers_in_vhdl(call, small, tmp_path):
    code, _, err = call("firmware", small, "-o", tmp_path / "fw", "--hdl", "vhdl", "--reuse", 4)
    assert code == 2
    assert "hardware that shares multipliers (--reuse 4) is written in Verilog only" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "fw").exists()


def test_json(call, small):
    code, out, err = call("firmware", small, "--synthesis", "--json")
    assert code == 0, err
    assert (
        json.loads(out)["latency_cycles"]
        == len(json.loads(out)["layers"][0:1]) * json.loads(out)["layers"][0]["cycles"]
    )


@pytest.mark.parametrize(
    ("budget", "code", "message"),
    [
        ("latency<1ns", 6, "has a latency of .* ns at 240 MHz, the budget is 1 ns"),
        ("lut<10", 6, "needs about .* LUT by estimate, the budget is 10; the layer w1 takes"),
        ("ff<1", 6, "takes .* FF after synthesis, the budget is 1"),
        ("luts<10", 2, "a budget has no 'luts'; did you mean 'lut'"),
        ("lut=10", 2, "cannot read the budget 'lut=10'; write it like latency<100ns"),
        ("latency<10", 2, "needs a unit: ns, us or cycles"),
        ("lut<10ns", 2, "needs no unit"),
    ],
)
def test_budgets(call, small, tmp_path, budget, code, message):
    found, _, err = call("firmware", small, "-o", tmp_path / "fw", "--budget", budget)
    assert found == code
    assert len(err.splitlines()[-1]) < 300
    import re

    assert re.search(message, err), err
    assert not (tmp_path / "fw").exists()


def test_a_budget_that_is_met(call, small):
    assert (
        call("firmware", small, "--synthesis", "--budget", "latency<1us, lut<9999, latency<20cycles")[0] == 0
    )


@pytest.mark.slow
def test_a_reuse_factor(call, tmp_path):
    bundle = packed("dense", tmp_path)
    code, out, err = call(
        "firmware", bundle, "-o", tmp_path / "fw", "--reuse", 4, "--verify", "--vectors", 300
    )
    assert code == 0, err
    assert "an event may enter every 4 cycles (reuse 4)" in out
    assert "multipliers" in out
    record = json.loads((tmp_path / "fw" / "report.json").read_text())
    assert (record["reuse"], record["initiation_interval"]) == (4, 4)
    assert record["multipliers"] == sum(layer["multipliers"] for layer in record["layers"]) > 0
    assert record["synthesis"]["dsp"] > 0
    readme = (tmp_path / "fw" / "README.md").read_text()
    assert "an event may enter every 4 cycles" in readme
    assert "`in_ready`" in readme
    done = subprocess.run(["make", "-C", tmp_path / "fw"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "PASSED: every bit of 32 events agrees" in done.stdout
    assert "an event every 4 cycles" in done.stdout


def test_more_reuse_than_products(call, small):
    code, out, err = call("firmware", small, "--synthesis", "--reuse", 5000)
    assert code == 0, err
    assert "an event may enter every 10 cycles (reuse 5000, of which no layer can use more)" in out


@pytest.mark.parametrize("reuse", [0, -1, "two"])
def test_reuse_that_is_none(call, small, reuse):
    code, _, err = call("firmware", small, "--verify", "--reuse", reuse)
    assert code == 2
    assert "'--reuse'" in err


def test_the_budget_of_a_design_that_is_too_slow(call, small, tmp_path):
    code, _, err = call("firmware", small, "-o", tmp_path / "fw", "--reuse", 8, "--budget", "latency<5cycles")
    assert code == 6
    assert "use fewer layers, less reuse, or another clock" in err
    assert not (tmp_path / "fw").exists()


@pytest.mark.parametrize("clock", ["240", "fast", "0MHz", "9GHz", "-1MHz"])
def test_clocks_that_are_none(call, small, clock):
    code, _, err = call("firmware", small, "--verify", "--clock", clock)
    assert code == 2
    assert "is not a clock between 1 MHz and 2 GHz; write it like 240MHz" in err


def test_nothing_to_do(call, small):
    code, _, err = call("firmware", small)
    assert code == 2
    assert "name a folder with -o, or verify with --verify" in err


def test_a_float_bundle(call, bundle_of, tmp_path):
    code, _, err = call("firmware", bundle_of("dense").path, "-o", tmp_path / "fw")
    assert code == 6
    assert "no part of the model is quantised" in err
    assert not (tmp_path / "fw").exists()


@pytest.mark.parametrize("missing", ["verilator", "yosys", "ghdl"])
def test_missing_tools_are_named_with_their_package(call, small, tmp_path, monkeypatch, missing):
    monkeypatch.setattr("shutil.which", lambda name: None if name == missing else f"/usr/bin/{name}")
    code, _, err = call("firmware", small, "-o", tmp_path / "fw", "--verify", "--hdl", "vhdl")
    assert code == 3
    assert f"{missing}, which is needed to" in err
    assert f"is not installed: apt-get install {missing}" in err
    assert not (tmp_path / "fw").exists()


def test_place_and_route_without_nextpnr(call, small, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None if "nextpnr" in name else f"/usr/bin/{name}")
    code, _, err = call("firmware", small, "-o", tmp_path / "fw", "--place")
    assert code == 3
    assert (
        "nextpnr-ecp5, which is needed to place and route firmware, is not installed: pip install 'tamis[place]'"
        in err
    )
    assert not (tmp_path / "fw").exists()


@pytest.mark.slow
def test_place_and_route(call, small, tmp_path):
    try:
        nextpnr()
    except MissingExtraError:
        pytest.skip("nextpnr-ecp5 is not installed")
    code, out, err = call("firmware", small, "-o", tmp_path / "fw", "--place", "--hdl", "vhdl")
    assert code == 0, err
    assert "MHz after place and route (the slowest path ends in w1)" in " ".join(out.split())
    assert "routing on the ECP5" in err
    assert json.loads((tmp_path / "fw" / "report.json").read_text())["place"]["max_mhz"] > 20
    readme = " ".join((tmp_path / "fw" / "README.md").read_text().split())
    assert "The ECP5 (LFE5U-85F, speed grade 8) is a proxy" in readme
    assert "it says nothing of the clock that the part reaches" in readme


def test_the_emulation_is_an_engine(call, tmp_path):
    bundle = packed("dense", tmp_path)
    code, out, err = call("verify", bundle, "--engine", "firmware,onnxruntime")
    assert code == 0, err
    assert "firmware" in out
