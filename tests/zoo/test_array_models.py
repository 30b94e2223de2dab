"""Models of arrays: training from a file to a bundle; the shipped ones beat methods without training."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import tamis
from tamis._base import DataError, UsageError
from tamis.bundle import Bundle
from tamis.events import open_array_writer
from tamis.measure import evaluate_arrays, verify
from tamis.simulate import simulate_sample
from tamis.zoo import ArrayModel, TrainingOptions, known_networks, train

SHIPPED = ("facile", "em-trk-michel")
FRESH_SEED = 90_001  # not used in any training


def sample(path, name, n, seed=FRESH_SEED):
    with open_array_writer(path) as writer:
        for arrays in simulate_sample(name, n, seed=seed):
            writer.write(arrays)
    return str(path)


@pytest.fixture(scope="module")
def channels(tmp_path_factory):
    return sample(tmp_path_factory.mktemp("hcal") / "channels.h5", "hcal-channels", 16_000)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_agree_with_float64_on_every_engine(name):
    bundle = Bundle.open(name)
    for engine in ("onnxruntime", "openvino", "torch"):
        assert verify(bundle, engine).passed
    assert bundle.text("CARD.md").startswith(f"# Model card: {name}")
    assert "names of training files" not in bundle.text("CARD.md")
    assert sum(file.stat().st_size for file in bundle.path.iterdir()) < 1_500_000


def test_facile_has_the_published_size_and_beats_method_0(channels):
    bundle = Bundle.open("facile")
    assert sum(bundle.parameters.values()) == 2093
    found = evaluate_arrays(bundle, [channels])
    for energy_bin in found.energies:
        figures = {f.method: f for f in energy_bin.figures}
        facile, simple = figures["facile"], figures["method_0"]
        assert facile.within.value < simple.within.value + 2 * (facile.within.error + simple.within.error)
        if energy_bin.low > 3.0:
            assert facile.response.value == pytest.approx(1.0, abs=0.03)
    whole = {f.method: f.within.value for f in found.energies[-1].figures}
    assert whole["facile"] < 0.6 * whole["method_0"]
    assert whole["facile"] < 0.9 * whole["template_fit"]
    empty = {e.method: e.mean.value for e in found.empty}
    assert empty["facile"] < 0.2 * empty["method_0"]


def test_facile_runs_on_an_event_of_16_000_channels():
    with tamis.open("facile") as session:
        energy = session.run(channels=next(simulate_sample("hcal-channels", 16_000, seed=5))["channels"])[
            "energy"
        ]
    assert energy.shape == (16_000,)
    assert (energy >= 0).all()


def test_em_trk_michel_distinguishes_particles(tmp_path):
    found = evaluate_arrays(Bundle.open("em-trk-michel"), [sample(tmp_path / "w.h5", "wire-patches", 1500)])
    for figures in found.classes:
        assert figures.auc.value > figures.baseline_auc.value + 0.05
        assert figures.efficiency.value > 0.7
    assert all(sum(row) == pytest.approx(1.0) for row in found.confusion)


def test_a_resumed_training_gives_the_same_result(channels, tmp_path):
    options = TrainingOptions(epochs=3, most_rows=4000, threads=1)
    whole = train("facile", [channels], tmp_path / "a.tamis", options)
    train("facile", [channels], tmp_path / "b.tamis", replace(options, epochs=1))
    resumed = train("facile", [channels], tmp_path / "b.tamis", replace(options, resume=True))
    assert whole.bundle.model_bytes == resumed.bundle.model_bytes
    facts = whole.bundle.manifest.training
    assert (facts["training_rows"], facts["validation_rows"], facts["rows"]) == (3600, 400, "channels")
    assert len(json.loads(whole.bundle.text("training.json"))) == 3
    with tamis.open(whole.bundle) as session:
        assert np.isfinite(session.run(np.zeros((2, 15), np.float32))["energy"]).all()


@pytest.mark.parametrize("name", ["deepcalo", "em-trk-michel"])
def test_every_model_can_be_trained_and_evaluated_on_its_sample(name, tmp_path):
    model = known_networks(ArrayModel)[name]
    file = sample(tmp_path / "s.h5", model.sample, 300)
    packed = train(name, [file], tmp_path / "m.tamis", TrainingOptions(epochs=1, threads=1))
    found = evaluate_arrays(packed.bundle, [file])
    assert found.rows == 300
    methods = {f.method for energy_bin in found.energies for f in energy_bin.figures}
    assert methods == ({name, *model.baselines} if model.task == "energy" else set())
    assert [figures.name for figures in found.classes] == list(model.classes)


def test_unsuitable_training_data_is_an_error(channels, tmp_path):
    with pytest.raises(UsageError, match="omit --signal and --class"):
        train("facile", {"background": [channels], "signal": ["s.root"]}, tmp_path / "x.tamis")
    with pytest.raises(DataError, match="has no dataset 'patches'"):
        train("em-trk-michel", [channels], tmp_path / "x.tamis")
    with pytest.raises(DataError, match="50 channels are too few"):
        train("facile", [channels], tmp_path / "x.tamis", TrainingOptions(most_rows=50))
    with open_array_writer(tmp_path / "nan.h5") as writer:
        arrays = next(simulate_sample("hcal-channels", 200))
        arrays["channels"][7, 3] = np.nan
        writer.write(arrays)
    with pytest.raises(DataError, match="channels holds NaN or infinity in row 7"):
        train("facile", [str(tmp_path / "nan.h5")], tmp_path / "x.tamis")
    with pytest.raises(UsageError, match="was not trained on arrays"):
        evaluate_arrays(Bundle.open("egamma"), [channels])
