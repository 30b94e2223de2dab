"""DeepCalo: a convolutional network of two million parameters on 15 x 15 crystals and their position."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from tamis.zoo.networks.description import ArrayModel, Recipe
from tamis.zoo.networks.layers import ArrayNet, stabilise
from tamis.zoo.networks.registry import register

BLOCK_CHANNELS = (32, 64, 128)
DENSE = 1024
BARREL_IETA_MAX, MODULE_ENDS_IETA, MODULE_WIDTH_IPHI = 85.0, (25.0, 45.0, 65.0), 20.0
TYPICAL_DENSITY = 20.0
SUM_MIN_GEV = 0.5  # lower bound of the sums inside logarithms
CENTRE, SUM_REACH = 7, 2  # the middle crystal, and the half-width of the 5 x 5 sum


class DeepCalo(ArrayNet):
    """(N, 2, 15, 15) and (N, 3) -> the energy in GeV: a weighted sum of crystals times a factor, both learnt."""

    def __init__(self) -> None:
        """Create the layers in the order of their use."""
        super().__init__()
        self.convolutions, before = nn.ModuleList(), 2
        for width in BLOCK_CHANNELS:
            self.convolutions.append(nn.Conv2d(before, width, 3, padding=1))
            self.convolutions.append(nn.Conv2d(width, width, 3, padding=1))
            before = width
        self.weight = nn.Conv2d(BLOCK_CHANNELS[0], 1, 1)
        self.dense_1 = nn.Linear(4 * before + 8, DENSE)
        self.dense_2, self.dense_3 = nn.Linear(DENSE, DENSE), nn.Linear(DENSE, 1)

    def _log_energy(self, images: Tensor, places: Tensor) -> Tensor:
        energies = images[:, :1]
        near = slice(CENTRE - SUM_REACH, CENTRE + SUM_REACH + 1)
        total = energies[:, :, near, near].sum((2, 3), keepdim=True).clamp(min=SUM_MIN_GEV)
        h = torch.cat([stabilise(energies), images[:, 1:]], 1)
        weighted = total
        for number, (first, second) in enumerate(
            zip(self.convolutions[::2], self.convolutions[1::2], strict=True)
        ):
            h = F.relu(second(F.relu(first(h))))
            if not number:
                weighted = (2.0 * torch.sigmoid(self.weight(h)) * energies).sum((2, 3), keepdim=True)
            h = F.max_pool2d(h, 2, ceil_mode=True)
        log_total = torch.log(total.flatten(1))
        log_weighted = torch.log(weighted.flatten(1).clamp(min=SUM_MIN_GEV))
        h = torch.cat([h.flatten(1), self._position(places), log_total, log_weighted - log_total], 1)
        correction: Tensor = self.dense_3(F.relu(self.dense_2(F.relu(self.dense_1(h)))))
        return correction.squeeze(1) + log_weighted.squeeze(1)

    def _position(self, places: Tensor) -> Tensor:
        """Return the crystal's position relative to the ends of the modules, and the pile-up density: (N, 6)."""
        ieta, iphi, density = places[:, 0:1], places[:, 1:2], places[:, 2:3]
        column = iphi - MODULE_WIDTH_IPHI * torch.floor((iphi - 1.0) / MODULE_WIDTH_IPHI)
        gaps = [(ieta - gap - 0.5) / (1.0 + (ieta - gap - 0.5).abs()) for gap in MODULE_ENDS_IETA]
        return torch.cat(
            [ieta / BARREL_IETA_MAX, *gaps, column / MODULE_WIDTH_IPHI, density / TYPICAL_DENSITY], 1
        )

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the energy."""
        return torch.exp(self._log_energy(*inputs))

    def losses(self, inputs: tuple[Tensor, ...], target: Tensor) -> dict[str, Tensor]:
        """Return a smooth L1 loss of the logarithms of the energies, which is linear for outliers."""
        return {"loss": 10.0 * F.smooth_l1_loss(self._log_energy(*inputs), torch.log(target), beta=0.01)}


DEEPCALO = register(
    ArrayModel(
        name="deepcalo",
        description="DeepCalo: the energy of a photon from the crystals about it, by a convolutional network",
        sample="ecal-clusters",
        rows="clusters",
        inputs={
            "images": "energy of 15 x 15 crystals in GeV; 1 where a crystal is alive",
            "places": "ieta, iphi of the crystal in the middle; density of pile-up",
        },
        target="energy",
        outputs=("energy",),
        task="energy",
        build=DeepCalo,
        recipe=Recipe(batch=64, epochs=12, patience_decay=1, patience_stop=4),
        baselines=("sum_5x5", "sum_15x15"),
        score="energy",
    )
)
