"""Models of arrays: trained from a file to a bundle, shipped ones that are better than what needs no training."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tamis
from tamis._base import DataError, UsageError
from tamis.bundle import Bundle
from tamis.events import open_array_writer
from tamis.measure import evaluate_arrays, verify
from tamis.simulate import simulate_sample
from tamis.zoo import ARRAY_MODELS, train, train_on_arrays

SHIPPED = ("facile", "em-trk-michel")
FRESH = 90_001  # a seed that nothing was trained on


def sample(path, name, n, seed=FRESH):
    with open_array_writer(path) as writer:
        for arrays in simulate_sample(name, n, seed=seed):
            writer.write(arrays)
    return str(path)


@pytest.fixture(scope="module")
def channels(tmp_path_factory):
    return sample(tmp_path_factory.mktemp("hcal") / "channels.h5", "hcal-channels", 16_000)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_agrees_with_float64_on_every_engine(name):
    bundle = Bundle.open(name)
    for engine in ("onnxruntime", "openvino", "torch"):
        assert verify(bundle, engine).passed
    assert bundle.text("CARD.md").startswith(f"# Model card: {name}")
    assert "names of training files" not in bundle.text("CARD.md")
    assert sum(file.stat().st_size for file in bundle.path.iterdir()) < 1_500_000


def test_facile_has_the_published_size_and_beats_two_samples(channels):
    bundle = Bundle.open("facile")
    assert sum(bundle.parameters.values()) == 2093
    found = evaluate_arrays(bundle, [channels])
    for one in found.energies:
        figures = {f.method: f for f in one.figures}
        mine, simple = figures["facile"], figures["method_0"]
        assert mine.within.value < simple.within.value + 2 * (mine.within.error + simple.within.error)
        if one.low > 3.0:
            assert mine.response.value == pytest.approx(1.0, abs=0.03)
    whole = {f.method: f.within.value for f in found.energies[-1].figures}
    assert whole["facile"] < 0.6 * whole["method_0"]
    assert whole["facile"] < 0.9 * whole["template_fit"]
    empty = {e.method: e.mean.value for e in found.empty}
    assert empty["facile"] < 0.2 * empty["method_0"]


def test_facile_takes_an_event_of_16_000_channels():
    with tamis.open("facile") as session:
        energy = session.run(channels=next(simulate_sample("hcal-channels", 16_000, seed=5))["channels"])[
            "energy"
        ]
    assert energy.shape == (16_000,)
    assert (energy >= 0).all()


def test_em_trk_michel_tells_particles_apart(tmp_path):
    found = evaluate_arrays(Bundle.open("em-trk-michel"), [sample(tmp_path / "w.h5", "wire-patches", 1500)])
    for one in found.classes:
        assert one.auc.value > one.baseline_auc.value + 0.05
        assert one.efficiency.value > 0.7
    assert all(sum(row) == pytest.approx(1.0) for row in found.confusion)


def test_a_training_goes_on_to_the_same_result(channels, tmp_path):
    whole = train("facile", [channels], tmp_path / "a.tamis", epochs=3, most_jets=4000, threads=1)
    train("facile", [channels], tmp_path / "b.tamis", epochs=1, most_jets=4000, threads=1)
    resumed = train(
        "facile", [channels], tmp_path / "b.tamis", epochs=3, most_jets=4000, threads=1, resume=True
    )
    assert whole.bundle.model_bytes == resumed.bundle.model_bytes
    told = whole.bundle.manifest.training
    assert (told["training_rows"], told["validation_rows"], told["rows"]) == (3600, 400, "channels")
    assert len(json.loads(whole.bundle.text("training.json"))) == 3
    with tamis.open(whole.bundle) as session:
        assert np.isfinite(session.run(np.zeros((2, 15), np.float32))["energy"]).all()


@pytest.mark.parametrize("name", ["deepcalo", "em-trk-michel"])
def test_every_model_trains_on_its_sample_and_is_evaluated_on_it(name, tmp_path):
    model = ARRAY_MODELS[name]
    file = sample(tmp_path / "s.h5", model.sample, 300)
    packed = train_on_arrays(name, [file], tmp_path / "m.tamis", epochs=1, threads=1)
    found = evaluate_arrays(packed.bundle, [file])
    assert found.rows == 300
    methods = {f.method for one in found.energies for f in one.figures}
    assert methods == ({name, *model.baselines} if model.task == "energy" else set())
    assert [one.name for one in found.classes] == list(model.classes)


def test_what_cannot_be_trained_on_is_told(channels, tmp_path):
    with pytest.raises(UsageError, match="leave --signal away"):
        train("facile", [channels], tmp_path / "x.tamis", signal=["s.root"])
    with pytest.raises(DataError, match="has no dataset 'patches'"):
        train("em-trk-michel", [channels], tmp_path / "x.tamis")
    with pytest.raises(DataError, match="50 channels are too few"):
        train("facile", [channels], tmp_path / "x.tamis", most_jets=50)
    with open_array_writer(tmp_path / "nan.h5") as writer:
        arrays = next(simulate_sample("hcal-channels", 200))
        arrays["channels"][7, 3] = np.nan
        writer.write(arrays)
    with pytest.raises(DataError, match="channels holds NaN or infinity in row 7"):
        train("facile", [str(tmp_path / "nan.h5")], tmp_path / "x.tamis")
    with pytest.raises(UsageError, match="was not trained on arrays"):
        evaluate_arrays(Bundle.open("egamma"), [channels])
