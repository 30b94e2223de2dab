"""Residual networks: a small one that trains on one core, and ResNet-50 in its published size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from tamis.features.jet_images import JET_IMAGES
from tamis.zoo.networks.description import Recipe, Tagger, TruthMatching, UntrainedNetwork
from tamis.zoo.networks.registry import register

PER_GEV = 4.0  # factor on transverse momenta inside the logarithm
SMALL_CHANNELS, SMALL_BLOCKS = (16, 32, 64), (2, 2, 2)
RESNET50_CHANNELS, RESNET50_BLOCKS = (64, 128, 256, 512), (3, 4, 6, 3)
EXPANSION = 4


class NormalisedConv(nn.Module):
    """A convolution and its batch normalisation."""

    def __init__(self, before: int, after: int, size: int, stride: int = 1) -> None:
        """Create the convolution and its normalisation."""
        super().__init__()
        self.conv = nn.Conv2d(before, after, size, stride=stride, padding=size // 2, bias=False)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        y: Tensor = self.norm(self.conv(x))
        return y


class ResidualBlock(nn.Module):
    """Two convolutions, or three with a bottleneck, and a shortcut."""

    def __init__(self, before: int, width: int, stride: int, *, bottleneck: bool = False) -> None:
        """Create the layers; the shortcut has a convolution if shapes differ."""
        super().__init__()
        after = width * EXPANSION if bottleneck else width
        if bottleneck:
            sizes = [(before, width, 1, 1), (width, width, 3, stride), (width, after, 1, 1)]
        else:
            sizes = [(before, width, 3, stride), (width, after, 3, 1)]
        self.layers = nn.ModuleList(NormalisedConv(*size) for size in sizes)
        same = stride == 1 and before == after
        self.past = nn.Identity() if same else NormalisedConv(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        h = x
        for layer in self.layers[:-1]:
            h = F.relu(layer(h))
        return F.relu(self.layers[-1](h) + self.past(x))


class ResNet(nn.Module):
    """(N, channels, size, size) -> the logit of signal over background."""

    def __init__(
        self, channels: int, widths: Sequence[int], blocks: Sequence[int], *, bottleneck: bool
    ) -> None:
        """Create the layers in the order of their use; with bottlenecks, two layers reduce the size first."""
        super().__init__()
        self.large = bottleneck
        self.stem = NormalisedConv(channels, widths[0], 7 if bottleneck else 3, 2)
        self.blocks, before = nn.ModuleList(), widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for number in range(count):
                stride = 2 if stage and not number else 1
                self.blocks.append(ResidualBlock(before, width, stride, bottleneck=bottleneck))
                before = width * EXPANSION if bottleneck else width
        self.dense = nn.Linear(before, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Return the logit (N,)."""
        if self.training:
            frames = turn_images(frames)
        h = torch.log(1.0 + PER_GEV * F.relu(frames))
        h = F.relu(self.stem(h.contiguous(memory_format=torch.channels_last) if self.training else h))
        if self.large:
            h = F.max_pool2d(h, 3, stride=2, padding=1)
        for block in self.blocks:
            h = block(h)
        logit: Tensor = self.dense(h.mean((2, 3)))
        return logit.squeeze(1)


def turn_images(frames: Tensor) -> Tensor:
    """Return a batch mirrored and rotated by quarter turns at random: jets have no preferred direction."""
    for axis in (2, 3):
        if torch.rand(()) < 0.5:
            frames = frames.flip(axis)
    return frames.transpose(2, 3) if torch.rand(()) < 0.5 else frames


def small_resnet(channels: int) -> ResNet:
    """Return the network of 14 layers, untrained."""
    net = ResNet(channels, SMALL_CHANNELS, SMALL_BLOCKS, bottleneck=False)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # missing in torch's stubs


def resnet_50(channels: int = 3) -> ResNet:
    """Return ResNet-50 with random weights from torch's generator."""
    return ResNet(channels, RESNET50_CHANNELS, RESNET50_BLOCKS, bottleneck=True)


TOP_RESNET = register(
    Tagger(
        name="top-resnet",
        description="Hadronic top decays against other jets: a residual network of 14 layers on images of a jet's candidates",
        features={"frames": JET_IMAGES.name},
        units={"frames": f"pT of {', '.join(JET_IMAGES.channels)}, GeV"},
        classes=("background", "signal"),
        build=lambda _: small_resnet(len(JET_IMAGES.channels)),
        recipe=Recipe(weight_decay=1e-4, patience_decay=1, patience_stop=4, batch=128, epochs=12),
        background_efficiencies=(0.3, 0.1, 1e-2),
        rows="frames",
        truth=TruthMatching(signal=(6,), background=(), radius=0.4, pt_min_gev=200.0),
    )
)
RESNET50 = register(
    UntrainedNetwork(
        name="resnet50",
        description="ResNet-50 on images of 3 x 224 x 224, untrained: for measurements of speed, its answers mean nothing",
        build=resnet_50,
        shape=(3, 224, 224),
    )
)
