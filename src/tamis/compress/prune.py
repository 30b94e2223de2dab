"""Pruning by magnitude: single weights, or whole neurons and channels."""

from __future__ import annotations

import torch
from torch import Tensor

from tamis._base import UsageError
from tamis.compress.network import CompressedNetwork


@torch.no_grad()
def prune_network(network: CompressedNetwork, fraction: float, *, structured: bool = False) -> None:
    """Remove the smallest weights (or outputs of hidden layers) of all layers together, each relative to its layer's mean.

    What was removed before stays removed.
    """
    if fraction <= 0:
        return
    if structured:
        _prune_outputs(network, fraction)
        return
    sizes = [network.masked(index).abs() for index in range(len(network.weights))]
    relative = [size / size[size > 0].mean().clamp(min=1e-30) if (size > 0).any() else size for size in sizes]
    limit = _limit(torch.cat([size.flatten() for size in relative]), fraction)
    for index, size in enumerate(relative):
        network.mask(index).copy_((size > limit).float())


def _prune_outputs(network: CompressedNetwork, fraction: float) -> None:
    """Remove outputs of hidden layers: their weights and biases, so that they are zero."""
    hidden = [index for index, layer in enumerate(network.found.layers) if layer.hidden]
    if not hidden:
        raise UsageError(
            "structured pruning removes neurons between layers, and this model has only one layer: prune single weights"
        )
    sizes = {}
    for index in hidden:
        axis = network.found.layers[index].outputs_axis
        weight = network.masked(index)
        norms = weight.square().sum([a for a in range(weight.ndim) if a != axis]).sqrt()
        alive = norms > 0
        sizes[index] = norms / norms[alive].mean().clamp(min=1e-30) if alive.any() else norms
    limit = _limit(torch.cat(list(sizes.values())), fraction)
    for index, size in sizes.items():
        layer = network.found.layers[index]
        kept = size > min(float(limit), float(size.max()) * 0.999)  # at least one stays
        shape = [-1 if axis == layer.outputs_axis else 1 for axis in range(layer.rank)]
        network.mask(index).mul_(kept.float().reshape(shape))
        network.bias_mask(index).mul_(kept.float())


def _limit(sizes: Tensor, fraction: float) -> Tensor:
    """Return the size that the fraction is not above."""
    count = min(len(sizes) - 1, max(1, round(fraction * len(sizes))))
    return sizes.kthvalue(count).values
