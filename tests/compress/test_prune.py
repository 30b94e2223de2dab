"""Pruning: fractions, weights that stay removed, whole neurons."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tamis._base import UsageError
from tamis.compress.export import export_network
from tamis.compress.graph import find_layers
from tamis.compress.network import CompressedNetwork, Widths
from tamis.compress.prune import prune_network
from tamis.compress.training import Schedule


@pytest.fixture
def network(tagger, rows_file):
    return CompressedNetwork(find_layers(tagger.model, "toy"), [np.load(rows_file)["x"]], Widths())


def kept(network):
    return [network.mask(index).bool() for index in range(len(network.weights))]


def test_the_smallest_weights_are_removed_and_stay_removed(network):
    prune_network(network, 0.5)
    first = kept(network)
    assert sum(mask.sum() for mask in first) == pytest.approx(4256 / 2, abs=1)
    for index, (weight, mask) in enumerate(zip(network.weights, first, strict=True)):
        size = (weight * getattr(network, f"scale_{index}")).abs()  # for inputs that are scaled to -1 to 1
        assert size[mask].min() >= size[~mask].max()
    with torch.no_grad():
        for weight in network.weights:
            weight.copy_(torch.rand_like(weight))  # removed weights may grow unseen
    prune_network(network, 0.7)
    second = kept(network)
    assert sum(mask.sum() for mask in second) == pytest.approx(4256 * 0.3, abs=1)
    assert all((after <= before).all() for before, after in zip(first, second, strict=True))


def test_removed_weights_are_zero_in_the_graph(network, rows_file):
    prune_network(network, 0.7)
    network.enable([np.load(rows_file)["x"]])
    weights = {layer.weight for layer in network.found.layers}
    values = [
        np.frombuffer(one.raw_data, np.float32)
        for one in export_network(network).graph.initializer
        if one.name in weights
    ]
    assert sum((value != 0).sum() for value in values) <= 4256 * 0.3 + 1
    assert not any(np.signbit(value[value == 0]).any() for value in values)


def test_whole_neurons_are_removed_with_their_biases(network):
    prune_network(network, 0.5, structured=True)
    masks = kept(network)
    removed = [~mask.any(1) for mask in masks]
    assert sum(int(rows.sum()) for rows in removed) == pytest.approx(64, abs=1)  # of 64 + 32 + 32
    assert not removed[3].any()  # the outputs stay
    for index, rows in enumerate(removed):
        assert (network.bias(index)[rows] == 0).all()
        assert masks[index][~rows].all()


def test_a_single_layer_has_no_neurons_to_remove(parse_model):
    model = parse_model("m (float[N, 4] x) => (float[N, 2] y) { y = MatMul (x, w) }", w=(4, 2))
    network = CompressedNetwork(find_layers(model, "m"), [np.ones((9, 4), np.float32)], Widths())
    with pytest.raises(UsageError, match="has only one layer"):
        prune_network(network, 0.5, structured=True)


def test_most_weights_are_removed_early():
    schedule = Schedule(epochs=20, prune=0.7)
    fractions = [schedule.pruned(epoch) for epoch in range(1, schedule.pruning_epochs + 1)]
    assert len(fractions) == 8
    assert fractions[-1] == 0.7
    steps = np.diff([0, *fractions])
    assert (np.diff(steps) < 0).all()
