"""From a bundle and rows to a cheaper bundle: reproducible results, and errors that write nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import tamis
from tamis._base import DataError, TargetNotMetError, UsageError
from tamis.bundle import Bundle
from tamis.compress import CompressOptions, compress
from tamis.measure import verify


def run(tagger, rows_file, path, **options):
    options = {"epochs": 4, "batch": 256, "seed": 2} | options
    return compress(tagger, path, [str(rows_file)], CompressOptions(**options))


@pytest.fixture(scope="module")
def pruned(tagger, rows_file, tmp_path_factory):
    target = tmp_path_factory.mktemp("pruned") / "small.tamis"
    return run(tagger, rows_file, target, epochs=6, prune=0.7, target="accuracy > parent - 5%")


def test_a_pruned_8_bit_bundle_is_verified_and_knows_its_parent(tagger, pruned):
    bundle = pruned.bundle
    assert bundle.manifest.parent.name == "toy"
    assert bundle.manifest.parent.model_sha256 == tagger.manifest.files["model.onnx"].sha256
    assert [point.name for point in bundle.manifest.working_points] == ["background-0.1", "background-0.01"]
    assert sum(cost.weights_kept for cost in pruned.costs) <= 0.3 * 4256 + 1
    for engine in ("onnxruntime", "native", "torch", "reference"):
        assert verify(bundle, engine).passed
    with tamis.open(bundle) as session:
        assert session.verified


def test_its_figures_are_those_of_the_bundle_on_rows_that_were_held_out(pruned, tagger, rows_file):
    facts = pruned.bundle.manifest.training["compression"]
    assert facts == json.loads(pruned.bundle.text("compression.json"))
    assert facts["test_rows"] == 450
    x = np.load(rows_file)["x"]
    with tamis.open(pruned.bundle, "onnxruntime") as small, tamis.open(tagger, "onnxruntime") as large:
        same = small.run(x=x)["probabilities"].argmax(1) == large.run(x=x)["probabilities"].argmax(1)
    figure = facts["figures"]["agreement"]
    assert figure["low"] - 0.03 < same.mean() < figure["high"] + 0.03
    assert figure["low"] < figure["value"] < figure["high"]


def test_its_card_shows_decisions_and_costs_next_to_the_parent(pruned):
    card = pruned.bundle.card
    for text in (
        "flips(background-0.01)",
        "| auc | 0.",
        "## Cost of one event",
        "Where it loses",
        "multiplications",
        "prune 0.7",
    ):
        assert text in card
    kept = sum(cost.weights_kept for cost in pruned.costs)
    assert f"| all | {kept} of 4256 |" in card


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(tagger, rows_file, tmp_path):
    names = {"a": 3, "b": 3, "c": 4}
    made = {
        name: run(tagger, rows_file, tmp_path / f"{name}.tamis", epochs=2, seed=seed).bundle
        for name, seed in names.items()
    }
    sums = {name: bundle.manifest.files["model.onnx"].sha256 for name, bundle in made.items()}
    assert sums["a"] == sums["b"] != sums["c"]


KILLED = """
import os, signal, sys
import torch
from tamis.compress import CompressOptions, compress

torch.set_num_threads(1)


def stop(row):
    if row["epoch"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)


