"""l1-anomaly: the encoder of a variational autoencoder on the objects of the Level-1 trigger.

Inputs and score are those of the CMS anomaly detector AXOL1TL: 57 integers of the hardware, and the sum of the squares of the means
of z, which needs no decoder. The means are rounded before they are squared, so that firmware computes the same score.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from tamis.features.level1 import LEVEL1_INPUTS, PROPERTIES
from tamis.zoo.networks.description import FeatureDetector, Recipe
from tamis.zoo.networks.layers import ArrayNet, BinaryStandardise, divergence
from tamis.zoo.networks.registry import register

ENCODER_WIDTHS, ENCODER_LATENT = (28, 15), 8
KL_WEIGHT = 0.2  # weight of the KL divergence relative to the squared error of one input
Z_STEPS, Z_MAX = 8.0, 32.0  # steps of a mean per unit, and its limit: 9 bits


class Level1Encoder(ArrayNet):
    """(N, 57) -> the score (N,) and the means of z (N, 8)."""

    def __init__(self) -> None:
        """Create the layers; `z_logvar` and the decoder are used in training only."""
        super().__init__()
        first, second = ENCODER_WIDTHS
        self.standardise = BinaryStandardise(LEVEL1_INPUTS)
        self.dense_1, self.dense_2 = nn.Linear(LEVEL1_INPUTS, first), nn.Linear(first, second)
        self.z_mean, self.z_logvar = nn.Linear(second, ENCODER_LATENT), nn.Linear(second, ENCODER_LATENT)
        self.decoder = nn.Sequential(
            nn.Linear(ENCODER_LATENT, first),
            nn.ReLU(),
            nn.Linear(first, first),
            nn.ReLU(),
            nn.Linear(first, LEVEL1_INPUTS),
        )

    def set_scales(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Standardise by the training events."""
        self.standardise.fit(inputs["objects"])

    def _features(self, x: Tensor) -> Tensor:
        return F.relu(self.dense_2(F.relu(self.dense_1(x))))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the squares of the rounded means, and the means."""
        z: Tensor = self.z_mean(self._features(self.standardise(inputs[0])))
        limit = Z_MAX * Z_STEPS
        rounded = torch.clamp(torch.floor(z * Z_STEPS + 0.5), -limit, limit - 1) * (1 / Z_STEPS)
        return (rounded * rounded).sum(1), z

    def losses(self, inputs: tuple[Tensor, ...], target: Tensor) -> dict[str, Tensor]:
        """Return the squared error of the objects that are there, plus the KL divergence."""
        del target  # unsupervised
        x = self.standardise(inputs[0])
        there = inputs[0][:, :: len(PROPERTIES)] > 0
        features = self._features(x)
        mean, logvar = self.z_mean(features), self.z_logvar(features).clamp(-10.0, 10.0)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean) if self.training else mean
        mask = there.repeat_interleave(len(PROPERTIES), 1).to(x.dtype)
        error = F.smooth_l1_loss(
            self.decoder(z), x, reduction="none"
        )  # a hard jet counts no more than linearly
        reconstruction = (error * mask).sum(1).mean()
        kl = divergence(mean, logvar).mean()
        return {"loss": reconstruction + KL_WEIGHT * kl, "reconstruction": reconstruction, "kl": kl}


L1_ANOMALY = register(
    FeatureDetector(
        name="l1-anomaly",
        description="Anomaly detector for Level-1: encoder of a variational autoencoder on 57 integers of the trigger's objects",
        features={"objects": "l1_objects"},
        units={"objects": "pT, eta, phi of MET, 4 e/gamma, 4 muons, 10 jets in hardware units"},
        outputs=("score", "z"),
        build=Level1Encoder,
        recipe=Recipe(learning_rate=2e-3, batch=256, epochs=60, patience_decay=3, patience_stop=10),
        background_efficiencies=(1e-2, 1e-3),
        rewrites=False,
    )
)
