"""The shipped models for hardware and the shipped student: the same bits on every engine, in the emulation, and in Verilog."""

from __future__ import annotations

import shutil

import pytest

from tamis._base import ModelError
from tamis.bundle import Bundle, rows_of
from tamis.firmware.emulator import Emulator
from tamis.firmware.project import LANGUAGES, Request, build_firmware
from tamis.measure import verify
from tamis.measure.count import count_bundle

FOR_FIRMWARE = ("jet-tagger-8bit", "jet-tagger-6bit", "facile-8bit", "l1-anomaly", "l1-calo-student")


@pytest.mark.parametrize("name", FOR_FIRMWARE)
@pytest.mark.parametrize("engine", ["onnxruntime", "native", "reference", "firmware"])
def test_every_engine_reproduces_the_golden_outputs(name, engine):
    assert verify(Bundle.open(name), engine).passed


@pytest.mark.fpga
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("verilator") is None, reason="verilator is not installed")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.nightly if name.startswith("l1-") else ())
        for name in FOR_FIRMWARE
    ],
)
def test_verilog_computes_the_bits(name):
    request = Request(clock_mhz=240.0, verify=True, synthesise=False)
    record = build_firmware(Bundle.open(name), None, request)
    assert record.agreement[0].random_vectors == 100_000
    assert record.agreement[0].differing == 0
    assert record.initiation_interval == 1


@pytest.mark.fpga
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("verilator") is None, reason="verilator is not installed")
@pytest.mark.skipif(shutil.which("ghdl") is None, reason="ghdl is not installed")
@pytest.mark.parametrize("name", ["jet-tagger-6bit", "facile-8bit"])
def test_vhdl_computes_the_bits(name):
    request = Request(clock_mhz=240.0, verify=True, synthesise=False, language=LANGUAGES["vhdl"])
    record = build_firmware(Bundle.open(name), None, request)
    assert [one.random_vectors for one in record.agreement] == [1000, 100_000]
    assert record.agreement[0].simulator.startswith("GHDL")


@pytest.mark.parametrize(
    ("name", "luts", "cycles"), [("jet-tagger-8bit", 11_000, 10), ("jet-tagger-6bit", 6000, 10)]
)
def test_jet_taggers_fit_a_corner_of_an_fpga(name, luts, cycles):
    pytest.importorskip("alkaid")
    count = count_bundle(Bundle.open(name))
    assert count.together.lut < luts
    assert count.cycles <= cycles
    figures = Bundle.open(name).manifest.training["compression"]["figures"]
    assert figures["accuracy"]["parent"] - figures["accuracy"]["value"] < 0.02


@pytest.mark.parametrize("name", ["jet-tagger", "conv-vae", "l1-calo-anomaly"])
def test_models_of_floats_are_not_for_firmware(name):
    bundle = Bundle.open(name)
    with pytest.raises(ModelError, match="no part of the model is quantised"):
        Emulator(bundle.model, rows_of(bundle.golden.inputs, slice(0, 1)))


@pytest.mark.parametrize(("name", "most"), [("conv-vae", 0.01), ("graph-vae", 0.06)])
def test_students_need_few_of_their_parents_operations(name, most):
    student, teacher = Bundle.open(f"{name}-student"), Bundle.open(name)
    assert student.manifest.parent.model_sha256 == teacher.manifest.files["model.onnx"].sha256
    facts = student.manifest.training["distillation"]
    assert facts["operations"] <= most * facts["operations_of_parent"]
    for name, figure in facts["figures"].items():
        if name.startswith("auc"):
            assert figure["parent"] - figure["value"] < 0.01, name
    for engine in ("onnxruntime", "native", "reference"):
        assert verify(student, engine).passed
