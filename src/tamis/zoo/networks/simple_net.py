"""SimpleNet: a small convolutional network on images of the detector, with its preprocessing in the graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from tamis.features import Feature
from tamis.features.frames import EGAMMA_FRAMES, QUARK_GLUON_FRAMES, TAU_FRAMES, TOP_FRAMES
from tamis.zoo.networks.description import Recipe, Store, Tagger, TruthMatching
from tamis.zoo.networks.registry import register

SIGNED_PER_CM = {"d0": 20.0, "dz": 10.0}  # factors before the saturation x / (1 + |x|)
ENERGY_PER_GEV = 4.0  # factor on transverse energies and momenta inside the logarithm
HIT_FACTOR = 2.0


class PrepareImage(nn.Module):
    """Logarithms of transverse energies and counts, impact parameters mapped to (-1, 1); no parameters."""

    def __init__(self, channels: tuple[str, ...]) -> None:
        """Find the signed channels: they follow the first one, if there are any."""
        super().__init__()
        self.tracked = channels[1:3] == tuple(SIGNED_PER_CM)
        factors = [
            SIGNED_PER_CM.get(name, HIT_FACTOR if "pixel" in name else ENERGY_PER_GEV) for name in channels
        ]
        self.factor: Tensor
        self.register_buffer("factor", torch.tensor(factors).reshape(1, -1, 1, 1))

    def forward(self, frames: Tensor) -> Tensor:
        """Prepare images."""
        scaled = frames * self.factor
        if not self.tracked:
            return torch.log(1.0 + F.relu(scaled))
        signed = scaled[:, 1:3]
        first, rest = F.relu(scaled[:, :1]), F.relu(scaled[:, 3:])
        return torch.cat(
            [torch.log(1.0 + first), signed / (1.0 + signed.abs()), torch.log(1.0 + rest)], dim=1
        )


class SimpleNet(nn.Module):
    """(N, channels, size, size) -> the logit of signal over background."""

    def __init__(self, channels: tuple[str, ...], size: int) -> None:
        """Create the layers in the order of their use; large images start with a stride."""
        super().__init__()
        self.channels = channels
        self.prepare = PrepareImage(channels)
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
            frames = mirror_images(frames, self.channels)
        h = F.max_pool2d(F.relu(self.conv_1(self.prepare(frames))), 2)
        h = F.max_pool2d(F.relu(self.conv_2(h)), 2)
        h = F.max_pool2d(F.relu(self.conv_3(h)), self.pool)
        h = F.relu(self.dense_1(h.flatten(1)))
        return self.dense_2(h).squeeze(1)


def mirror_images(frames: Tensor, channels: tuple[str, ...]) -> Tensor:
    """Return a batch mirrored at random in eta, where dz changes its sign, and in phi, where d0 does."""
    for axis, name in ((2, "dz"), (3, "d0")):
        if torch.rand(()) < 0.5:
            signs = torch.tensor([-1.0 if channel == name else 1.0 for channel in channels])
            frames = frames.flip(axis) * signs.reshape(-1, 1, 1).to(frames.device)
    return frames


def _tagger(name: str, description: str, feature: Feature, truth: TruthMatching) -> Tagger:
    def build(inputs: Mapping[str, Store]) -> nn.Module:
        return SimpleNet(feature.channels, inputs["frames"][np.arange(1)].shape[-1])

    return register(
        Tagger(
            name=name,
            description=description,
            features={"frames": feature.name},
            units={"frames": f"{', '.join(feature.channels)}: GeV, cm, hits"},
            classes=("background", "signal"),
            build=build,
            recipe=Recipe(weight_decay=1e-4, patience_stop=5, batch=64, epochs=20),
            calibration=0.15,
            background_efficiencies=(0.3, 0.1, 1e-2),
            rows="frames",
            truth=truth,
        )
    )


EGAMMA_TAGGER = _tagger(
    "egamma",
    "Electrons against photons: a convolutional network on 32 x 32 crystals of the electromagnetic calorimeter",
    EGAMMA_FRAMES,
    TruthMatching(signal=(11,), background=(22,), radius=0.15, pt_min_gev=20.0),
)
QUARK_GLUON_TAGGER = _tagger(
    "quark-gluon",
    "Quark against gluon jets: a convolutional network on images of tracks and calorimeters",
    QUARK_GLUON_FRAMES,
    TruthMatching(signal=(1, 2, 3, 4, 5), background=(21,), radius=0.3, pt_min_gev=50.0),
)
TOP_TAGGER = _tagger(
    "top",
    "Hadronic top decays against other jets: a convolutional network on images of tracks, pixel hits and calorimeters",
    TOP_FRAMES,
    TruthMatching(signal=(6,), background=(), radius=0.4, pt_min_gev=200.0),
)
TAU_TAGGER = _tagger(
    "tau",
    "Hadronic tau decays against other jets: a convolutional network on images of tracks, pixel hits and calorimeters",
    TAU_FRAMES,
    TruthMatching(signal=(15,), background=(), radius=0.2, pt_min_gev=30.0),
)
