"""Taggers on a toy: electrons that the field has spread in phi, photons that it has not."""

from __future__ import annotations

import json

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
from tamis.zoo import TAGGERS, Reading, train
from tamis.zoo.data.stores import SparseRows, joined, take
from tamis.zoo.data.truth_frames import load_kind, same_spectrum
from tamis.zoo.networks.simple_net import SimpleNet, mirrored
from tamis.zoo.training.classified import Classified, export_classified

CRYSTAL = 2 * np.pi / 360


def toy(count: int, kind: int, spread: int, seed: int) -> Events:
    """Return one particle per event, in `spread` crystals beside each other in phi."""
    rng = np.random.default_rng(seed)
    pt = rng.uniform(25, 60, count)
    row, column = rng.integers(-60, 60, count), rng.integers(0, 360, count)
    columns = (column[:, None] + np.arange(spread)) % 360
    share = np.array([0.6, *[0.4 / max(1, spread - 1)] * (spread - 1)]) if spread > 1 else np.ones(1)
    phi = (columns + 0.5) * CRYSTAL - np.pi
    eta = (row + 0.5) * CRYSTAL
    one = np.ones((count, 1))
    return Events.of(
        {
            "run": np.full(count, 1),
            "luminosityBlock": np.full(count, 1),
            "event": np.arange(count),
            "EcalCell_et": ak.from_regular((pt[:, None] * share).astype("f4")),
            "EcalCell_eta": ak.from_regular((eta[:, None] * np.ones(spread)).astype("f4")),
            "EcalCell_phi": ak.from_regular(phi.astype("f4")),
            "GenPart_pdgId": ak.from_regular((one * kind).astype("i4")),
            "GenPart_status": ak.from_regular(one.astype("i4")),
            "GenPart_statusFlags": ak.from_regular((one * 128).astype("i4")),
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


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory):
    target = tmp_path_factory.mktemp("trained") / "egamma.tamis"
    return train("egamma", [files["photons"]], target, signal=[files["electrons"]], epochs=4, batch=16)


def test_a_trained_tagger_tells_what_it_learnt_and_says_how_it_reads_events(trained, files):
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


def test_an_evaluation_brings_both_kinds_to_one_spectrum(trained, files):
    found = evaluate_bundle(
        trained.bundle, [files["more-photons"]], {"electrons": [files["more-electrons"]]}, seed=1
    )
    auc = {figure.variable: figure.auc.value for figure in found.figures}
    assert auc["score"] > 0.95
    assert auc["jet pT"] == pytest.approx(0.5, abs=0.1)
    assert found.background.jets == found.signals[0].jets > 100
    with pytest.raises(UsageError, match="one signal at a time"):
        evaluate_bundle(trained.bundle, [files["photons"]], {"a": [files["electrons"]], "b": ["x"]})


def test_a_killed_training_goes_on_to_the_same_weights(trained, files, tmp_path):
    def stop(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    call = {"signal": [files["electrons"]], "epochs": 4, "batch": 16}
    with pytest.raises(KeyboardInterrupt):
        train("egamma", [files["photons"]], tmp_path / "egamma.tamis", after_epoch=stop, **call)
    metrics = json.loads((tmp_path / "egamma.tamis.training" / "metrics.json").read_text())
    assert len(metrics) == 2
    resumed = train("egamma", [files["photons"]], tmp_path / "egamma.tamis", resume=True, **call)
    assert resumed.bundle.model_bytes == trained.bundle.model_bytes
    with pytest.raises(UsageError, match="was made with batch = 16, this run has 8"):
        train(
            "egamma",
            [files["photons"]],
            tmp_path / "egamma.tamis",
            resume=True,
            **{**call, "batch": 8},
        )


@pytest.mark.parametrize(
    ("model", "background", "signal", "told"),
    [
        ("egama", "photons", "electrons", "no reference model is called 'egama'; did you mean 'egamma'"),
        ("egamma", "photons", None, "name the signal's files with --signal"),
        ("conv-vae", "photons", "electrons", "learns from background alone"),
    ],
)
def test_a_wrong_call_is_told(model, background, signal, told, files, tmp_path):
    with pytest.raises(UsageError, match=told):
        train(model, [files[background]], tmp_path / "x.tamis", signal=[files[signal]] if signal else [])


def test_files_of_the_wrong_kind_and_too_few_frames_are_told(files, tmp_path):
    with pytest.raises(DataError, match=r"no signal of egamma in .*photons.parquet"):
        train("egamma", [files["photons"]], tmp_path / "x.tamis", signal=[files["more-photons"]])
    few = written(tmp_path / "few.parquet", toy(5, 11, 4, 9))
    with pytest.raises(UsageError, match="5 signal and 150 background frames"):
        train("egamma", [files["photons"]], tmp_path / "x.tamis", signal=[few])


def test_a_seed_near_both_kinds_is_neither(tmp_path):
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
            load_kind(TAGGERS["egamma"], [path], kind, Reading())


@pytest.mark.parametrize("name", TAGGERS)
def test_the_exported_graph_is_the_network_and_stays_finite(name):
    tagger = TAGGERS[name]
    torch.manual_seed(1)
    net = SimpleNet(tagger.channels, tagger.size)
    rng = np.random.default_rng(1)
    frames = rng.exponential(1.0, (3, len(tagger.channels), tagger.size, tagger.size)).astype(np.float32)
    frames[1] = 0
    frames[2] = 1e6
    if len(tagger.channels) > 1:
        frames[:, 1:3] *= -1
    found = Reference(onnx.load_model_from_string(export_classified(net, {"frames": frames})))(
        {"frames": frames}
    )
    assert list(found) == ["score"]
    with torch.no_grad():
        (expected,) = Classified(net).double().eval()(torch.from_numpy(frames).double())
    np.testing.assert_allclose(found["score"], expected.numpy(), rtol=1e-5, atol=1e-9)
    assert np.isfinite(found["score"]).all()


def test_sparse_rows_are_the_rows():
    rng = np.random.default_rng(1)
    frames = rng.normal(size=(7, 2, 4, 4)).astype(np.float32) * (rng.random((7, 2, 4, 4)) < 0.3)
    sparse = joined([SparseRows.of(part) for part in (frames[:3], frames[3:3], frames[3:])])
    rows = np.array([6, 0, 0, 3])
    np.testing.assert_array_equal(sparse[rows], frames[rows])
    np.testing.assert_array_equal(joined([sparse, sparse])[rows + 7], frames[rows])
    np.testing.assert_array_equal(take(sparse, rows)[np.arange(4)], frames[rows])
    assert take(sparse, rows).tobytes() != take(sparse, rows[::-1]).tobytes()


def test_both_kinds_get_one_spectrum():
    rng = np.random.default_rng(1)
    soft, hard = rng.exponential(30, 3000), 20 + rng.exponential(60, 1000)
    first, second = same_spectrum(soft, hard, 5)
    assert len(first) == len(second) > 500
    assert np.mean(soft[first]) == pytest.approx(np.mean(hard[second]), rel=0.1)
    again, _ = same_spectrum(soft, hard, 5)
    assert again.tolist() == first.tolist()


def test_a_mirrored_frame_has_its_impact_parameters_turned_with_it():
    frames = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 5, 4, 4)).astype(np.float32))
    channels = TAGGERS["quark-gluon"].channels
    seen = set()
    for seed in range(12):
        torch.manual_seed(seed)
        found = mirrored(frames, channels)
        turned = {
            (in_eta, in_phi): frames.flip([axis for axis, is_so in ((2, in_eta), (3, in_phi)) if is_so])
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
def test_the_shipped_tagger_reads_its_frames_and_says_what_it_can_do(name):
    bundle = Bundle.open(name)
    spec = bundle.manifest.signature.inputs[0]
    tagger = TAGGERS[name]
    assert spec.feature == tagger.features[spec.name]
    assert spec.shape[1:] == (len(tagger.channels), tagger.size, tagger.size)
    assert "AUC" in (bundle.path / "CARD.md").read_text()
    assert sum(f.stat().st_size for f in bundle.path.iterdir()) < 1_600_000
    with tamis.open(name) as session:  # the gate: golden frames
        assert session.run(np.zeros((1, *spec.shape[1:]), np.float32))["score"].shape == (1,)
