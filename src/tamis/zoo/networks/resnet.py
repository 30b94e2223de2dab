"""Residual networks: a small one that trains on one core, and ResNet-50 in its true size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

PER_GEV = 4.0  # transverse momenta, before the logarithm
SMALL_WIDTHS, SMALL_BLOCKS = (16, 32, 64), (2, 2, 2)
WIDTHS, BLOCKS = (64, 128, 256, 512), (3, 4, 6, 3)  # of ResNet-50
EXPANSION = 4


class Normalised(nn.Module):
    """A convolution and its batch normalisation, which `folded` makes one convolution of."""

    def __init__(self, before: int, after: int, size: int, stride: int = 1) -> None:
        """Build both."""
        super().__init__()
        self.conv = nn.Conv2d(before, after, size, stride=stride, padding=size // 2, bias=False)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both."""
        found: Tensor = self.norm(self.conv(x))
        return found


class Block(nn.Module):
    """Two convolutions, or three with a narrow one in the middle, beside a way past them."""

    def __init__(self, before: int, width: int, stride: int, *, bottleneck: bool = False) -> None:
        """Build the layers; the way past them has a convolution where shapes differ."""
        super().__init__()
        after = width * EXPANSION if bottleneck else width
        if bottleneck:
            sizes = [(before, width, 1, 1), (width, width, 3, stride), (width, after, 1, 1)]
        else:
            sizes = [(before, width, 3, stride), (width, after, 3, 1)]
        self.layers = nn.ModuleList(Normalised(*size) for size in sizes)
        same = stride == 1 and before == after
        self.past = nn.Identity() if same else Normalised(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        h = x
        for layer in self.layers[:-1]:
            h = F.relu(layer(h))
        return F.relu(self.layers[-1](h) + self.past(x))


class ResNet(nn.Module):
    """(N, channels, size, size) -> one number, the logarithm of signal over background."""

    def __init__(
        self, channels: int, widths: Sequence[int], blocks: Sequence[int], *, bottleneck: bool
    ) -> None:
        """Build the layers in the order in which they are used; the large one begins with two steps down in size."""
        super().__init__()
        self.large = bottleneck
        self.stem = Normalised(channels, widths[0], 7 if bottleneck else 3, 2)
        self.blocks, before = nn.ModuleList(), widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for number in range(count):
                stride = 2 if stage and not number else 1
                self.blocks.append(Block(before, width, stride, bottleneck=bottleneck))
                before = width * EXPANSION if bottleneck else width
        self.dense = nn.Linear(before, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Return the logit (N,)."""
        if self.training:
            frames = turned(frames)
        h = torch.log(1.0 + PER_GEV * F.relu(frames))
        h = F.relu(self.stem(h.contiguous(memory_format=torch.channels_last) if self.training else h))
        if self.large:
            h = F.max_pool2d(h, 3, stride=2, padding=1)
        for block in self.blocks:
            h = block(h)
        found: Tensor = self.dense(h.mean((2, 3)))
        return found.squeeze(1)


def turned(frames: Tensor) -> Tensor:
    """Return the images of a batch turned over and by quarters at random: a jet has no up and no down."""
    for axis in (2, 3):
        if torch.rand(()) < 0.5:
            frames = frames.flip(axis)
    return frames.transpose(2, 3) if torch.rand(()) < 0.5 else frames


def small_resnet(channels: int) -> ResNet:
    """Return the untrained network of 14 layers."""
    found = ResNet(channels, SMALL_WIDTHS, SMALL_BLOCKS, bottleneck=False)
    return found.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch annotates it not


def resnet_50(channels: int = 3) -> ResNet:
    """Return ResNet-50 with the weights that it is born with, of which torch's seed decides."""
    return ResNet(channels, WIDTHS, BLOCKS, bottleneck=True)
