"""DeepCalo: a convolutional network of two million parameters on 15 x 15 crystals and where they are."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from tamis.zoo.networks.array_net import ArrayNet
from tamis.zoo.networks.facile import bent

WIDTHS = (32, 64, 128)
DENSE = 1024
RINGS, MODULE_RINGS, MODULE_COLUMNS = 85.0, (25.0, 45.0, 65.0), 20.0
DENSITY = 20.0
LEAST_GEV = 0.5  # of the sum that is corrected
MIDDLE, REACH = 7, 2


class DeepCalo(ArrayNet):
    """(N, 2, 15, 15) and (N, 3) -> the energy in GeV: a sum of crystals with weights, times a factor, both learnt."""

    def __init__(self) -> None:
        """Build the layers in the order in which they are used."""
        super().__init__()
        self.convolutions, before = nn.ModuleList(), 2
        for width in WIDTHS:
            self.convolutions.append(nn.Conv2d(before, width, 3, padding=1))
            self.convolutions.append(nn.Conv2d(width, width, 3, padding=1))
            before = width
        self.weight = nn.Conv2d(WIDTHS[0], 1, 1)
        self.dense_1 = nn.Linear(4 * before + 8, DENSE)
        self.dense_2, self.dense_3 = nn.Linear(DENSE, DENSE), nn.Linear(DENSE, 1)

    def _logarithm(self, images: Tensor, places: Tensor) -> Tensor:
        energies = images[:, :1]
        near = slice(MIDDLE - REACH, MIDDLE + REACH + 1)
        total = energies[:, :, near, near].sum((2, 3), keepdim=True).clamp(min=LEAST_GEV)
        h = torch.cat([bent(energies), images[:, 1:]], 1)
        chosen = total
        for number, (first, second) in enumerate(
            zip(self.convolutions[::2], self.convolutions[1::2], strict=True)
        ):
            h = F.relu(second(F.relu(first(h))))
            if not number:
                chosen = (2.0 * torch.sigmoid(self.weight(h)) * energies).sum((2, 3), keepdim=True)
            h = F.max_pool2d(h, 2, ceil_mode=True)
        scale = torch.log(total.flatten(1))
        summed = torch.log(chosen.flatten(1).clamp(min=LEAST_GEV))
        h = torch.cat([h.flatten(1), self._where(places), scale, summed - scale], 1)
        found: Tensor = self.dense_3(F.relu(self.dense_2(F.relu(self.dense_1(h)))))
        return found.squeeze(1) + summed.squeeze(1)

    def _where(self, places: Tensor) -> Tensor:
        """Return where in its ring of modules and in its module a crystal is, and the density."""
        ieta, iphi, density = places[:, 0:1], places[:, 1:2], places[:, 2:3]
        column = iphi - MODULE_COLUMNS * torch.floor((iphi - 1.0) / MODULE_COLUMNS)
        gaps = [(ieta - gap - 0.5) / (1.0 + (ieta - gap - 0.5).abs()) for gap in MODULE_RINGS]
        return torch.cat([ieta / RINGS, *gaps, column / MODULE_COLUMNS, density / DENSITY], 1)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the energy."""
        return torch.exp(self._logarithm(*inputs))

    def losses(self, inputs: tuple[Tensor, ...], target: Tensor) -> dict[str, Tensor]:
        """Return the distance of the logarithms, which counts by itself and not squared where it is large."""
        return {"loss": 10.0 * F.smooth_l1_loss(self._logarithm(*inputs), torch.log(target), beta=0.01)}
