"""Taggers on toy events: electrons spread in phi by the field, photons in one crystal."""

from __future__ import annotations

import json
from dataclasses import replace

import awkward as ak
import numpy as np
import onnx
import pytest
import torch

import tamis
from tamis._base import DataError, UsageError
from tamis.bundle import Bundle, Reference
from tamis.engines import open as open_session
from tamis.events import IDENTITY, Events, Frame, columns_of, open_writer
from tamis.features import find_feature
from tamis.measure import evaluate_bundle
from tamis.zoo import (
    ReadOptions,
    TaggedFrames,
    Tagger,
    TrainingOptions,
    find_network,
    known_networks,
    register,
    train,
)
from tamis.zoo.data import same_spectrum
from tamis.zoo.data.stores import SparseRows, concatenate_stores, take_rows
from tamis.zoo.networks import registry
from tamis.zoo.networks.simple_net import SimpleNet, mirror_images
from tamis.zoo.training.export import ClassifierScore, export_classifier

CRYSTAL = 2 * np.pi / 360
TAGGERS = {name: tagger for name, tagger in known_networks(Tagger).items() if tagger.starts_from is None}


def image(tagger):
    """Return the channels and the size of a tagger's images."""
    feature = find_feature(tagger.features["frames"])
    return feature.channels, {"egamma_frames": 32, "jet_images": 64}.get(feature.name, 128)


def toy(count: int, kind: int, spread: int, seed: int) -> Events:
    """Return events with one particle each, in `spread` neighbouring crystals in phi."""
    rng = np.random.default_rng(seed)
    pt = rng.uniform(25, 60, count)
    row, column = rng.integers(-60, 60, count), rng.integers(0, 360, count)
    columns = (column[:, None] + np.arange(spread)) % 360
    share = np.array([0.6, *[0.4 / max(1, spread - 1)] * (spread - 1)]) if spread > 1 else np.ones(1)
    phi = (columns + 0.5) * CRYSTAL - np.pi
    eta = (row + 0.5) * CRYSTAL
    ones = np.ones((count, 1))
    return Events.of(
        {
            "run": np.full(count, 1),
            "luminosityBlock": np.full(count, 1),
            "event": np.arange(count),
            "EcalCell_et": ak.from_regular((pt[:, None] * share).astype("f4")),
            "EcalCell_eta": ak.from_regular((eta[:, None] * np.ones(spread)).astype("f4")),
            "EcalCell_phi": ak.from_regular(phi.astype("f4")),
            "GenPart_pdgId": ak.from_regular((ones * kind).astype("i4")),
            "GenPart_status": ak.from_regular(ones.astype("i4")),
            "GenPart_statusFlags": ak.from_regular((ones * 128).astype("i4")),
            "GenPart_eta": ak.from_regular(eta[:, None].astype("f4")),
            "GenPart_phi": ak.from_regular(phi[:, :1].astype("f4")),
        }
    )


def written(path, *batches):
    with open_writer(path) as writer:
        for batch in batches:
            writer.write(batch)
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    return {
        name: written(folder / f"{name}.parquet", toy(150, kind, spread, seed))
        for name, kind, spread, seed in (
            ("photons", 22, 1, 1),
            ("electrons", -11, 4, 2),
            ("more-photons", 22, 1, 3),
            ("more-electrons", 11, 4, 4),
        )
    }


def electrons_and_photons(files):
    return {"background": [files["photons"]], "signal": [files["electrons"]]}


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory):
    target = tmp_path_factory.mktemp("trained") / "egamma.tamis"
    return train("egamma", electrons_and_photons(files), target, TrainingOptions(epochs=4, batch=16))


def test_a_trained_tagger_records_its_training_and_separates_the_classes(trained, files):
    manifest = trained.bundle.manifest
    assert manifest.signature.inputs[0].feature == "egamma_frames"
    assert manifest.score == "score"
    assert manifest.training["classes"] == ["background", "signal"]
    assert sum(manifest.training["training_rows"].values()) > 150
    assert manifest.training["signal_files"] == ["electrons.parquet"]
    assert {p.name for p in manifest.working_points} <= {
        "background-0.3",
        "background-0.1",
        "background-0.01",
    }
    feature = find_feature("egamma_frames")
    events = Events.concatenate([toy(30, 11, 4, 7), toy(30, 22, 1, 8)])
    rows = feature.build(Frame(columns_of(events, (*IDENTITY, *feature.reads)), 60))
    with open_session(trained.bundle, "onnxruntime") as session:
        score = session.run(rows.inputs)["score"]
    assert score.shape == (60,)
    assert np.all((score >= 0) & (score <= 1))
    assert score[:30].min() > score[30:].max()


