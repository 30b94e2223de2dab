"""FACILE: a dense network of 2,093 parameters on the time samples of a calorimeter channel."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from tamis.zoo.networks.description import ArrayModel, Recipe
from tamis.zoo.networks.layers import ArrayNet, stabilise, undo_stabilise
from tamis.zoo.networks.registry import register

LAYER_WIDTHS = (15, 36, 28, 16)
TIME_SAMPLES = 8
IETA_MAX, IPHI_MAX, DEPTH_MAX = 29.0, 72.0, 7.0


class Facile(ArrayNet):
    """(N, 15) -> the energy in time in GeV, never negative."""

    def __init__(self) -> None:
        """Create the layers."""
        super().__init__()
        first, second, third, fourth = LAYER_WIDTHS
        self.dense_1, self.dense_2 = nn.Linear(first, second), nn.Linear(second, third)
        self.dense_3, self.dense_4 = nn.Linear(third, fourth), nn.Linear(fourth, 1)

    def _stabilised_energy(self, channels: Tensor) -> Tensor:
        charge, pedestal = channels[:, :TIME_SAMPLES], channels[:, 8:9]
        width, gain = channels[:, 9:10], channels[:, 10:11]
        position = channels[:, 11:14] * torch.tensor([1.0 / IETA_MAX, 1.0 / IPHI_MAX, 1.0 / DEPTH_MAX]).to(
            channels
        )
        total = channels[:, 14:15] - 8.0 * pedestal
        h = torch.cat(
            [
                stabilise((charge - pedestal) * gain),
                pedestal * gain,
                width * gain,
                gain * 1e3,
                position,
                stabilise(total * gain),
            ],
            1,
        )
        h = F.relu(self.dense_2(F.relu(self.dense_1(h))))
        energy: Tensor = self.dense_4(F.relu(self.dense_3(h)))
        return energy.squeeze(1)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the energy."""
        return undo_stabilise(F.relu(self._stabilised_energy(inputs[0])))

    def losses(self, inputs: tuple[Tensor, ...], target: Tensor) -> dict[str, Tensor]:
        """Return a smooth L1 loss of the stabilised energies, which is linear for outliers."""
        return {"loss": F.smooth_l1_loss(self._stabilised_energy(inputs[0]), stabilise(target), beta=0.1)}


FACILE = register(
    ArrayModel(
        name="facile",
        description="FACILE: the energy of a channel of a hadron calorimeter from its time samples, by a dense network",
        sample="hcal-channels",
        rows="channels",
        inputs={
            "channels": "8 samples, pedestal and its width in fC; gain in GeV/fC; ieta, iphi, depth; raw charge in fC"
        },
        target="energy",
        outputs=("energy",),
        task="energy",
        build=Facile,
        recipe=Recipe(learning_rate=3e-3, batch=1024, epochs=60, patience_decay=2, patience_stop=7),
        baselines=("method_0", "template_fit"),
        score="energy",
    )
)
