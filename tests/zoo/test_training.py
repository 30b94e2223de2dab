"""Training on a few synthetic jets: killed runs, early stopping, warm-up, wrong options."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

import tamis
from tamis._base import DataError, UnreadableFileError, UsageError
from tamis.zoo import TrainingOptions, find_network, train
from tamis.zoo.data import LoadedJets, load_jets, split_jets
from tamis.zoo.training.checkpoint import CHECKPOINT
from tamis.zoo.training.loop import METRICS
from tamis.zoo.training.runs import DetectorTraining
from tamis.zoo.training.thresholds import background_points


def jets_of(count, seed=0):
    rng = np.random.default_rng(seed)
    jets = np.zeros((count, 100, 3), np.float32)
    for jet in jets:
        n = int(rng.integers(3, 40))
        jet[:n, :2] = rng.normal(0, 0.2, (n, 2))
        jet[:n, 2] = np.sort(rng.exponential(20, n))[::-1] + 0.1
    return jets


def one_per_event(jets):
    """Return jets of which each is in an event of its own."""
    return LoadedJets(jets, np.arange(len(jets)))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("jets") / "jets.npy"
    np.save(path, jets_of(200))
    return path


@pytest.fixture
def training(tmp_path):
    def make(name="conv-vae", folder="run", seed=1, latent=6, **recipe):
        detector = find_network(name)
        detector = replace(detector, recipe=replace(detector.recipe, batch=64, epochs=2, **recipe))
        data = split_jets(one_per_event(jets_of(60)), seed)
        return DetectorTraining(detector, data, tmp_path / folder, latent=latent, seed=seed)

    return make


RUN = """
import os, signal, sys
import torch
from tamis.zoo import TrainingOptions, train
torch.set_num_threads(1)
kill, resume = int(sys.argv[3]), bool(int(sys.argv[4]))
def after(row):
    if row["epoch"] == kill:
        os.kill(os.getpid(), signal.SIGKILL)
