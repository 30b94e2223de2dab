"""Level-1 detectors: training, the rounded score, and what the shipped bundles say about firmware."""

from __future__ import annotations

import json

import awkward as ak
import numpy as np
import pytest

import tamis
from tamis.bundle import FIRMWARE_FILE, Bundle
from tamis.events import Events, write_events
from tamis.measure import evaluate_bundle
from tamis.records import FirmwareRecord
from tamis.report import write_card
from tamis.zoo import TrainingOptions, train
from tamis.zoo.networks.l1_anomaly import ENCODER_LATENT, Z_MAX, Z_STEPS


def random_events(n: int, seed: int, scale: float = 20.0) -> Events:
    rng = np.random.default_rng(seed)
    columns = {name: np.arange(n) for name in ("run", "luminosityBlock", "event")}
    for prefix, most in (("L1EG", 4), ("L1Mu", 2), ("L1Jet", 8)):
        counts = rng.integers(0, most, n)
        total = int(counts.sum())
        values = {
            "pt": 10 + rng.exponential(scale, total),
            "eta": rng.uniform(-2.4, 2.4, total),
            "phi": rng.uniform(-np.pi, np.pi, total),
        }
        for name, flat in values.items():
            columns[f"{prefix}_{name}"] = ak.unflatten(flat.astype("f4"), counts)
        columns[f"{prefix}_bx"] = ak.unflatten(np.zeros(total, "i2"), counts)
    columns |= {
        "L1EtSum_pt": rng.exponential(scale, (n, 1)).astype("f4"),
        "L1EtSum_phi": rng.uniform(-np.pi, np.pi, (n, 1)).astype("f4"),
        "L1EtSum_etSumType": np.full((n, 1), 2, "i4"),
        "L1EtSum_bx": np.zeros((n, 1), "i2"),
    }
    image = rng.poisson(rng.exponential(scale / 4, (n, 252)))
    columns["L1Region_et"] = image.astype("i2")
    columns["L1Region_ieta"] = np.tile(np.repeat(np.arange(14), 18), (n, 1)).astype("i2")
    columns["L1Region_iphi"] = np.tile(np.arange(18), (n, 14)).astype("i2")
    return Events.of(
        {k: ak.Array(v) if isinstance(v, np.ndarray) and v.ndim == 2 else v for k, v in columns.items()}
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("events")
    write_events(folder / "background.root", random_events(6000, 1))
    write_events(folder / "test.root", random_events(1500, 2))
    write_events(folder / "signal.root", random_events(300, 3, scale=60.0))
    return folder


@pytest.fixture(scope="module", params=["l1-anomaly", "l1-calo-anomaly"])
def trained(request, files):
    options = TrainingOptions(epochs=2, threads=1)
    target = files / f"{request.param}.tamis"
    return train(request.param, [str(files / "background.root")], target, options).bundle


def test_rows_are_split_and_a_threshold_is_set_on_held_out_events(trained):
    training = trained.manifest.training
    rows = [training[f"{part}_rows"] for part in ("training", "validation", "calibration")]
    assert rows == [4200, 600, 1200]
    (point,) = trained.manifest.working_points
    assert point.name == "background-0.01"
    assert point.background.endswith("calibration events")


def test_a_detector_is_compared_with_the_variables_of_level1(trained, files):
    found = evaluate_bundle(trained, [str(files / "test.root")], {"hard": [str(files / "signal.root")]})
    auc = {one.variable: one.auc.value for one in found.figures}
    objects = trained.manifest.signature.inputs[0].name == "objects"
    assert set(auc) >= ({"MET", "HT", "leading jet pT"} if objects else {"total ET", "largest region"})
    assert auc["leading jet pT" if objects else "total ET"] > 0.6
    assert auc["score"] > 0.6
    card = write_card(trained, found)
    assert "| sample | files | events |\n" in card
    assert "single variable of the same events" in card
    assert "The model is not meant for firmware" in card


def test_the_score_is_a_sum_of_squares_on_a_grid(trained):
    if trained.name != "l1-anomaly":
        pytest.skip("the teacher has no z")
    rows = np.random.default_rng(1).integers(0, 500, (200, 57)).astype(np.float32)
    with tamis.open(trained, engine="onnxruntime") as session:
        outputs = session.run(objects=rows)
    assert outputs["z"].shape == (200, ENCODER_LATENT)
    rounded = np.clip(
        np.floor(outputs["z"].astype(np.float64) * Z_STEPS + 0.5) / Z_STEPS, -Z_MAX, Z_MAX - 1 / Z_STEPS
    )
    np.testing.assert_allclose(outputs["score"], (rounded**2).sum(1), rtol=1e-4, atol=2 / Z_STEPS)
    np.testing.assert_array_equal(outputs["score"] * Z_STEPS**2, np.rint(outputs["score"] * Z_STEPS**2))


@pytest.mark.parametrize(("name", "cycles"), [("l1-anomaly", 12), ("l1-calo-student", 25)])
def test_shipped_firmware_is_proven_and_fast(name, cycles):
    bundle = Bundle.open(name)
    record = FirmwareRecord.model_validate_json(bundle.text(FIRMWARE_FILE))
    assert record.checksum == bundle.manifest.files["model.onnx"].sha256
    assert record.latency_cycles < cycles
    assert record.clock_mhz == 240
    (rtl,) = [one for one in record.agreement if one.what == "RTL"]
    assert (rtl.differing, rtl.random_vectors) == (0, 100_000)
    assert "meant for firmware" in bundle.card


def test_the_teacher_is_not_meant_for_firmware():
    bundle = Bundle.open("l1-calo-anomaly")
    assert FIRMWARE_FILE not in bundle.manifest.files
    assert "not meant for firmware" in bundle.card


def test_the_student_keeps_to_its_limits():
    student, teacher = Bundle.open("l1-calo-student"), Bundle.open("l1-calo-anomaly")
    assert student.manifest.cost.flops <= 0.01 * teacher.manifest.cost.flops
    auc = {}
    for bundle in (student, teacher):
        found = json.loads(bundle.text("evaluation.json"))
        assert found["background"]["events"] == 10_000
        auc[bundle.name] = {
            f["signal"]: f["auc"]["value"] for f in found["figures"] if f["variable"] == "score"
        }
    assert set(auc["l1-calo-student"]) == {"w-prime", "z-prime-tt", "graviton-ww", "ttbar", "z-prime-tautau"}
    for signal, reached in auc["l1-calo-student"].items():
        assert reached >= auc["l1-calo-anomaly"][signal] - 0.01, signal
