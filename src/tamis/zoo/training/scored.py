"""The graph that is shipped: raw jets in, scores out."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from tamis.zoo.networks.layers import Standardise, chamfer, constituent_mask
from tamis.zoo.training.export import export_graph


class Autoencoder(Protocol):
    """What both detectors have in common."""

    standardise: Standardise

    def encode(self, jets: Tensor) -> Tensor:
        """Return the mean of z."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """Return the reconstruction."""
        ...


class Scored(nn.Module):
    """Reconstruction (Chamfer), regularisation (sum of mu^2) and their total: the anomaly score."""

    OUTPUTS = ("score", "reconstruction", "mu2")

    def __init__(self, model: nn.Module, beta: float) -> None:
        """Take over the parts, so that parameters are named after them (`encoder.`, `decoder.`)."""
        super().__init__()
        for name, part in model.named_children():
            if name != "z_logvar":
                self.add_module(name, part)
        self._whole = (model,)  # a tuple hides it from the module tree
        self.beta = beta

    def forward(self, jets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score jets."""
        model: Autoencoder = self._whole[0]  # type: ignore[assignment] # a module with these methods
        z = model.encode(jets)
        mu2 = (z * z).sum(1)
        reconstruction = chamfer(jets, model.decode(z), constituent_mask(jets), model.standardise.std)
        return reconstruction + (0.5 * self.beta) * mu2, reconstruction, mu2


def export(model: nn.Module, beta: float) -> bytes:
    """Export the scored model as ONNX bytes with a free batch dimension."""
    jets = torch.zeros(2, 100, 3)
    jets[:, :10, 2] = 1.0
    return export_graph(Scored(model.eval(), beta), {"jets": jets}, Scored.OUTPUTS)
