"""l1-calo-anomaly: a convolutional autoencoder of the calorimeter's regions, the teacher of a student for Level-1.

After CICADA (CMS): the score is the mean squared error of the reconstruction of 14 x 18 regions. The autoencoder itself is far too
large for the trigger; a small student learns its logarithm.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from tamis.features.level1 import REGION_COLUMNS, REGION_ROWS
from tamis.zoo.networks.description import FeatureDetector, Recipe
from tamis.zoo.networks.layers import ArrayNet
from tamis.zoo.networks.registry import register

REGION_SCALE = 16.0  # counts of 0.5 GeV that are of the order of one inside the network
TEACHER_CHANNELS, TEACHER_LATENT = (20, 30), 40
POOLED_SHAPE = (TEACHER_CHANNELS[1], REGION_ROWS // 2, REGION_COLUMNS // 2)


class CalorimeterAutoencoder(ArrayNet):
    """(N, 1, 14, 18) counts -> the mean squared error of their reconstruction (N,)."""

    def __init__(self) -> None:
        """Create the layers in the order of their use."""
        super().__init__()
        first, second = TEACHER_CHANNELS
        size = second * POOLED_SHAPE[1] * POOLED_SHAPE[2]
        self.conv_1, self.conv_2 = nn.Conv2d(1, first, 3, padding=1), nn.Conv2d(first, second, 3, padding=1)
        self.encode, self.decode = nn.Linear(size, TEACHER_LATENT), nn.Linear(TEACHER_LATENT, size)
        self.conv_3, self.conv_4 = (
            nn.Conv2d(second, second, 3, padding=1),
            nn.Conv2d(second, first, 3, padding=1),
        )
        self.conv_5 = nn.Conv2d(first, 1, 3, padding=1)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the mean squared error, in counts squared."""
        x = inputs[0] * (1 / REGION_SCALE)
        h = F.avg_pool2d(F.relu(self.conv_1(x)), 2)
        z = F.relu(self.encode(F.relu(self.conv_2(h)).flatten(1)))
        h = F.relu(self.decode(z)).reshape(-1, *POOLED_SHAPE)
        h = F.interpolate(F.relu(self.conv_3(h)), scale_factor=2.0, mode="nearest")
        rebuilt = self.conv_5(F.relu(self.conv_4(h)))
        return ((rebuilt - x) * REGION_SCALE).square().mean((1, 2, 3))

    def losses(self, inputs: tuple[Tensor, ...], target: Tensor) -> dict[str, Tensor]:
        """Return the mean squared error in the network's units; a few busy events do not dominate it."""
        del target  # unsupervised
        error = self(*inputs) * (1 / REGION_SCALE**2)
        return {"loss": error.clamp(max=10.0).mean()}


L1_CALO_ANOMALY = register(
    FeatureDetector(
        name="l1-calo-anomaly",
        description="Anomaly detector on the regions of the Level-1 calorimeter trigger: a convolutional autoencoder, not meant for firmware",
        features={"regions": "l1_calo_towers"},
        units={"regions": "ET in counts of 0.5 GeV"},
        outputs=("score",),
        build=CalorimeterAutoencoder,
        recipe=Recipe(learning_rate=1e-3, batch=128, epochs=40, patience_decay=2, patience_stop=6),
        background_efficiencies=(1e-2, 1e-3),
    )
)
