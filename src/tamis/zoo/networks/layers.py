"""Parts that several networks share: standardisation, masks, the Chamfer distance, variance-stabilised energies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

PADDING_OFFSET = (
    1.0e3  # how far padding is moved away from real constituents, in units of the training spread
)
LINEAR_BELOW_GEV = 1.0
MEAN_STEPS = 64  # per scale


class ArrayNet(nn.Module, ABC):
    """A network on arrays, with its preprocessing inside."""

    @abstractmethod
    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the outputs of the exported graph."""

    def set_scales(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Set the constants of the preprocessing from the training rows, if they are not fixed."""

    @abstractmethod
    def losses(self, inputs: tuple[Tensor, ...], target: Tensor) -> dict[str, Tensor]:
        """Return `loss`, which training minimises, and other quantities to log."""


class Standardise(nn.Module):
    """(x - mean) / std with constants from the training data; no parameters."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        """Keep the constants as buffers: they belong to the model and are not trained."""
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x: Tensor) -> Tensor:
        """Standardise."""
        return (x - self.mean) / self.std

    def undo(self, y: Tensor) -> Tensor:
        """Return to physical units."""
        return y * self.std + self.mean


class BinaryStandardise(nn.Module):
    """(x - mean) / scale, where every scale is a power of two and every mean a multiple of scale / 64."""

    mean: Tensor
    inverse_scale: Tensor

    def __init__(self, size: int) -> None:
        """Begin without effect."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("inverse_scale", torch.ones(size))

    def fit(self, values: np.ndarray) -> None:
        """Set the constants to those nearest to mean and standard deviation of the rows."""
        scale = np.exp2(np.round(np.log2(np.maximum(values.std(axis=0, dtype=np.float64), 1e-6))))
        mean = np.round(values.mean(axis=0, dtype=np.float64) / scale * MEAN_STEPS) * scale / MEAN_STEPS
        self.mean.copy_(torch.from_numpy(mean))
        self.inverse_scale.copy_(torch.from_numpy(1.0 / scale))

    def forward(self, x: Tensor) -> Tensor:
        """Standardise."""
        return (x - self.mean) * self.inverse_scale


def constituent_mask(jets: Tensor) -> Tensor:
    """Return 1 for constituents and 0 for padding, which has no transverse momentum."""
    return (jets[:, :, 2] > 0).to(jets.dtype)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the squared distances of all pairs, from differences: the matrix form loses small ones to cancellation."""
    first, *others = (x[:, :, k].unsqueeze(2) - y[:, :, k].unsqueeze(1) for k in range(3))
    total = first * first
    for gap in others:
        total = total + gap * gap
    return total


def chamfer(x: Tensor, y: Tensor, mask: Tensor, std: Tensor) -> Tensor:
    """Return the masked Chamfer distance per constituent, in units of the training spread.

    Both sets are ordered by transverse momentum, so the mask of the input holds for its reconstruction too. Padding
    is moved far away, in opposite directions, before pairs are formed: that costs N instead of N^2 operations.
    """
    away = (PADDING_OFFSET * (1.0 - mask)).unsqueeze(2)
    distances = squared_distances(x / std + away, y / std - away)
    nearest = distances.amin(2) + distances.amin(1)
    return (nearest * mask).sum(1) / mask.sum(1).clamp(min=1.0)


def chamfer_for_training(x: Tensor, y: Tensor, mask: Tensor, std: Tensor) -> Tensor:
    """Return the same as `chamfer`, with its gradient, but faster: neighbours are searched without gradients."""
    a, b = x / std, y / std
    with torch.no_grad():
        distances = torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist")
        missing = PADDING_OFFSET * (1.0 - mask)
        forth = (distances + missing.unsqueeze(1)).argmin(2)
        back = (distances + missing.unsqueeze(2)).argmin(1)
    near_b = torch.gather(b, 1, forth.unsqueeze(2).expand(-1, -1, 3))
    near_a = torch.gather(a, 1, back.unsqueeze(2).expand(-1, -1, 3))
    both = ((a - near_b) ** 2).sum(2) + ((b - near_a) ** 2).sum(2)
    return (both * mask).sum(1) / mask.sum(1).clamp(min=1.0)


def divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return the KL divergence of N(mu, exp(logvar)) from N(0, 1)."""
    return 0.5 * (mu * mu + torch.exp(logvar) - 1.0 - logvar).sum(1)


def stabilise(energy: Tensor) -> Tensor:
    """Return E / sqrt(|E| + 1 GeV): linear for small energies, a root for large ones, so that photon statistics have one width."""
    return energy / torch.sqrt(energy.abs() + LINEAR_BELOW_GEV)


def undo_stabilise(value: Tensor) -> Tensor:
    """Invert `stabilise` for values that are not negative."""
    square = value * value
    return 0.5 * (square + value * torch.sqrt(square + 4.0 * LINEAR_BELOW_GEV))