def test_an_evaluation_uses_the_same_spectrum_for_both_classes(trained, files):
    found = evaluate_bundle(
        trained.bundle, [files["more-photons"]], {"electrons": [files["more-electrons"]]}, seed=1
    )
    auc = {figure.variable: figure.auc.value for figure in found.figures}
    assert auc["score"] > 0.95
    assert auc["jet pT"] == pytest.approx(0.5, abs=0.1)
    assert found.background.jets == found.signals[0].jets > 100
    with pytest.raises(UsageError, match="one signal at a time"):
        evaluate_bundle(trained.bundle, [files["photons"]], {"a": [files["electrons"]], "b": ["x"]})


def test_a_killed_training_resumes_to_the_same_weights(trained, files, tmp_path):
    def stop(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    arguments = "egamma", electrons_and_photons(files), tmp_path / "egamma.tamis"
    options = TrainingOptions(epochs=4, batch=16)
    with pytest.raises(KeyboardInterrupt):
        train(*arguments, options, after_epoch=stop)
    metrics = json.loads((tmp_path / "egamma.tamis.training" / "metrics.json").read_text())
    assert len(metrics) == 2
    resumed = train(*arguments, replace(options, resume=True))
    assert resumed.bundle.model_bytes == trained.bundle.model_bytes
    with pytest.raises(UsageError, match="was made with batch = 16, this run has 8"):
        train(*arguments, replace(options, resume=True, batch=8))


@pytest.mark.parametrize(
    ("model", "signal", "message"),
    [
        ("egama", True, "no reference model is called 'egama'; did you mean 'egamma'"),
        ("egamma", False, "name the signal's files with --signal"),
        ("conv-vae", True, "learns from background alone"),
    ],
)
def test_a_wrong_call_is_an_error(model, signal, message, files, tmp_path):
    with pytest.raises(UsageError, match=message):
        train(model, electrons_and_photons(files) if signal else [files["photons"]], tmp_path / "x.tamis")


def test_files_without_signal_or_with_too_few_frames_are_an_error(files, tmp_path):
    background = {"background": [files["photons"]]}
    with pytest.raises(DataError, match=r"no signal of egamma in .*photons.parquet"):
        train("egamma", {**background, "signal": [files["more-photons"]]}, tmp_path / "x.tamis")
    few = written(tmp_path / "few.parquet", toy(5, 11, 4, 9))
    with pytest.raises(UsageError, match="5 signal and 150 background frames"):
        train("egamma", {**background, "signal": [few]}, tmp_path / "x.tamis")


def test_a_seed_near_both_kinds_is_left_out(tmp_path):
    events = toy(20, 11, 4, 1)
    both = {
        name: ak.concatenate([events[name], events[name]], axis=1)
        for name in events.array.fields
        if name.startswith("GenPart")
    }
    both["GenPart_pdgId"] = ak.Array([[11, 22]] * 20)
    array = events.array
    for name, values in both.items():
        array = ak.with_field(array, values, name)
    path = written(tmp_path / "both.parquet", Events(array))
    for kind in ("signal", "background"):
        with pytest.raises(DataError, match=f"no {kind} of egamma"):
            TaggedFrames.of(TAGGERS["egamma"]).load([path], kind, ReadOptions())


@pytest.mark.parametrize("name", TAGGERS)
def test_the_exported_graph_agrees_with_the_network_and_is_finite(name):
    channels, size = image(TAGGERS[name])
    torch.manual_seed(1)
    net = SimpleNet(channels, size)
    rng = np.random.default_rng(1)
    frames = rng.exponential(1.0, (3, len(channels), size, size)).astype(np.float32)
    frames[1] = 0
    frames[2] = 1e6
    if len(channels) > 1:
        frames[:, 1:3] *= -1
    found = Reference(onnx.load_model_from_string(export_classifier(net, {"frames": frames})))(
        {"frames": frames}
    )
    assert list(found) == ["score"]
    with torch.no_grad():
        (expected,) = ClassifierScore(net).double().eval()(torch.from_numpy(frames).double())
    np.testing.assert_allclose(found["score"], expected.numpy(), rtol=1e-5, atol=1e-9)
    assert np.isfinite(found["score"]).all()


def test_sparse_rows_give_the_dense_rows():
    rng = np.random.default_rng(1)
    frames = rng.normal(size=(7, 2, 4, 4)).astype(np.float32) * (rng.random((7, 2, 4, 4)) < 0.3)
    sparse = concatenate_stores([SparseRows.of(part) for part in (frames[:3], frames[3:3], frames[3:])])
    rows = np.array([6, 0, 0, 3])
    np.testing.assert_array_equal(sparse[rows], frames[rows])
    np.testing.assert_array_equal(concatenate_stores([sparse, sparse])[rows + 7], frames[rows])
    np.testing.assert_array_equal(take_rows(sparse, rows)[np.arange(4)], frames[rows])
    assert take_rows(sparse, rows).tobytes() != take_rows(sparse, rows[::-1]).tobytes()


def test_both_classes_get_the_same_spectrum():
    rng = np.random.default_rng(1)
    soft, hard = rng.exponential(30, 3000), 20 + rng.exponential(60, 1000)
    first, second = same_spectrum(soft, hard, 5)
    assert len(first) == len(second) > 500
    assert np.mean(soft[first]) == pytest.approx(np.mean(hard[second]), rel=0.1)
    again, _ = same_spectrum(soft, hard, 5)
    assert again.tolist() == first.tolist()


def test_mirroring_flips_the_signs_of_impact_parameters():
    frames = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 5, 4, 4)).astype(np.float32))
    channels, _ = image(TAGGERS["quark-gluon"])
    seen = set()
    for seed in range(12):
        torch.manual_seed(seed)
        found = mirror_images(frames, channels)
        turned = {
            (in_eta, in_phi): frames.flip([axis for axis, flipped in ((2, in_eta), (3, in_phi)) if flipped])
            for in_eta in (False, True)
            for in_phi in (False, True)
        }
        (how,) = [key for key, value in turned.items() if torch.equal(found[:, 0], value[:, 0])]
        in_eta, in_phi = how
        assert torch.equal(found[:, 1], turned[how][:, 1] * (-1 if in_phi else 1))
        assert torch.equal(found[:, 2], turned[how][:, 2] * (-1 if in_eta else 1))
        assert torch.equal(found[:, 3:], turned[how][:, 3:])
        seen.add(how)
    assert len(seen) == 4


