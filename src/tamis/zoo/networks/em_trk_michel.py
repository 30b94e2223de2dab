"""EmTrkMichelId: a convolutional network on 48 x 48 cells of a wire plane."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from tamis.zoo.networks.array_net import ArrayNet

WIDTHS = (24, 32, 48, 64)
CLASSES = 3
PER_MEV = 2.0  # before the logarithm: a muon that passes leaves about 1 MeV in a cell


class EmTrkMichel(ArrayNet):
    """(N, 1, 48, 48) -> the probabilities of track, em and michel, were all as frequent."""

    def __init__(self) -> None:
        """Build the layers in the order in which they are used."""
        super().__init__()
        self.first = nn.Conv2d(1, WIDTHS[0], 5, stride=2, padding=2)
        before, self.convolutions = WIDTHS[0], nn.ModuleList()
        for width in WIDTHS[1:]:
            self.convolutions.append(nn.Conv2d(before, width, 3, padding=1))
            before = width
        self.dense_1, self.dense_2 = nn.Linear(9 * before, 128), nn.Linear(128, 32)
        self.logits = nn.Linear(32, CLASSES)

    def _logits(self, patches: Tensor) -> Tensor:
        h = F.relu(self.first(torch.log(1.0 + PER_MEV * F.relu(patches))))
        for convolution in self.convolutions:
            h = F.max_pool2d(F.relu(convolution(h)), 2)
        h = F.relu(self.dense_2(F.relu(self.dense_1(h.flatten(1)))))
        found: Tensor = self.logits(h)
        return found

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities (N, 3), and by itself that of a Michel electron (N,)."""
        probabilities = torch.softmax(self._logits(inputs[0]), 1)
        return probabilities, probabilities[:, 2]

    def losses(self, inputs: tuple[Tensor, ...], target: Tensor) -> dict[str, Tensor]:
        """Return the cross entropy; in training patches are turned over, which nature does not mind."""
        (patches,) = inputs
        if self.training:
            patches = patches.flip([axis for axis in (2, 3) if torch.rand(()) < 0.5])
        logits = self._logits(patches)
        right = (logits.detach().argmax(1) == target).float().mean()
        return {"loss": F.cross_entropy(logits, target), "accuracy": right}
