"""The training of classifiers, and the topology classifiers, on a few synthetic rows."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file

import tamis
from tamis._base import DataError, UsageError
from tamis.measure import verify
from tamis.zoo import TrainingOptions, find_network, train
from tamis.zoo.data import Labelled, split_classes
from tamis.zoo.networks.topology import mirror_angles
from tamis.zoo.training.checkpoint import CHECKPOINT
from tamis.zoo.training.packing import pack_classifier
from tamis.zoo.training.runs import ClassifierTraining
from tamis.zoo.training.thresholds import class_points

ROWS = 150
TOPOLOGIES = ("topology-both", "topology-gru", "topology-hlf", "topology-lstm")


def rows_of(name="topology-hlf", seed=0):
    """Return rows whose classes differ in the pT of the lepton and in HT."""
    rng = np.random.default_rng(seed)
    particles = np.zeros((ROWS, 100, 11), np.float32)
    for row in particles:
        count = int(rng.integers(5, 101))
        row[:count, 0] = rng.exponential(5, count) + 0.1
        row[:count, 1:3] = rng.normal(size=(count, 2))
        row[:count, 4] = rng.normal(0, 0.01, count)
        row[np.arange(count), rng.integers(6, 11, count)] = 1
    event = np.abs(rng.normal(size=(ROWS, 16))).astype(np.float32)
    label = np.arange(ROWS) % 3
    particles[:, 0, 0] += 60 * (label == 1)
    event[:, 0] += 200 * (label == 2)
    inputs = {"particles": particles, "event": event}
    return Labelled({key: inputs[key] for key in find_network(name).features}, label, np.arange(ROWS))


def training(folder, name="topology-hlf", seed=1, epochs=2, **numbers):
    model = find_network(name)
    model = replace(model, recipe=replace(model.recipe, epochs=epochs, batch=64, **numbers))
    return ClassifierTraining(model, split_classes(rows_of(name), seed, 0.1), folder, seed=seed)


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_packed_classifiers_verify_on_every_engine(name, tmp_path):
    torch.set_num_threads(1)
    run = training(tmp_path / "run", name, epochs=1)
    model = run.classifier
    packed = pack_classifier(
        model, run.run(), run.data, tmp_path / "m.tamis", seed=1, files={"qcd": ["a.root"]}
    )
    manifest = packed.bundle.manifest
    assert {spec.name: spec.feature for spec in manifest.signature.inputs} == dict(model.features)
    assert [point.name for point in manifest.working_points] == ["w-0.99", "ttbar-0.99"]
    operators = {node.op_type for node in onnx.load_from_string(packed.bundle.model_bytes).graph.node}
    assert {"topology-lstm": "LSTM", "topology-hlf": "Gemm"}.get(name, "GRU") in operators
    for engine in ("onnxruntime", "openvino", "torch"):
        assert verify(packed.bundle, engine).passed
    inputs = {key: values[:40] for key, values in rows_of(name).inputs.items()}
    with tamis.open(packed.bundle) as session:
        found = session.run(**inputs)
    np.testing.assert_allclose(found["probabilities"].sum(1), 1.0, atol=1e-6)
    np.testing.assert_allclose(found["score"], 1.0 - found["probabilities"][:, 0], atol=1e-6)
    with torch.no_grad():
        logits = run.model(*map(torch.from_numpy, inputs.values()))
    np.testing.assert_allclose(found["probabilities"], torch.softmax(logits, 1).numpy(), atol=1e-6)


@pytest.mark.parametrize("name", ["topology-gru", "topology-lstm", "topology-both"])
def test_values_in_the_padding_have_no_effect(name, tmp_path):
    model = training(tmp_path / "run", name).model.eval()
    inputs = rows_of(name).inputs
    changed = {key: values.copy() for key, values in inputs.items()}
    changed["particles"][:, :, 1:][inputs["particles"][:, :, 0] == 0] = 7.0
    with torch.no_grad():
        before, after = (model(*map(torch.from_numpy, x.values())) for x in (inputs, changed))
    assert torch.equal(before, after)


def test_mirroring_changes_only_the_signs_of_angles():
    particles = torch.from_numpy(rows_of("topology-gru").inputs["particles"])
    found = mirror_angles(particles)
    assert torch.equal(found.abs(), particles.abs())
    ratio = found[:, 0, 1:3] / particles[:, 0, 1:3]
    assert {tuple(row) for row in ratio.tolist()} == {(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)}
    others = [0, *range(3, 11)]
    assert torch.equal(found[:, :, others], particles[:, :, others])


def test_a_classifier_learns_the_difference_of_the_classes(tmp_path):
    trained = training(tmp_path / "run", epochs=25, learning_rate=1e-2).run()
    assert trained.history[0]["validation_loss"] > 0.7
    last = trained.history[trained.best_epoch - 1]
    assert last["validation_loss"] < 0.65  # HT identifies one class of three: 2/3 log 2 = 0.46 at best
    assert last["validation_accuracy"] > 0.55


@pytest.mark.parametrize("name", ["topology-hlf", "topology-gru"])
def test_a_stopped_run_resumes_to_bit_identical_weights(name, tmp_path):
    whole = training(tmp_path / "whole", name, epochs=3).run().history
    training(tmp_path / "parts", name, epochs=1).run()
    torch.manual_seed(99)
    run = training(tmp_path / "parts", name, epochs=3)
    assert run.resume() == 1
    assert run.run().history == whole
    whole_run, parts = (load_file(tmp_path / name / CHECKPOINT) for name in ("whole", "parts"))
    assert set(whole_run) == set(parts)
    for key, value in whole_run.items():
        np.testing.assert_array_equal(value, parts[key], err_msg=key)


def test_a_checkpoint_with_other_options_is_rejected(tmp_path):
    training(tmp_path / "run", epochs=1).run()
    with pytest.raises(UsageError, match=r"made with learning_rate = 0\.001, this run has 0\.5"):
        training(tmp_path / "run", learning_rate=0.5).resume()


def test_training_stops_when_the_validation_loss_no_longer_falls(tmp_path):
    run = training(tmp_path / "run", epochs=50, learning_rate=0.3, patience_stop=2, patience_decay=1)
    trained = run.run()
    assert trained.stopped_early
    assert len(trained.history) == trained.best_epoch + 2
    assert trained.history[-1]["learning_rate"] < 0.3


def test_the_split_is_by_event_and_keeps_all_rows_and_classes():
    rows = rows_of()
    twice = replace(rows, event=rows.event // 6 * 3 + rows.label)  # two rows per event
    split = split_classes(twice, 1, 0.1)
    parts = (split.train, split.validation, split.calibration)
    assert sum(map(len, parts)) == ROWS
    events = [set(part.event.tolist()) for part in parts]
    assert not events[0] & events[1]
    assert not events[0] & events[2]
    assert not events[1] & events[2]
    assert all(set(part.label.tolist()) == {0, 1, 2} for part in parts)


def test_working_points_keep_99_percent_of_each_signal():
    rng = np.random.default_rng(1)
    scores, label = rng.random(3000), np.arange(3000) % 3
    scores[label == 2] = 0.5 + 0.5 * scores[label == 2]
    first, second = class_points(("qcd", "w", "ttbar"), scores, label)
    assert np.mean(scores[label == 1] > first.threshold) == pytest.approx(0.99, abs=0.001)
    assert np.mean(scores[label == 2] > second.threshold) == pytest.approx(0.99, abs=0.001)
    assert second.background_efficiency == pytest.approx(np.mean(scores[label == 0] > second.threshold))


@pytest.fixture
def files(lepton_file):
    return {name: [str(lepton_file(name, 40, seed))] for seed, name in enumerate(("ttbar", "qcd", "w"))}


def test_training_goes_from_files_to_a_bundle(files, tmp_path):
    rows = []
    options = TrainingOptions(epochs=2, batch=16, threads=1, most_rows=30)
    packed = train("topology-hlf", files, tmp_path / "m.tamis", options, after_epoch=rows.append)
    facts = packed.bundle.manifest.training
    assert facts["classes"] == ["qcd", "w", "ttbar"]
    assert facts["training_rows"] == {"qcd": 24, "w": 24, "ttbar": 24}
    assert facts["calibration_rows"] == {"qcd": 3, "w": 3, "ttbar": 3}
    assert sorted(facts["files"]) == ["qcd.parquet", "ttbar.parquet", "w.parquet"]
    assert json.loads(packed.bundle.text("training.json")) == rows
    assert packed.bundle.manifest.score == "score"


def test_wrong_classes_are_an_error(files, tmp_path):
    with pytest.raises(UsageError, match="topology-hlf has no class 'tt'; did you mean 'ttbar'"):
        train("topology-hlf", {"tt": ["a.root"]}, tmp_path / "m.tamis")
    del files["w"]
    with pytest.raises(UsageError, match="w has no files: give --class w=FILE"):
        train("topology-hlf", files, tmp_path / "m.tamis")
    with pytest.raises(UsageError, match="no reference model is called 'topology'"):
        train("topology", files, tmp_path / "m.tamis")
    with pytest.raises(UsageError, match="topology-gru learns from classes"):
        train("topology-gru", ["a.root"], tmp_path / "m.tamis")


def test_a_class_without_leptons_is_an_error(files, lepton_file, tmp_path):
    files["w"] = [str(lepton_file("none", 12, 1, lepton_pt=0.0))]
    with pytest.raises(
        DataError, match=r"class w has \d+ events with lepton_event in .*none.parquet; a training needs 10"
    ):
        train("topology-hlf", files, tmp_path / "m.tamis")
