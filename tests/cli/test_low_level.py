"""Taggers on low-level events, on the command line."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    pytest.importorskip("pythia8mc")
    from tamis.cli.app import _run

    folder = tmp_path_factory.mktemp("low-level")
    for process, n in (("photon-jet", 70), ("z-ee", 60)):
        path = str(folder / f"{process}.root")
        assert _run(["simulate", process, "-n", str(n), "--seed", "1", "--low-level", "-o", path]) == 0
    return folder


def test_a_tagger_is_trained_and_evaluated(call, files, tmp_path):
    background, signal, bundle = files / "photon-jet.root", files / "z-ee.root", tmp_path / "mine.tamis"
    code, out, err = call(
        "train", "egamma", background, "--signal", signal, "-o", bundle, "--epochs", 1, "--batch", 16
    )
    assert code == 0, err
    assert "frames, best epoch 1" in out
    assert "epoch 1: training loss" in err
    code, out, err = call(
        *("evaluate", bundle, "--background", background, "--signal", f"electrons={signal}"),
        *("-o", tmp_path / "report", "--into-bundle", "--json"),
    )
    assert code == 0, err
    evaluation = json.loads(out)
    assert {figure["variable"] for figure in evaluation["figures"]} == {"score", "jet pT", "width", "-width"}
    card = (bundle / "CARD.md").read_text()
    assert "have the names of training files: photon-jet.root, z-ee.root" in card
    assert "the probability of the signal" in card
    assert "unsupervised" not in card
    assert "lack the columns" not in card


def test_training_a_tagger_without_signal_is_rejected_with_advice(call, files, tmp_path):
    code, _, err = call("train", "egamma", files / "photon-jet.root", "-o", tmp_path / "x.tamis")
    assert code == 2
    assert "name the signal's files with --signal FILE" in err


def test_training_on_events_without_low_level_columns_is_rejected(call, tmp_path):
    pytest.importorskip("pythia8mc")
    path = tmp_path / "plain.root"
    assert call("simulate", "qcd", "-n", 3, "-o", path)[0] == 0
    code, _, err = call("train", "quark-gluon", path, "--signal", path, "-o", tmp_path / "x.tamis")
    assert code != 0
    assert "Track_pt" in err or "EcalCell" in err or "PixelHit" in err
