"""Samples of arrays and their models, on the command line."""

from __future__ import annotations

import json

import pytest

from tamis.bundle import Bundle


def test_a_model_of_arrays_is_trained_and_evaluated(call, tmp_path):
    pytest.importorskip("matplotlib")
    train, test, bundle, report = (tmp_path / name for name in ("train.h5", "test.h5", "m.tamis", "report"))
    for path, seed in ((train, 1), (test, 2)):
        code, out, err = call("simulate", "hcal-channels", "-n", 3000, "--seed", seed, "-o", path, "--json")
        assert code == 0, err
        assert json.loads(out)["arrays"] == {
            "channels": [15],
            "energy": [],
            "method_0": [],
            "template_fit": [],
        }
    code, out, err = call("train", "facile", train, "-o", bundle, "--epochs", 1, "--threads", 1)
    assert code == 0, err
    assert "2700 channels, best epoch 1" in out
    code, out, err = call("evaluate", bundle, "--sample", test, "-o", report, "--into-bundle")
    assert code == 0, err
    assert "method_0" in out
    assert (report / "m.png").is_file() or (report / "facile.png").is_file()
    card = Bundle.open(bundle).text("CARD.md")
    assert "## Where a baseline is better" in card
    assert "names of training files" not in card
    code, out, err = call("evaluate", bundle, "--sample", train, "-o", report, "--json")
    assert json.loads(out)["rows"] == 3000
    assert "names of training files: train.h5" in (report / "CARD-facile.md").read_text()


@pytest.mark.parametrize(("option", "value"), [("--mu", 20), ("--pt-hat", 100), ("--low-level", None)])
def test_options_for_collisions_are_rejected_for_array_samples(call, tmp_path, option, value):
    arguments = (option,) if value is None else (option, value)
    code, _, err = call("simulate", "hcal-channels", "-n", 10, *arguments, "-o", tmp_path / "x.h5")
    assert code == 2
    assert f"{option} applies to collisions" in err
    assert not list(tmp_path.iterdir())


def test_an_array_sample_is_written_to_hdf5_only(call, tmp_path):
    code, _, err = call("simulate", "hcal-channels", "-n", 10, "-o", tmp_path / "x.root")
    assert code == 2
    assert "name the file x.h5" in err


def test_a_folder_collects_samples_of_several_seeds(call, tmp_path):
    folder = tmp_path / "channels"
    for seed in (1, 2):
        code, out, err = call("simulate", "hcal-channels", "-n", 300, "--seed", seed, "-o", f"{folder}/")
        assert code == 0, err
        assert f"{folder}/hcal-channels-{seed}.h5: 300 channels" in out
    code, out, err = call(
        "train", "facile", f"{folder}/", "-o", tmp_path / "m.tamis", "--epochs", 1, "--json"
    )
    assert code == 0, err
    training = json.loads(out)["training"]
    assert training["training_rows"] + training["validation_rows"] == 600
    assert training["files"] == ["hcal-channels-1.h5", "hcal-channels-2.h5"]
    code, out, err = call(
        "evaluate", tmp_path / "m.tamis", "--sample", folder, "-o", tmp_path / "r", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["files"] == training["files"]


def test_an_untrained_network_takes_no_files(call, tmp_path):
    code, _, err = call("train", "resnet50", "some.root", "-o", tmp_path / "x.tamis")
    assert code == 2
    assert "omit the files" in err


def test_a_sample_and_a_background_exclude_each_other(call, tmp_path):
    code, _, err = call("evaluate", "facile", "--sample", "x.h5", "--background", "y.root", "-o", tmp_path)
    assert code == 2
    assert "--sample cannot be combined" in err
