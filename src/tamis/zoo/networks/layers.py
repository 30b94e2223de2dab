"""Building blocks that both detectors share: the fixed standardisation, masks and the Chamfer distance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FAR = 1.0e3  # how far padding is moved away from everything, in units of the training spread


class Standardise(nn.Module):
    """(x - mean) / std with numbers fixed from the training data; no parameters."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        """Keep the numbers as buffers: they belong to the model and are not trained."""
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x: Tensor) -> Tensor:
        """Standardise."""
        return (x - self.mean) / self.std

    def undo(self, y: Tensor) -> Tensor:
        """Return to the physical units."""
        return y * self.std + self.mean


def constituent_mask(jets: Tensor) -> Tensor:
    """Return 1 where a constituent is, 0 in the padding: real ones have a transverse momentum."""
    return (jets[:, :, 2] > 0).to(jets.dtype)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return all pairs' squared distances in difference form: the matrix form loses the small ones to cancellation."""
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
    away = (FAR * (1.0 - mask)).unsqueeze(2)
    distances = squared_distances(x / std + away, y / std - away)
    nearest = distances.amin(2) + distances.amin(1)
    return (nearest * mask).sum(1) / mask.sum(1).clamp(min=1.0)


def chamfer_for_training(x: Tensor, y: Tensor, mask: Tensor, std: Tensor) -> Tensor:
    """Return the same value and gradient: neighbours are found without gradients, only the pairs are differentiated."""
    a, b = x / std, y / std
    with torch.no_grad():
        distances = torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist")
        missing = FAR * (1.0 - mask)
        forth = (distances + missing.unsqueeze(1)).argmin(2)
        back = (distances + missing.unsqueeze(2)).argmin(1)
    near_b = torch.gather(b, 1, forth.unsqueeze(2).expand(-1, -1, 3))
    near_a = torch.gather(a, 1, back.unsqueeze(2).expand(-1, -1, 3))
    both = ((a - near_b) ** 2).sum(2) + ((b - near_a) ** 2).sum(2)
    return (both * mask).sum(1) / mask.sum(1).clamp(min=1.0)


def divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return the KL divergence of N(mu, exp(logvar)) from N(0, 1)."""
    return 0.5 * (mu * mu + torch.exp(logvar) - 1.0 - logvar).sum(1)
