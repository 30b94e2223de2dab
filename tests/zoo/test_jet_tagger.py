"""The Level-1 jet tagger: its standardisation, working points, and the shipped bundle."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import tamis
from tamis.bundle import Bundle
from tamis.events import open_array_writer
from tamis.measure import evaluate_arrays, verify
from tamis.report import write_array_card
from tamis.zoo import TrainingOptions, shipped, train

CUTS = ("multiplicity", "n2_b1", "off_w", "off_z", "off_t")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Train for two epochs on 30,000 rows whose first feature tells the signal."""
    rng = np.random.default_rng(8)
    label = rng.integers(0, 5, 30_000)
    rows = rng.normal(size=(len(label), 16)) * np.exp2(np.arange(16) - 8.0) * 1.2 + 3.0
    rows[:, 0] += (label > 1) * 2.0 * 2.0**-8
    folder = tmp_path_factory.mktemp("tagger")
    with open_array_writer(folder / "rows.h5") as writer:
        writer.write({"features": rows.astype(np.float32), "label": label})
    with open_array_writer(folder / "test.h5") as writer:
        cuts = {name: rows[:4000, 0].astype(np.float32) for name in CUTS}
        writer.write({"features": rows[:4000].astype(np.float32), "label": label[:4000], **cuts})
    options = TrainingOptions(epochs=2, threads=1)
    return train("jet-tagger", [str(folder / "rows.h5")], folder / "m.tamis", options), folder / "test.h5"


def test_working_points_accept_their_fraction_of_the_background(packed):
    result, file = packed
    training, points = result.bundle.manifest.training, result.bundle.manifest.working_points
    assert (training["training_rows"], training["validation_rows"], training["calibration_rows"]) == (
        21_000,
        3000,
        6000,
    )
    assert training["background"] == ["g", "q"]
    assert [point.name for point in points] == ["background-0.1", "background-0.01"]  # too few rows for 0.001
    assert points[1].background.endswith("calibration jets of g and q")
    found = evaluate_arrays(result.bundle, [str(file)])
    for point, figures in zip(points, found.points, strict=True):
        fraction = float(point.name.partition("-")[2])
        assert figures.threshold == point.threshold
        for name in ("g", "q"):
            assert figures.accepted[name].value == pytest.approx(fraction, rel=0.5)
        assert figures.accepted["t"].value > 2 * fraction
    card = write_array_card(result.bundle, found)
    assert "the score: the probability that it is not g or q" in card
    assert "## Working points" in card
    assert "Most frequent mistakes: " in card


def test_the_score_is_the_probability_of_the_signal_classes(packed):
    rows = np.random.default_rng(1).normal(3.0, 1.0, (9, 16)).astype(np.float32)
    with tamis.open(packed[0].bundle, engine="onnxruntime") as session:
        outputs = session.run(features=rows)
    np.testing.assert_allclose(outputs["score"], outputs["probabilities"][:, 2:].sum(axis=1), atol=1e-6)
    np.testing.assert_allclose(outputs["probabilities"].sum(axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("shipped_one", [False, True])
def test_scales_are_powers_of_two_and_means_multiples_of_a_64th(packed, shipped_one):
    bundle = Bundle.open(shipped.jet_tagger()) if shipped_one else packed[0].bundle
    graph = onnx.load_from_string(bundle.model_bytes).graph
    assert [node.op_type for node in graph.node if node.op_type != "Constant"][:3] == ["Sub", "Mul", "Gemm"]
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    first, second = [node for node in graph.node if node.op_type in ("Sub", "Mul")][:2]
    mean, inverse = constants[first.input[1]], constants[second.input[1]]
    exponent = np.log2(inverse)
    np.testing.assert_array_equal(exponent, np.round(exponent))
    steps = mean.astype(np.float64) * inverse * 64
    np.testing.assert_array_equal(steps, np.round(steps))
    if not shipped_one:  # the first feature is wider, since it tells the signal
        np.testing.assert_array_equal(exponent[1:], 8.0 - np.arange(1, 16))
        assert (
            np.abs((mean[1:] - 3.0) * inverse[1:]).max() < 1 / 128 + 0.04
        )  # rounding, and the sample's error


def test_the_shipped_tagger_agrees_with_float64_and_beats_simple_cuts(tmp_path):
    bundle = Bundle.open(shipped.jet_tagger())
    for engine in ("onnxruntime", "openvino", "torch"):
        assert verify(bundle, engine).passed
    assert [point.name for point in bundle.manifest.working_points] == [
        "background-0.1",
        "background-0.01",
        "background-0.001",
    ]
    assert bundle.text("CARD.md").startswith("# Model card: jet-tagger")
    assert "names of training files" not in bundle.text("CARD.md")
    evaluation = json.loads(bundle.text("evaluation.json"))
    for figures in evaluation["classes"]:
        assert figures["auc"]["value"] > figures["baseline_auc"]["value"]


@pytest.mark.slow
def test_the_shipped_tagger_has_its_figures_on_fresh_jets(tmp_path):
    from tamis.simulate import simulate_sample

    bundle = Bundle.open(shipped.jet_tagger())
    with open_array_writer(tmp_path / "fresh.h5") as writer:
        for arrays in simulate_sample("jets-hlf", 3000, seed=90_001, workers=2):
            writer.write(arrays)
    found = evaluate_arrays(bundle, [str(tmp_path / "fresh.h5")])
    recorded = json.loads(bundle.text("evaluation.json"))
    for figures, expected in zip(found.classes, recorded["classes"], strict=True):
        assert figures.auc.value == pytest.approx(expected["auc"]["value"], abs=4 * figures.auc.error)
