"""FACILE: a dense network of 2,093 parameters on the time samples of a calorimeter channel."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from tamis.zoo.networks.array_net import ArrayNet

WIDTHS = (15, 36, 28, 16)
SAMPLES = slice(0, 8)
BEND_GEV = 1.0  # below it energies count as they are, above by their root: photon statistics become one width
IETA_MAX, IPHI_MAX, DEPTH_MAX = 29.0, 72.0, 7.0


def bent(energy: Tensor) -> Tensor:
    """Return what goes with the energy where it is small and with its root where it is large."""
    return energy / torch.sqrt(energy.abs() + BEND_GEV)


def straight(value: Tensor) -> Tensor:
    """Undo `bent` for what is not negative."""
    square = value * value
    return 0.5 * (square + value * torch.sqrt(square + 4.0 * BEND_GEV))


class Facile(ArrayNet):
    """(N, 15) -> the energy in time in GeV, never negative."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        first, second, third, fourth = WIDTHS
        self.dense_1, self.dense_2 = nn.Linear(first, second), nn.Linear(second, third)
        self.dense_3, self.dense_4 = nn.Linear(third, fourth), nn.Linear(fourth, 1)

    def _bent_energy(self, channels: Tensor) -> Tensor:
        charge, pedestal = channels[:, SAMPLES], channels[:, 8:9]
        width, gain = channels[:, 9:10], channels[:, 10:11]
        place = channels[:, 11:14] * torch.tensor([1.0 / IETA_MAX, 1.0 / IPHI_MAX, 1.0 / DEPTH_MAX]).to(
            channels
        )
        total = channels[:, 14:15] - 8.0 * pedestal
        h = torch.cat(
            [
                bent((charge - pedestal) * gain),
                pedestal * gain,
                width * gain,
                gain * 1e3,
                place,
                bent(total * gain),
            ],
            1,
        )
        h = F.relu(self.dense_2(F.relu(self.dense_1(h))))
        found: Tensor = self.dense_4(F.relu(self.dense_3(h)))
        return found.squeeze(1)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the energy."""
        return straight(F.relu(self._bent_energy(inputs[0])))

    def losses(self, inputs: tuple[Tensor, ...], target: Tensor) -> dict[str, Tensor]:
        """Return the distance of the bent energies, in which channels far off count by their distance alone."""
        return {"loss": F.smooth_l1_loss(self._bent_energy(inputs[0]), bent(target), beta=0.1)}
