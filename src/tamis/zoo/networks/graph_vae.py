"""graph-vae: the graph-convolutional variational autoencoder of the HLT anomaly-detection study.

First-order graph convolutions A_hat X W with tanh. Two constituents are connected with the weight 1 - (dR / R0)^2 where
that is positive: local like nearest neighbours, but smooth, so that rounding does not flip an edge. A_hat =
D^-1/2 A D^-1/2 is applied to the features and never stored. The decoder gets z alone: the graph contains nearly every
position, and a decoder that saw it would reconstruct anything.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.zoo.networks.description import AnomalyDetector, AutoencoderRecipe
from tamis.zoo.networks.layers import PADDING_OFFSET, Standardise, constituent_mask
from tamis.zoo.networks.registry import register

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
        away = PADDING_OFFSET * (1.0 - mask)  # padding has no neighbours, not even itself
        eta_gap = (eta + away).unsqueeze(2) - (eta - away).unsqueeze(1)
        phi_gap = phi.unsqueeze(2) - phi.unsqueeze(1)
        adjacency = torch.relu(1.0 - eta_gap * eta_gap - phi_gap * phi_gap)
        degrees = adjacency.sum(2, keepdim=True)  # at least 1 for a constituent, from itself
        return adjacency, torch.rsqrt(degrees.clamp(min=1.0))


def propagate(graph: tuple[Tensor, Tensor], features: Tensor) -> Tensor:
    """Return A_hat @ features."""
    adjacency, root = graph
    return torch.matmul(adjacency, features * root) * root


def propagate_narrow(graph: tuple[Tensor, Tensor], features: Tensor) -> Tensor:
    """Return the same as (features^T A_hat)^T, A_hat being symmetric: faster for few features, whose rows are then long."""
    adjacency, root = graph
    return torch.matmul((features * root).transpose(1, 2), adjacency).transpose(1, 2) * root


class GraphEncoder(nn.Module):
    """Node features and their graph -> the mean of z."""

    def __init__(self, latent: int) -> None:
        """Create the layers in the order of their use."""
        super().__init__()
        self.gcn_1 = nn.Linear(3, HIDDEN_1)
        self.gcn_2 = nn.Linear(HIDDEN_1, HIDDEN_2)
        self.z_mean = nn.Linear(CONSTITUENTS * HIDDEN_2, latent)

    def features(self, x: Tensor, graph: tuple[Tensor, Tensor]) -> Tensor:
        """Return the input of both heads: (N, 1600)."""
        h = torch.tanh(self.gcn_1(propagate_narrow(graph, x)))
        h = torch.tanh(propagate(graph, self.gcn_2(h)))
        return h.flatten(1)

    def forward(self, x: Tensor, graph: tuple[Tensor, Tensor]) -> Tensor:
        """Encode to the mean of z."""
        return self.z_mean(self.features(x, graph))


class GraphDecoder(nn.Module):
    """z -> node features."""

    def __init__(self, latent: int) -> None:
        """Create the layers in the order of their use."""
        super().__init__()
        self.dense_1 = nn.Linear(latent, HIDDEN_DECODER)
        self.dense_2 = nn.Linear(HIDDEN_DECODER, CONSTITUENTS * 3)

    def forward(self, z: Tensor) -> Tensor:
        """Decode to standardised node features."""
        return self.dense_2(torch.tanh(self.dense_1(z))).reshape(-1, CONSTITUENTS, 3)


class GraphVAE(nn.Module):
    """The autoencoder: standardise, encode on the jet's graph, decode, return to physical units."""

    def __init__(self, standardise: Standardise, latent: int = 8) -> None:
        """Create the parts; `z_logvar` is used in training only."""
        super().__init__()
        self.standardise = standardise
        self.adjacency = Adjacency()
        self.encoder = GraphEncoder(latent)
        self.decoder = GraphDecoder(latent)
        self.z_logvar = nn.Linear(CONSTITUENTS * HIDDEN_2, latent)

    def _inputs(self, jets: Tensor) -> Tensor:
        return self.standardise(jets) * constituent_mask(jets).unsqueeze(2)

    def posterior(self, jets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the log-variance of z."""
        features = self.encoder.features(self._inputs(jets), self.adjacency(jets))
        return self.encoder.z_mean(features), self.z_logvar(features)

    def encode(self, jets: Tensor) -> Tensor:
        """Return the mean of z, which inference uses."""
        return self.encoder(self._inputs(jets), self.adjacency(jets))

    def decode(self, z: Tensor) -> Tensor:
        """Return the reconstructed constituents in physical units."""
        return self.standardise.undo(self.decoder(z))


GRAPH_VAE = register(
    AnomalyDetector(
        name="graph-vae",
        description="Graph-convolutional variational autoencoder on the 100 leading constituents of a jet",
        build=GraphVAE,
        recipe=AutoencoderRecipe(
            learning_rate=1e-4, beta=10.0, weight=20_000.0, warmup_epochs=5, batch=64, epochs=150
        ),
    )
)
