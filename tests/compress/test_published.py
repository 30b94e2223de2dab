"""The published claims (arXiv:1804.06913): 70 % of the weights of the tagger are gone at equal accuracy; 16 bits lose nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tamis
from tamis.compress import CompressOptions, compress
from tamis.compress.data import CompressionRows
from tamis.compress.graph import find_layers
from tamis.compress.network import CompressedNetwork, Widths
from tamis.compress.training import run_network, start_quantising

pytestmark = pytest.mark.slow

SEEDS = (1, 2, 3)
EQUAL = 0.006  # accuracy, below which models count as equal
ROWS, TEST_ROWS = 40_000, 40_000


def interval(values):
    """Return the 95 % interval of a mean by Student's t with two degrees of freedom."""
    half = 4.303 * np.std(values, ddof=1) / math.sqrt(len(values))
    return np.mean(values) - half, np.mean(values) + half


@pytest.fixture(scope="module")
def parents(taggers_of, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parents")
    return {
        seed: taggers_of(folder / f"parent-{seed}.tamis", rows=ROWS, epochs=12, seed=seed) for seed in SEEDS
    }


@pytest.mark.nightly
def test_70_percent_of_the_weights_are_gone_at_equal_accuracy(parents, rows_of, tmp_path):
    x, label = rows_of(ROWS, 900)
    np.savez(tmp_path / "train.npz", x=x, label=label)
    test, truth = rows_of(TEST_ROWS, 901)
    lost = []
    for seed, parent in parents.items():
        found = {}
        for prune in (0.0, 0.7):  # the same retraining with all weights, so that pruning is all that differs
            options = CompressOptions(weights=8, activations=8, inputs=8, prune=prune, epochs=12, seed=seed)
            made = compress(
                parent, tmp_path / f"{seed}-{prune}.tamis", [str(tmp_path / "train.npz")], options
            )
            found[prune] = bundle_accuracy(made.bundle, test, truth)
        assert sum(cost.weights_kept for cost in made.costs) <= 0.3 * 4256 + 1
        assert bundle_accuracy(parent, test, truth) - found[0.7] < EQUAL
        lost.append(found[0.0] - found[0.7])
    low, high = interval(lost)
    print(
        f"accuracy lost by pruning: {np.mean(lost):.4f} ({low:.4f} to {high:.4f}), by seed {np.round(lost, 4)}"
    )
    assert high < EQUAL


def bundle_accuracy(bundle, x, label):
    with tamis.open(bundle, "onnxruntime") as session:
        return float((session.run(x=x)["probabilities"].argmax(1) == label).mean())


def test_16_bits_lose_nothing_without_training(parents, rows_of):
    test, truth = rows_of(TEST_ROWS, 902)
    rows = CompressionRows({"x": rows_of(4000, 903)[0]}, None, np.arange(4000), ())
    lost, flips = [], []
    for parent in parents.values():
        network = CompressedNetwork(find_layers(parent.model, "toy"), [rows.inputs["x"]], Widths(16, 16, 16))
        before = run_network(network, {"x": test})["probabilities"].argmax(1)
        start_quantising(network, rows)
        after = run_network(network, {"x": test})["probabilities"].argmax(1)
        lost.append(float((before == truth).mean() - (after == truth).mean()))
        flips.append(float((before != after).mean()))
    low, high = interval(lost)
    print(
        f"accuracy lost with 16 bits: {np.mean(lost):.5f} ({low:.5f} to {high:.5f}); other class in {max(flips):.5f} of the rows"
    )
    assert abs(np.mean(lost)) < 0.0005
    assert max(flips) < 0.002