@pytest.mark.parametrize("name", TAGGERS)
def test_shipped_taggers_read_their_frames_and_have_a_card_with_results(name):
    bundle = Bundle.open(name)
    spec = bundle.manifest.signature.inputs[0]
    channels, size = image(TAGGERS[name])
    assert spec.feature == TAGGERS[name].features[spec.name]
    assert spec.shape[1:] == (len(channels), size, size)
    assert "AUC" in (bundle.path / "CARD.md").read_text()
    assert sum(f.stat().st_size for f in bundle.path.iterdir()) < 1_600_000
    with tamis.open(name) as session:  # opening verifies the golden frames
        assert session.run(np.zeros((1, *spec.shape[1:]), np.float32))["score"].shape == (1,)


FEATURE = """
from dataclasses import replace
from tamis.features import Rows
from tamis.features.frames import EGAMMA_FRAMES

def build(frame):
    rows = EGAMMA_FRAMES.build(frame)
    return Rows(rows.inputs[:, :, 8:24, 8:24], rows.offsets, rows.about)

SMALL_FRAMES = replace(EGAMMA_FRAMES, name="small_frames", build=build)
"""


def test_a_tagger_with_a_feature_of_its_own_can_be_evaluated(files, tmp_path, monkeypatch):
    information = tmp_path / "small_frames-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Name: small-frames\nVersion: 1\n")
    (information / "entry_points.txt").write_text(
        "[tamis.features]\nsmall_frames = small_frames:SMALL_FRAMES\n"
    )
    (tmp_path / "small_frames.py").write_text(FEATURE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_registered", dict(known_networks()))
    tagger = replace(
        find_network("egamma"),
        name="small-egamma",
        features={"image": "small_frames"},
        units={"image": "GeV"},
        build=lambda inputs: SimpleNet(("ECAL",), inputs["image"][np.arange(1)].shape[-1]),
    )
    register(tagger)
    options = TrainingOptions(epochs=1, batch=16, threads=1)
    packed = train("small-egamma", electrons_and_photons(files), tmp_path / "m.tamis", options)
    found = evaluate_bundle(
        packed.bundle, [files["more-photons"]], {"electrons": [files["more-electrons"]]}, seed=1
    )
    assert found.background.jets == found.signals[0].jets > 100
    assert {"score", "jet pT", "width", "-width"} == {figure.variable for figure in found.figures}
