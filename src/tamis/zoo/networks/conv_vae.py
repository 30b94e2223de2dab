"""conv-vae: the convolutional variational autoencoder of the HLT anomaly-detection study, layer by layer."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from tamis.zoo.networks.description import AnomalyDetector, AutoencoderRecipe
from tamis.zoo.networks.layers import Standardise
from tamis.zoo.networks.registry import register

FLAT_FEATURES = 47 * 24


class ConvEncoder(nn.Module):
    """(N, 100, 3) -> the mean of z; the inference path has 160,796 parameters at latent 8."""

    def __init__(self, latent: int) -> None:
        """Create the layers in the order of their use."""
        super().__init__()
        self.conv2d = nn.Conv2d(1, 16, (3, 3))
        self.conv1d_1 = nn.Conv1d(16, 20, 3)
        self.conv1d_2 = nn.Conv1d(20, 24, 3)
        self.dense_1 = nn.Linear(FLAT_FEATURES, 136)
        self.dense_2 = nn.Linear(136, 32)
        self.z_mean = nn.Linear(32, latent)

    def features(self, x: Tensor) -> Tensor:
        """Return the input of both heads: (N, 32)."""
        h = F.relu(self.conv2d(x.unsqueeze(1))).squeeze(3)
        h = F.relu(self.conv1d_1(h))
        h = F.relu(self.conv1d_2(h))
        h = F.avg_pool1d(h, 2)
        h = F.relu(self.dense_1(h.flatten(1)))
        return F.relu(self.dense_2(h))

    def forward(self, x: Tensor) -> Tensor:
        """Encode standardised jets to the mean of z."""
        return self.z_mean(self.features(x))


class ConvDecoder(nn.Module):
    """z -> (N, 100, 3), standardised; 161,893 parameters at latent 8."""

    def __init__(self, latent: int) -> None:
        """Create the layers in the order of their use."""
        super().__init__()
        self.dense_1 = nn.Linear(latent, 32)
        self.dense_2 = nn.Linear(32, 136)
        self.dense_3 = nn.Linear(136, FLAT_FEATURES)
        self.conv1d_transpose_1 = nn.ConvTranspose1d(24, 20, 3)
        self.conv1d_transpose_2 = nn.ConvTranspose1d(20, 16, 3)
        self.conv2d_transpose = nn.ConvTranspose2d(16, 1, (3, 3))

    def forward(self, z: Tensor) -> Tensor:
        """Decode to standardised constituents."""
        h = F.relu(self.dense_1(z))
        h = F.relu(self.dense_2(h))
        h = F.relu(self.dense_3(h)).reshape(-1, 24, 47)
        h = F.interpolate(h, scale_factor=2.0, mode="nearest")
        h = F.relu(self.conv1d_transpose_1(h))
        h = F.relu(self.conv1d_transpose_2(h))
        return self.conv2d_transpose(h.unsqueeze(3)).squeeze(1)


class ConvVAE(nn.Module):
    """The autoencoder: standardise, encode, decode, return to physical units."""

    def __init__(self, standardise: Standardise, latent: int = 8) -> None:
        """Create the parts; `z_logvar` is used in training only."""
        super().__init__()
        self.standardise = standardise
        self.encoder = ConvEncoder(latent)
        self.decoder = ConvDecoder(latent)
        self.z_logvar = nn.Linear(32, latent)

    def posterior(self, jets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the log-variance of z."""
        features = self.encoder.features(self.standardise(jets))
        return self.encoder.z_mean(features), self.z_logvar(features)

    def encode(self, jets: Tensor) -> Tensor:
        """Return the mean of z, which inference uses."""
        return self.encoder(self.standardise(jets))

    def decode(self, z: Tensor) -> Tensor:
        """Return the reconstructed constituents in physical units."""
        return self.standardise.undo(self.decoder(z))


CONV_VAE = register(
    AnomalyDetector(
        name="conv-vae",
        description="Convolutional variational autoencoder on the 100 leading constituents of a jet",
        build=ConvVAE,
        recipe=AutoencoderRecipe(beta=0.0005, weight=1.0, epochs=80),
    )
)
