"""graph-vae: the graph-convolutional variational autoencoder of the HLT anomaly-detection study.

First-order graph convolutions A_hat X W with tanh. Two constituents are joined with the weight 1 - (dR / R0)^2 where
that is positive: local as nearest neighbours are, but smooth, so that no rounding flips an edge. A_hat = D^-1/2 A D^-1/2 is applied to the features, never written out.
The decoder sees z alone: the graph holds nearly every position, and a decoder that knew it would rebuild anything.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.zoo.networks.layers import FAR, Standardise, constituent_mask

CONSTITUENTS = 100
RADIUS = 0.4
HIDDEN_1, HIDDEN_2 = 16, 16
HIDDEN_DECODER = 128


class Adjacency(nn.Module):
    """The weighted graph of a jet's constituents; no parameters."""

    def forward(self, jets: Tensor) -> tuple[Tensor, Tensor]:
        """Return A (N, 100, 100) and the square root of its inverse degrees (N, 100, 1)."""
        mask = constituent_mask(jets)
        eta, phi = jets[:, :, 0] * (1.0 / RADIUS), jets[:, :, 1] * (1.0 / RADIUS)
        away = FAR * (1.0 - mask)  # padding is out of everybody's reach, its own included
        eta_gap = (eta + away).unsqueeze(2) - (eta - away).unsqueeze(1)
        phi_gap = phi.unsqueeze(2) - phi.unsqueeze(1)
        adjacency = torch.relu(1.0 - eta_gap * eta_gap - phi_gap * phi_gap)
        degrees = adjacency.sum(2, keepdim=True)  # a constituent reaches itself, so at least 1
        return adjacency, torch.rsqrt(degrees.clamp(min=1.0))


def propagate(graph: tuple[Tensor, Tensor], features: Tensor) -> Tensor:
    """Return A_hat @ features."""
    adjacency, root = graph
    return torch.matmul(adjacency, features * root) * root


def propagate_narrow(graph: tuple[Tensor, Tensor], features: Tensor) -> Tensor:
    """Return the same as (features^T A_hat)^T, since A_hat is symmetric: long rows suit a few features better."""
    adjacency, root = graph
    return torch.matmul((features * root).transpose(1, 2), adjacency).transpose(1, 2) * root


class Encoder(nn.Module):
    """Node features and their graph -> the mean of z."""

    def __init__(self, latent: int) -> None:
        """Build the layers in the order in which they are used."""
        super().__init__()
        self.gcn_1 = nn.Linear(3, HIDDEN_1)
        self.gcn_2 = nn.Linear(HIDDEN_1, HIDDEN_2)
        self.z_mean = nn.Linear(CONSTITUENTS * HIDDEN_2, latent)

    def features(self, x: Tensor, graph: tuple[Tensor, Tensor]) -> Tensor:
        """Return what both heads read: (N, 1600)."""
        h = torch.tanh(self.gcn_1(propagate_narrow(graph, x)))
        h = torch.tanh(propagate(graph, self.gcn_2(h)))
        return h.flatten(1)

    def forward(self, x: Tensor, graph: tuple[Tensor, Tensor]) -> Tensor:
        """Encode to the mean of z."""
        return self.z_mean(self.features(x, graph))


class Decoder(nn.Module):
    """z -> node features."""

    def __init__(self, latent: int) -> None:
        """Build the layers in the order in which they are used."""
        super().__init__()
        self.dense_1 = nn.Linear(latent, HIDDEN_DECODER)
        self.dense_2 = nn.Linear(HIDDEN_DECODER, CONSTITUENTS * 3)

    def forward(self, z: Tensor) -> Tensor:
        """Decode to standardised node features."""
        return self.dense_2(torch.tanh(self.dense_1(z))).reshape(-1, CONSTITUENTS, 3)


class GraphVAE(nn.Module):
    """The whole: standardise, encode over the jet's graph, decode, return to physical units."""

    def __init__(self, standardise: Standardise, latent: int = 8) -> None:
        """Join the parts; `z_logvar` serves training only."""
        super().__init__()
        self.standardise = standardise
        self.adjacency = Adjacency()
        self.encoder = Encoder(latent)
        self.decoder = Decoder(latent)
        self.z_logvar = nn.Linear(CONSTITUENTS * HIDDEN_2, latent)

    def _inputs(self, jets: Tensor) -> Tensor:
        return self.standardise(jets) * constituent_mask(jets).unsqueeze(2)

    def posterior(self, jets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the log-variance of z."""
        features = self.encoder.features(self._inputs(jets), self.adjacency(jets))
        return self.encoder.z_mean(features), self.z_logvar(features)

    def encode(self, jets: Tensor) -> Tensor:
        """Return the mean of z, which is what inference uses."""
        return self.encoder(self._inputs(jets), self.adjacency(jets))

    def decode(self, z: Tensor) -> Tensor:
        """Return the reconstructed constituents in physical units."""
        return self.standardise.undo(self.decoder(z))