options = TrainingOptions(latent=6, epochs=3, batch=64, threads=1, resume=resume)
train("conv-vae", [sys.argv[1]], sys.argv[2], options, after_epoch=after)
"""


@pytest.mark.slow
def test_a_killed_run_resumes_to_bit_identical_weights(file, tmp_path):
    def run(target, kill, resume):
        command = [sys.executable, "-c", RUN, str(file), str(tmp_path / target), str(kill), str(int(resume))]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ)

    whole = run("whole.tamis", 0, False)
    assert whole.returncode == 0, whole.stderr
    assert run("killed.tamis", 1, False).returncode == -signal.SIGKILL
    assert not (tmp_path / "killed.tamis").exists()
    assert len(json.loads((tmp_path / "killed.tamis.training" / METRICS).read_text())) == 1
    assert run("killed.tamis", 0, True).returncode == 0
    whole_run, killed = (
        load_file(tmp_path / f"{name}.tamis.training" / CHECKPOINT) for name in ("whole", "killed")
    )
    assert set(whole_run) == set(killed)
    for name, value in whole_run.items():
        np.testing.assert_array_equal(value, killed[name], err_msg=name)
    metrics = [(tmp_path / f"{name}.tamis.training" / METRICS).read_text() for name in ("whole", "killed")]
    assert metrics[0] == metrics[1]
    bundles = [tamis.Bundle.open(tmp_path / f"{name}.tamis") for name in ("whole", "killed")]
    assert bundles[0].model_bytes == bundles[1].model_bytes


def test_a_trained_bundle_records_its_training(file, tmp_path):
    rows = []
    options = TrainingOptions(latent=6, epochs=1, batch=64, threads=1, most_rows=100)
    packed = train("conv-vae", [str(file)], tmp_path / "m.tamis", options, after_epoch=rows.append)
    manifest = packed.bundle.manifest
    assert manifest.training["training_jets"] == 85
    assert manifest.training["validation_jets"] == 5
    assert manifest.training["calibration_jets"] == 10
    assert manifest.training["files"] == ["jets.npy"]
    assert manifest.signature.inputs[0].feature == "leading_jets"
    assert manifest.score == "score"
    assert json.loads(packed.bundle.text("training.json")) == rows
    with tamis.open(packed.bundle) as session:
        assert session(jets_of(3)).shape == (3,)


def test_the_seed_determines_the_result(training):
    histories = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        run = training(folder=folder, seed=seed)
        histories.append(run.run().history)
    assert histories[0] == histories[1]
    assert histories[0] != histories[2]


def test_the_kl_term_warms_up(training):
    run = training("graph-vae", warmup_epochs=5)
    run.recipe = replace(run.recipe, epochs=6)
    trained = run.run()
    assert [row["beta"] for row in trained.history] == pytest.approx([2.0, 4.0, 6.0, 8.0, 10.0, 10.0])


def test_a_run_that_ends_during_the_warm_up_keeps_its_weights(training):
    import torch

    run = training("graph-vae")
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    trained = run.run()
    assert trained.best_epoch == 2
    assert not torch.equal(trained.model.state_dict()["encoder.gcn_1.weight"], before["encoder.gcn_1.weight"])


def test_the_learning_rate_decays_before_early_stopping(training):
    run = training(learning_rate=0.0)  # nothing can be learned, so epoch 1 stays the best
    run.recipe = replace(run.recipe, epochs=40, patience_decay=2, patience_stop=5)
    run.state.learning_rate = 1e-30
    trained = run.run()
    assert trained.best_epoch == 1
    assert len(trained.history) == 6
    rates = [row["learning_rate"] for row in trained.history]
    assert rates == pytest.approx([1e-30] * 3 + [0.5e-30] * 2 + [0.25e-30])


def test_the_best_weights_are_kept_instead_of_the_last(training):
    import torch

    run = training()
    run.run()
    best = {k: v.clone() for k, v in run.best.items()}
    assert best
    run.recipe = replace(run.recipe, epochs=3)
    run.state.learning_rate = 0.3  # ruins the weights
    trained = run.run()
    assert trained.best_epoch <= 2
    assert all(torch.equal(v, trained.model.state_dict()[k]) for k, v in best.items())


def test_a_loss_that_is_not_finite_is_an_error_and_keeps_the_checkpoint(training):
    import torch

    run = training()
    run.run()
    kept = (run.folder / CHECKPOINT).read_bytes()
    run.recipe = replace(run.recipe, epochs=3)
    with torch.no_grad():
        next(run.model.parameters()).fill_(float("nan"))
    with pytest.raises(DataError, match="loss of conv-vae is not finite in epoch 3"):
        run.run()
    assert (run.folder / CHECKPOINT).read_bytes() == kept


def test_resuming_with_other_options_or_data_is_rejected(training):
    training().run()
    assert training().resume() == 2
    with pytest.raises(UsageError, match=r"made with seed = 1, this run has 2|data"):
        training(seed=2).resume()
    with pytest.raises(UsageError, match="made with latent = 6, this run has 8"):
        training(latent=8).resume()
    other = training()
    other.setup["data"] = "something else"
    with pytest.raises(UsageError, match="made with data = "):
        other.resume()
    assert training(folder="fresh").resume() == 0


def test_a_damaged_checkpoint_is_an_error(training):
    run = training()
    run.run()
    file = run.folder / CHECKPOINT
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UnreadableFileError, match=r"cannot be read .*remove it to start from scratch"):
        training().resume()


def test_wrong_options_are_an_error(file, tmp_path, training):
    target = tmp_path / "m.tamis"
    with pytest.raises(UsageError, match="no reference model is called 'conv-vea'; did you mean 'conv-vae'"):
        train("conv-vea", [str(file)], target)
    with pytest.raises(UsageError, match="latent size is 7; the study used 6, 8, 12"):
        train("conv-vae", [str(file)], target, TrainingOptions(latent=7))
    with pytest.raises(UsageError, match="epochs is 0"):
        TrainingOptions(epochs=0)
    with pytest.raises(UsageError, match="the device is 'tpu'; it must be cpu or cuda"):
        train("conv-vae", [str(file)], target, TrainingOptions(device="tpu"))
    (tmp_path / "thesis").write_text("x")
    with pytest.raises(UsageError, match="exists and is not a bundle"):  # before the training, not after it
        train("conv-vae", [str(tmp_path / "absent.npy")], tmp_path / "thesis")
    with pytest.raises(UsageError, match="batch is -1"):
        TrainingOptions(epochs=1, batch=-1)


def test_unsuitable_jets_are_an_error(tmp_path):
    with pytest.raises(UsageError, match="5 jets are too few"):
        split_jets(one_per_event(jets_of(5)), 1)
    with pytest.raises(DataError, match=r"shape \(30, 50, 3\)"):
        split_jets(one_per_event(jets_of(30)[:, :50]), 1)
    spoiled = jets_of(30)
    spoiled[7, 0, 0] = np.nan
    with pytest.raises(DataError, match=r"1 of 30 training jets hold NaN.*jet 7"):
        split_jets(one_per_event(spoiled), 1)
    with pytest.raises(DataError, match="no constituents with a transverse momentum"):
        split_jets(one_per_event(np.zeros((30, 100, 3), np.float32)), 1)
    with pytest.raises(UsageError, match="30 jets are of 1 events"):
        split_jets(LoadedJets(jets_of(30), np.zeros(30, int)), 1)
    np.save(tmp_path / "none.npy", jets_of(0))
    with pytest.raises(DataError, match="no jets in"):
        load_jets([str(tmp_path / "none.npy")])


def test_the_split_keeps_all_jets_and_standardises_by_real_constituents():
    jets = jets_of(50)
    data = split_jets(one_per_event(jets), 3)
    parts = (data.train, data.validation, data.calibration)
    assert [len(part) for part in parts] == [42, 3, 5]
    together = np.sort(np.concatenate(parts).sum(axis=(1, 2)))
    np.testing.assert_array_equal(together, np.sort(jets.sum(axis=(1, 2))))
    real = data.train[data.train[:, :, 2] > 0]
    np.testing.assert_allclose(data.mean, real.mean(axis=0), rtol=1e-4, atol=1e-6)
    assert not np.array_equal(split_jets(one_per_event(jets), 4).validation, data.validation)


def test_jets_of_an_event_stay_together():
    jets = jets_of(60)
    jets[:, 0, 0] = np.arange(60) // 2  # the event's number
    data = split_jets(LoadedJets(jets, np.arange(60) // 2), 3)
    marks = [set(part[:, 0, 0]) for part in (data.train, data.validation, data.calibration)]
    assert sum(map(len, marks)) == len(set.union(*marks)) == 30


def test_working_points_have_their_background_efficiency():
    scores = np.random.default_rng(0).exponential(size=5000).astype(np.float32)
    (point,) = background_points(scores, (1e-2, 1e-3), "jets")  # 5000 jets are too few for 1e-3
    assert point.name == "background-0.01"
    assert point.background_efficiency == pytest.approx(0.01, rel=0.02)
    assert point.background_efficiency == np.mean(scores > point.threshold)
    assert point.background == "5000 calibration jets"
    assert len(background_points(np.random.default_rng(0).normal(size=20_000), (1e-2, 1e-3), "jets")) == 2
    assert background_points(scores[:100], (1e-2, 1e-3), "jets") == []


def test_tree_selects_the_dataset(tmp_path):
    np.savez(tmp_path / "a.npz", one=jets_of(5), two=jets_of(7), flat=np.zeros((5, 3), np.float32))
    assert len(load_jets([str(tmp_path / "a.npz")], tree="two").inputs) == 7
    with pytest.raises(DataError, match=r"a.npz: dataset 'flat' has the shape \(5, 3\)"):
        load_jets([str(tmp_path / "a.npz")], tree="flat")
