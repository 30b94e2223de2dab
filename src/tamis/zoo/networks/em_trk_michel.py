"""EmTrkMichelId: a convolutional network on 48 x 48 cells of a wire plane."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from tamis.simulate.samples.argon_patches import PATCH_CLASSES
from tamis.zoo.networks.description import ArrayModel, Recipe
from tamis.zoo.networks.layers import ArrayNet
from tamis.zoo.networks.registry import register

CHANNELS = (24, 32, 48, 64)
PER_MEV = 2.0  # factor inside the logarithm: a minimum-ionising muon leaves about 1 MeV in a cell


class EmTrkMichel(ArrayNet):
    """(N, 1, 48, 48) -> the probabilities of track, em and michel for equal class frequencies."""

    def __init__(self) -> None:
        """Create the layers in the order of their use."""
        super().__init__()
        self.first = nn.Conv2d(1, CHANNELS[0], 5, stride=2, padding=2)
        before, self.convolutions = CHANNELS[0], nn.ModuleList()
        for width in CHANNELS[1:]:
            self.convolutions.append(nn.Conv2d(before, width, 3, padding=1))
            before = width
        self.dense_1, self.dense_2 = nn.Linear(9 * before, 128), nn.Linear(128, 32)
        self.logits = nn.Linear(32, len(PATCH_CLASSES))

    def _logits(self, patches: Tensor) -> Tensor:
        h = F.relu(self.first(torch.log(1.0 + PER_MEV * F.relu(patches))))
        for convolution in self.convolutions:
            h = F.max_pool2d(F.relu(convolution(h)), 2)
        h = F.relu(self.dense_2(F.relu(self.dense_1(h.flatten(1)))))
        logits: Tensor = self.logits(h)
        return logits

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities (N, 3), and that of a Michel electron (N,) as an output of its own."""
        probabilities = torch.softmax(self._logits(inputs[0]), 1)
        return probabilities, probabilities[:, 2]

    def losses(self, inputs: tuple[Tensor, ...], target: Tensor) -> dict[str, Tensor]:
        """Return the cross entropy and the accuracy; training mirrors patches at random, a symmetry of the physics."""
        (patches,) = inputs
        if self.training:
            patches = patches.flip([axis for axis in (2, 3) if torch.rand(()) < 0.5])
        logits = self._logits(patches)
        accuracy = (logits.detach().argmax(1) == target).float().mean()
        return {"loss": F.cross_entropy(logits, target), "accuracy": accuracy}


EM_TRK_MICHEL = register(
    ArrayModel(
        name="em-trk-michel",
        description="EmTrkMichelId: showers, tracks and Michel electrons by patches of a wire plane about a hit, by a convolutional network",
        sample="wire-patches",
        rows="patches",
        inputs={"patches": "MeV of a signal without recombination, in cells of a wire by six ticks"},
        target="label",
        outputs=("probabilities", "michel"),
        task="classes",
        build=EmTrkMichel,
        recipe=Recipe(batch=128, epochs=18, patience_decay=1, patience_stop=4, weight_decay=1e-5),
        baselines=("hit_charge", "patch_charge", "straightness"),
        classes=PATCH_CLASSES,
        score="michel",
    )
)
