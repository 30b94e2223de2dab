"""Level-1 on the command line: latencies of a menu, what bundles say about firmware, and where the record comes from."""

from __future__ import annotations

import json
import shutil

import pytest
from tests.cli.test_firmware import packed

from tamis.bundle import FIRMWARE_FILE, Bundle


def test_menu_prints_the_fixed_latency_of_every_path(call):
    code, out, err = call("menu", "level1")
    assert code == 0, err
    assert "level1: fixed latency of 12.5us" in out
    code, out, _ = call("menu", "level1", "--json")
    latency = json.loads(out)["latency_ns"]
    assert latency["l1_muon"] == 12_000
    assert 12_000 < latency["l1_anomaly"] < 12_100


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("l1-anomaly", "cycles at 240 MHz"),
        ("l1-calo-anomaly", "firmware: not meant for firmware, none is recorded"),
    ],
)
def test_models_say_whether_they_are_meant_for_firmware(call, name, says):
    code, out, err = call("models", "show", name)
    assert code == 0, err
    assert says in out
    code, out, _ = call("models", "show", name, "--json")
    assert (json.loads(out)["firmware"] is None) == ("not meant" in says)


def test_only_proven_firmware_is_recorded(call):
    code, _, err = call("firmware", "l1-anomaly", "--synthesis", "--into-bundle")
    assert code == 2
    assert "give --verify as well" in err


@pytest.mark.fpga
@pytest.mark.skipif(shutil.which("verilator") is None, reason="verilator is not installed")
def test_the_record_is_written_into_the_bundle(call, tmp_path):
    bundle = packed("integers", tmp_path)
    code, _, err = call("firmware", bundle, "--verify", "--vectors", 50, "--into-bundle")
    assert code == 0, err
    opened = Bundle.open(bundle)
    record = json.loads(opened.text(FIRMWARE_FILE))
    assert record["checksum"] == opened.manifest.files["model.onnx"].sha256
    assert record["agreement"][0]["random_vectors"] == 50


def test_simulate_prints_the_cross_section(call, tmp_path):
    pytest.importorskip("pythia8mc")
    arguments = ("qcd", "-n", 20, "--pt-hat", 100, "--pt-hat-max", 200, "--pt-hat-power", 4, "--level1")
    code, out, err = call("simulate", *arguments, "-o", tmp_path / "q.root", "--json")
    assert code == 0, err
    assert json.loads(out)["cross_section_pb"] == pytest.approx(1.36e6, rel=0.3)
