"""The small residual network in 8 bits: batch normalisation folded, weights and activations quantised.

Training simulates the rounding and passes gradients straight through it. The exported graph contains QuantizeLinear and
DequantizeLinear, which engines turn into integer convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from tamis.features.jet_images import JET_IMAGES
from tamis.zoo.networks.description import Store
from tamis.zoo.networks.registry import register
from tamis.zoo.networks.resnet import (
    PER_GEV,
    TOP_RESNET,
    NormalisedConv,
    ResidualBlock,
    ResNet,
    small_resnet,
    turn_images,
)

WEIGHT_MAX, ACTIVATION_MAX = 127, 255
CLIPPED_FRACTION = 1e-4  # of the activations seen in calibration, which saturate
QUANTILE_SAMPLE = 200_000  # activations from which a layer's quantile is taken
CALIBRATION_ROWS = 1024


class QuantisedActivations(nn.Module):
    """Activations as 8-bit integers times a scale, which calibration sets; unsigned for positive ones."""

    scale: Tensor

    def __init__(self, *, positive: bool = True) -> None:
        """Start uncalibrated: values pass unchanged."""
        super().__init__()
        self.low, self.high = (0, ACTIVATION_MAX) if positive else (-WEIGHT_MAX - 1, WEIGHT_MAX)
        self.register_buffer("scale", torch.tensor(0.0))
        self.calibrating = True
        self.largest = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Quantise, or during calibration record the range and return x."""
        if self.calibrating:
            sample = x.detach().abs().flatten()
            sample = sample[:: max(1, len(sample) // QUANTILE_SAMPLE)]
            quantile = torch.quantile(sample[:QUANTILE_SAMPLE], 1.0 - CLIPPED_FRACTION)
            self.largest = max(self.largest, float(quantile))
            return x
        return torch.fake_quantize_per_tensor_affine(x, float(self.scale), 0, self.low, self.high)

    def finish_calibration(self) -> None:
        """Fix the scale by the recorded range."""
        self.scale.fill_(max(self.largest, 1e-6) / self.high)
        self.calibrating = False


class QuantisedConv(nn.Module):
    """A convolution with its normalisation folded in, and 8-bit weights with one scale for the tensor."""

    scale: Tensor

    def __init__(self, layer: NormalisedConv) -> None:
        """Fold the normalisation into weights and bias."""
        super().__init__()
        norm = layer.norm
        assert norm.running_var is not None  # noqa: S101 - for the type checker
        assert norm.running_mean is not None  # noqa: S101
        factor = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
        self.weight = nn.Parameter(layer.conv.weight.detach() * factor.reshape(-1, 1, 1, 1))
        self.bias = nn.Parameter(norm.bias.detach() - norm.running_mean * factor)
        self.stride, self.padding = layer.conv.stride, layer.conv.padding
        self.register_buffer("scale", self.weight.detach().abs().max() / WEIGHT_MAX)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution with quantised weights."""
        weight = torch.fake_quantize_per_tensor_affine(
            self.weight, float(self.scale), 0, -WEIGHT_MAX - 1, WEIGHT_MAX
        )
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class QuantisedBlock(nn.Module):
    """A residual block in 8 bits; both summands are quantised before they are added."""

    def __init__(self, block: ResidualBlock) -> None:
        """Quantise the layers of a trained block."""
        super().__init__()
        self.layers = nn.ModuleList(
            QuantisedConv(layer) for layer in block.layers if isinstance(layer, NormalisedConv)
        )
        self.rounding = nn.ModuleList(QuantisedActivations() for _ in self.layers)
        self.sum_rounding = QuantisedActivations(positive=False)
        past = block.past
        self.past: nn.Module = nn.Identity()
        if isinstance(past, NormalisedConv):
            self.past = nn.Sequential(QuantisedConv(past), QuantisedActivations(positive=False))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        h = x
        for layer, rounding in zip(self.layers[:-1], self.rounding[:-1], strict=True):
            h = rounding(F.relu(layer(h)))
        y: Tensor = self.rounding[-1](F.relu(self.sum_rounding(self.layers[-1](h)) + self.past(x)))
        return y


class QuantisedResNet(nn.Module):
    """A residual network in 8 bits, except for its last layer."""

    def __init__(self, net: ResNet) -> None:
        """Quantise a trained network; the scales of the activations come from `calibrate`."""
        super().__init__()
        self.large = net.large
        self.image_rounding, self.stem_rounding = QuantisedActivations(), QuantisedActivations()
        self.stem = QuantisedConv(net.stem)
        self.blocks = nn.ModuleList(
            QuantisedBlock(block) for block in net.blocks if isinstance(block, ResidualBlock)
        )
        self.dense = net.dense

    def forward(self, frames: Tensor) -> Tensor:
        """Return the logit (N,)."""
        if self.training:
            frames = turn_images(frames)
        h = self.image_rounding(torch.log(1.0 + PER_GEV * F.relu(frames)))
        h = self.stem_rounding(F.relu(self.stem(h)))
        if self.large:
            h = F.max_pool2d(h, 3, stride=2, padding=1)
        for block in self.blocks:
            h = block(h)
        logit: Tensor = self.dense(h.mean((2, 3)))
        return logit.squeeze(1)

    @torch.no_grad()
    def calibrate(self, frames: Tensor) -> None:
        """Set the scales of all activations by the ranges that these images give."""
        self.eval()
        for batch in torch.split(frames, 128):
            self(batch)
        for part in self.modules():
            if isinstance(part, QuantisedActivations):
                part.finish_calibration()


def _build_from(weights: Mapping[str, Tensor], inputs: Mapping[str, Store]) -> nn.Module:
    net = small_resnet(len(JET_IMAGES.channels))
    net.load_state_dict(weights)
    quantised = QuantisedResNet(net.eval())
    frames = inputs["frames"]
    rows = np.linspace(0, len(frames) - 1, min(CALIBRATION_ROWS, len(frames))).astype(np.int64)
    quantised.calibrate(torch.from_numpy(frames[rows]))
    return quantised


TOP_RESNET_INT8 = register(
    replace(
        TOP_RESNET,
        name="top-resnet-int8",
        description="The residual network on jet images in eight bits, its scales set by images that it was trained on",
        recipe=replace(TOP_RESNET.recipe, epochs=0),
        starts_from=TOP_RESNET.name,
        build_from=_build_from,
    )
)
TOP_RESNET_INT8_TUNED = register(
    replace(
        TOP_RESNET_INT8,
        name="top-resnet-int8-tuned",
        description="The residual network on jet images in eight bits, trained further with its rounding",
        recipe=replace(TOP_RESNET.recipe, learning_rate=1e-4, epochs=3),
    )
)
