"""SimpleNet: a small convolutional network on frames, with its preprocessing in the graph."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

SIGNED = {"d0": 20.0, "dz": 10.0}  # per cm: what is multiplied before it saturates
ENERGY_PER_GEV = 4.0  # transverse energies and momenta, before the logarithm
HITS = 2.0


class Prepare(nn.Module):
    """Transverse energies and counts to their logarithm, impact parameters to between -1 and 1; no parameters."""

    def __init__(self, channels: tuple[str, ...]) -> None:
        """Find the signed channels: they follow the first one, if there are any."""
        super().__init__()
        self.tracked = channels[1:3] == tuple(SIGNED)
        factors = [SIGNED.get(name, HITS if "pixel" in name else ENERGY_PER_GEV) for name in channels]
        self.factor: Tensor
        self.register_buffer("factor", torch.tensor(factors).reshape(1, -1, 1, 1))

    def forward(self, frames: Tensor) -> Tensor:
        """Prepare frames."""
        scaled = frames * self.factor
        if not self.tracked:
            return torch.log(1.0 + F.relu(scaled))
        signed = scaled[:, 1:3]
        first, rest = F.relu(scaled[:, :1]), F.relu(scaled[:, 3:])
        return torch.cat(
            [torch.log(1.0 + first), signed / (1.0 + signed.abs()), torch.log(1.0 + rest)], dim=1
        )


class SimpleNet(nn.Module):
    """(N, channels, size, size) -> one number, the logarithm of signal over background."""

    def __init__(self, channels: tuple[str, ...], size: int) -> None:
        """Build the layers in the order in which they are used; large frames begin with a stride."""
        super().__init__()
        self.channels = channels
        self.prepare = Prepare(channels)
        stride = 2 if size > 64 else 1
        self.conv_1 = nn.Conv2d(len(channels), 16, 5, stride=stride, padding=2)
        self.conv_2 = nn.Conv2d(16, 24, 3, padding=1)
        self.conv_3 = nn.Conv2d(24, 32, 3, padding=1)
        self.pool = 4 if size > 64 else 2
        side = size // stride // 4 // self.pool
        self.dense_1 = nn.Linear(32 * side * side, 32)
        self.dense_2 = nn.Linear(32, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Return the logit (N,)."""
        if self.training:
            frames = mirrored(frames, self.channels)
        h = F.max_pool2d(F.relu(self.conv_1(self.prepare(frames))), 2)
        h = F.max_pool2d(F.relu(self.conv_2(h)), 2)
        h = F.max_pool2d(F.relu(self.conv_3(h)), self.pool)
        h = F.relu(self.dense_1(h.flatten(1)))
        return self.dense_2(h).squeeze(1)


def mirrored(frames: Tensor, channels: tuple[str, ...]) -> Tensor:
    """Return the frames of a batch turned over in eta, in phi, or not: nature does not mind, dz and d0 change their signs."""
    for axis, name in ((2, "dz"), (3, "d0")):
        if torch.rand(()) < 0.5:
            signs = torch.tensor([-1.0 if channel == name else 1.0 for channel in channels])
            frames = frames.flip(axis) * signs.reshape(-1, 1, 1).to(frames.device)
    return frames
