"""Level-1 menus: fixed latency of proven firmware, and decisions of the emulated hardware."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import tamis
from tamis._base import DocumentError, ModelError, VerificationError
from tamis.bundle import FIRMWARE_FILE, Bundle, add_texts
from tamis.events import Events, read_events
from tamis.features import find_inputs, input_rows
from tamis.records import FirmwareRecord
from tamis.simulate import SimulationSettings, simulate
from tamis.trigger import compile_menu, load_menu, read_decisions, run_menu
from tamis.zoo import shipped

MENU = """
menu: l1
budget: {budget}
hardware: {{clock: {clock}, crossings: {crossings}, other: 9us}}
stages:
  anomaly: {{bundle: {bundle}{engine}}}
paths:
  jet: {{steps: [max(L1Jet_pt) > 100]}}
  anomaly: {{steps: [max(anomaly_score) > {threshold}]}}
streams:
  all: {{paths: [jet, anomaly]}}
"""


def menu(folder, **changes):
    options = {
        "budget": "12.5us", "clock": "240MHz", "crossings": "40MHz", "bundle": "l1-anomaly", "engine": "", "threshold": 10,
    } | changes  # fmt: skip
    (folder / "l1.yaml").write_text(MENU.format(**options))
    return load_menu(folder / "l1.yaml")


def record(bundle: Bundle) -> FirmwareRecord:
    return FirmwareRecord.model_validate_json(bundle.text(FIRMWARE_FILE))


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    pytest.importorskip("pythia8mc")
    from tamis.events import write_events

    file = tmp_path_factory.mktemp("level1") / "qcd.root"
    settings = SimulationSettings(level1=True, mu=5.0, pt_hat_gev=60.0)
    write_events(file, Events.concatenate(simulate("qcd", 150, seed=3, settings=settings)))
    return file


def test_the_latency_of_a_path_is_that_of_its_firmware(tmp_path):
    cycles = record(Bundle.open("l1-anomaly")).latency_cycles
    with compile_menu(menu(tmp_path)) as compiled:
        jet, anomaly = compiled.latencies["jet"], compiled.latencies["anomaly"]
        assert (jet.models_ns, jet.whole_ns) == (0.0, 9000.0)
        assert anomaly.whole_ns == pytest.approx(9000.0 + 1000.0 * cycles / 240.0)
        assert compiled.program.budget_ns is None  # the emulation may take as long as it does
        assert compiled.stages["anomaly"].facts["engine"].startswith("firmware")


def test_a_path_beyond_the_budget_is_rejected_before_the_first_event(tmp_path):
    with pytest.raises(
        DocumentError, match=r"paths.anomaly.*of models and 9000 ns of everything else, the budget is 9.02us"
    ):
        compile_menu(menu(tmp_path, budget="9020ns"))


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"engine": ", engine: native"}, DocumentError, "run on the engine firmware, not native"),
        ({"bundle": "jet-tagger"}, ModelError, "no part of the model is quantised"),
        ({"clock": "200MHz"}, DocumentError, "is for a clock of 240 MHz, that of the menu is 200 MHz"),
        ({"clock": "20MHz"}, DocumentError, "the clock of 20 MHz is below the 40 MHz of the crossings"),
        ({"clock": "fast"}, DocumentError, "a frequency is a number above zero with its unit"),
    ],
)
def test_a_menu_that_hardware_cannot_run_is_rejected(tmp_path, changes, kind, message):
    with pytest.raises(kind, match=message):
        compile_menu(menu(tmp_path, **changes))


def test_python_stages_are_rejected(tmp_path):
    source = menu(tmp_path)
    text = (tmp_path / "l1.yaml").read_text().replace("stages:", "stages:\n  mine: {python: mine.py:spread}")
    (tmp_path / "l1.yaml").write_text(text)
    (tmp_path / "mine.py").write_text(
        "from tamis.trigger import stage\n@stage(reads=['MET_pt'], adds=['spread'])\ndef spread(events): return {'spread': events['MET_pt']}\n"
    )
    del source
    with pytest.raises(DocumentError, match="a Level-1 menu cannot run Python"):
        compile_menu(load_menu(tmp_path / "l1.yaml"))


def test_a_model_without_proven_firmware_is_rejected(tmp_path):
    copy = tmp_path / "mine.tamis"
    shutil.copytree(shipped.l1_anomaly(), copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["files"][FIRMWARE_FILE]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    (copy / FIRMWARE_FILE).unlink()
    with pytest.raises(DocumentError, match=r"no proven firmware .*--verify --clock 240MHz --into-bundle"):
        compile_menu(menu(tmp_path, bundle="mine.tamis"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checksum": "0" * 64}, "is of another model"),
        ({"agreement": ()}, "was not compared with its emulation"),
        (
            {"initiation_interval": 8},
            r"every 8 cycles of 240 MHz, which is slower than the 40 MHz of the crossings",
        ),
    ],
)
def test_a_record_that_proves_nothing_is_rejected(tmp_path, change, message):
    shutil.copytree(shipped.l1_anomaly(), tmp_path / "mine.tamis")
    bundle = Bundle.open(tmp_path / "mine.tamis")
    add_texts(bundle, {FIRMWARE_FILE: record(bundle).model_copy(update=change).model_dump_json()})
    with pytest.raises((DocumentError, VerificationError), match=message):
        compile_menu(menu(tmp_path, bundle="mine.tamis"))


def test_a_run_decides_with_the_bits_of_the_hardware(tmp_path, events):
    rows = np.concatenate(
        [
            input_rows(find_inputs({"objects": "l1_objects"}), chunk.events).inputs["objects"]
            for chunk in read_events(str(events))
        ]
    )
    with tamis.open("l1-anomaly", engine="firmware") as session:
        score = session.run(objects=rows)["score"]
    threshold = float(np.median(score))
    summary = run_menu(menu(tmp_path, threshold=threshold), [str(events)], tmp_path / "out")
    assert summary.counts.debug == 0
    decisions = read_decisions(tmp_path / "out")
    order = np.argsort(decisions["event"])
    np.testing.assert_array_equal(decisions["HLT_anomaly"][order], score > threshold)
    assert summary.counts.paths["anomaly"] == int((score > threshold).sum())


@pytest.mark.parametrize("name", ["level1", "hlt-after-level1"])
def test_the_shipped_menus_run_one_after_another(tmp_path, events, name):
    with compile_menu(load_menu(name)) as compiled:
        assert any(path.endswith("jet") for path in compiled.menu.paths)
    summary = run_menu(load_menu(name), [str(events)], tmp_path / "out")
    assert summary.counts.entered == 150
    assert summary.counts.debug == 0