parent, rows, target = sys.argv[1:]
options = CompressOptions(epochs=5, batch=256, seed=2, prune=0.5, cost="ebops", target="accuracy > parent - 5%")
compress(parent, target, [rows], options, after_epoch=stop)
"""


def test_a_killed_run_ends_with_the_same_bits(tagger, rows_file, tmp_path):
    options = {"epochs": 5, "prune": 0.5, "cost": "ebops", "target": "accuracy > parent - 5%"}
    whole = run(tagger, rows_file, tmp_path / "whole.tamis", **options)
    target = tmp_path / "killed.tamis"
    finished = subprocess.run(
        [sys.executable, "-c", KILLED, str(tagger.path), str(rows_file), str(target)],
        check=False,
        env=os.environ,
    )
    assert finished.returncode == -signal.SIGKILL
    assert not target.exists()
    resumed = run(tagger, rows_file, target, resume=True, **options)
    files = [made.bundle.manifest.files for made in (whole, resumed)]
    assert files[0]["model.onnx"].sha256 == files[1]["model.onnx"].sha256
    with pytest.raises(UsageError, match=r"made with widths.weights = 9, this run has 6"):
        run(tagger, rows_file, target, resume=True, **options, weights=6)


@pytest.mark.slow
def test_trained_widths_cost_less(tagger, rows_file, tmp_path):
    fixed = run(tagger, rows_file, tmp_path / "fixed.tamis", epochs=0)
    trained = run(
        tagger,
        rows_file,
        tmp_path / "trained.tamis",
        epochs=12,
        batch=64,
        per="weight",
        cost="ebops",
        target="accuracy > parent - 5%",
    )
    assert sum(cost.ebops for cost in trained.costs) < 0.7 * sum(cost.ebops for cost in fixed.costs)
    assert verify(trained.bundle, "native").passed


def test_fewer_multiplications_as_far_as_the_target_allows(tagger, rows_file, tmp_path):
    made = run(
        tagger, rows_file, tmp_path / "macs.tamis", epochs=8, cost="macs", target="accuracy > parent - 5%"
    )
    assert sum(cost.macs for cost in made.costs) < 0.7 * made.macs_of_parent


def test_whole_neurons_are_removed(tagger, rows_file, tmp_path):
    made = run(tagger, rows_file, tmp_path / "neurons.tamis", prune=0.4, structured=True)
    assert verify(made.bundle, "onnxruntime").passed
    assert sum(cost.weights_kept for cost in made.costs) < 0.75 * 4256
    graph = made.bundle.model.graph
    dims = {one.name: tuple(one.dims) for one in graph.initializer}
    shapes = [dims[node.input[1]] for node in graph.node if node.op_type == "Gemm"]
    sizes = [inner for _, inner in shapes]
    assert sizes[0] == 16
    assert sum(sizes[1:]) == pytest.approx(0.6 * 128, abs=1)
    assert [outer for outer, _ in shapes] == [*sizes[1:], 5]
    assert made.bundle.manifest.cost.flops < 0.7 * tagger.manifest.cost.flops


def test_a_target_that_cannot_be_met_names_the_nearest_model(tagger, rows_file, tmp_path):
    with pytest.raises(
        TargetNotMetError, match=r"nearest has flips\(background-0.1\) \d.* after epoch \d of 2"
    ):
        run(
            tagger,
            rows_file,
            tmp_path / "no.tamis",
            epochs=2,
            weights=3,
            activations=3,
            inputs=3,
            target="flips(background-0.1) < 0.01%",
        )
    assert not (tmp_path / "no.tamis").exists()


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"target": "flips(loose) < 1%"},
            UsageError,
            r"'flips\(loose\)', which is not measured; known: flips\(background-0.1\)",
        ),
        ({"label": "truth"}, DataError, "has no array 'truth' of labels"),
        ({"weights": 1}, UsageError, "weights have 1 bits; expected 2 to 16"),
        ({"prune": 1.0}, UsageError, "less than 1, such as 0.7"),
        ({"per": "weight"}, UsageError, "give --cost ebops or lut as well"),
        ({"structured": True}, UsageError, "give --prune"),
    ],
)
def test_wrong_options_are_reported_before_the_training(tagger, rows_file, tmp_path, options, kind, message):
    with pytest.raises(kind, match=message):
        run(tagger, rows_file, tmp_path / "no.tamis", **options)
    assert not (tmp_path / "no.tamis.training").exists()


def test_models_without_a_softmax_imitate_their_outputs(bundle_of, tmp_path):
    parent = bundle_of("dense")
    rows = np.random.default_rng(0).normal(size=(600, 12)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=rows)
    made = compress(
        parent, tmp_path / "d.tamis", [str(tmp_path / "x.npz")], CompressOptions(epochs=2, batch=64)
    )
    assert made.figures["error"].value < 0.2
    assert Bundle.open(made.bundle.path).manifest.score == parent.manifest.score
