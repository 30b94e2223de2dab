"""Classifiers on the command line: trained on one file per class, evaluated on samples with rates."""

from __future__ import annotations

import json

import pytest

import tamis


@pytest.fixture
def classes(lepton_file):
    files = [lepton_file(name, 40, seed) for seed, name in enumerate(("qcd", "w", "ttbar"))]
    return [part for file in files for part in ("--class", f"{file.stem}={file}")]


@pytest.fixture
def bundle(call, classes, tmp_path):
    code, out, err = call(
        "train", "topology-hlf", *classes, "-o", tmp_path / "m.tamis", "--epochs", "2", "--threads", "1"
    )
    assert code == 0, err
    assert "32 qcd, 32 w, 32 ttbar events, best epoch" in out
    assert "epoch 2: training loss" in err
    return tmp_path / "m.tamis"


def test_a_classifier_is_trained_and_evaluated(call, bundle, lepton_file, tmp_path):
    files = {
        name: lepton_file(f"test-{name}", 50, seed) for seed, name in enumerate(("qcd", "w", "ttbar"), 5)
    }
    extra = lepton_file("fakes", 30, 9)
    samples = [f"qcd={files['qcd']}@3", f"qcd={extra}@1.5", f"w={files['w']}@8", f"ttbar={files['ttbar']}"]
    options = [part for entry in samples for part in ("--class", entry)]
    code, out, err = call("evaluate", bundle, *options, "-o", tmp_path / "out", "--into-bundle", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [s["rate"] for s in found["samples"]] == [3.0, 1.5, 8.0, 1.0]
    assert found == json.loads((tmp_path / "out" / "selection-topology-hlf.json").read_text())
    assert (tmp_path / "out" / "selectors-topology-hlf.png").stat().st_size > 10_000
    card = tamis.Bundle.open(bundle).text("CARD.md")
    assert card == (tmp_path / "out" / "CARD-topology-hlf.md").read_text()
    assert "the score: 1 - p(qcd)" in card
    assert "| qcd | fakes.parquet | 30 | " in card
    assert "names of training files" not in card
    for selector in found["selectors"]:
        line = f"| {selector['auc']['value']:.4f} ± {selector['auc']['error']:.4f} |"
        assert line in card
    variables = {(s["variable"], s["signal"]) for s in found["selectors"]}
    assert {("p(qcd)", "qcd"), ("score", "ttbar"), ("-lepton isolation", "w"), ("MT", "w")} <= variables


def test_the_card_lists_files_that_were_used_in_training(call, bundle, classes, tmp_path):
    code, out, err = call("evaluate", bundle, *classes, "-o", tmp_path / "out")
    assert code == 0, err
    assert "at 99 % of the signal" in out
    card = (tmp_path / "out" / "CARD-topology-hlf.md").read_text()
    assert "names of training files: qcd.parquet, ttbar.parquet, w.parquet" in card


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--class", "qcd"], 2, "--class takes NAME=FILE, not 'qcd'"),
        (["--class", "qcd=a.root@x"], 2, "the rate of a.root is 'x'"),
        (["--class", "qcd=a.root@0"], 2, "the rate of qcd is 0"),
        (["--class", "tt=a.root"], 2, "has no class 'tt'; it has qcd, w, ttbar"),
        (["--class", "qcd=a.root"], 2, "the class w has no sample"),
        (["--class", "qcd=a.root", "--signal", "b.root"], 2, "--class cannot be combined"),
        ([], 2, "a detector takes --background and --signal, a classifier --class"),
    ],
)
def test_wrong_options_are_reported(call, bundle, tmp_path, options, code, message):
    found, _, err = call("evaluate", bundle, *options, "-o", tmp_path / "out")
    assert found == code
    assert message in err


def test_a_classifier_scores_files_and_is_verified_on_them(call, bundle, lepton_file, tmp_path):
    file = lepton_file("some", 20, 3)
    code, out, err = call("score", bundle, file, "-o", tmp_path / "s.parquet", "--json")
    assert code == 0, err
    scored = json.loads(out)
    assert scored["events"] == 20
    assert scored["rows"] + scored["events_without_rows"] == 20
    code, out, err = call("verify", bundle, "--engine", "onnxruntime", "--events", file)
    assert code == 0, err
    assert f"on {scored['rows']} events" in " ".join(out.split())
    code, _, err = call("evaluate", bundle, "--background", file, "--signal", file, "-o", tmp_path / "out")
    assert code == 2
    assert "does not score jets" in err
    assert "--class NAME=FILE" in err


def test_files_and_classes_exclude_each_other(call, tmp_path):
    code, _, err = call(
        "train", "topology-gru", "a.root", "--class", "qcd=b.root", "-o", tmp_path / "m.tamis"
    )
    assert code == 2
    assert "exclude each other" in err
    signal = ("--class", "background=a.root", "--signal", "b.root")
    code, _, err = call("train", "egamma", *signal, "-o", tmp_path / "m.tamis")
    assert code == 2
    assert "--signal and --class exclude each other" in err
    code, _, err = call("train", "conv-vae", "-o", tmp_path / "m.tamis")
    assert code == 2
    assert "FILES" in err
