"""A residual network in eight bits: its normalisations folded, weights and activations rounded as integers are.

Rounding is simulated in training, and passes gradients on as if it were not there. The exported graph holds
QuantizeLinear and DequantizeLinear, of which engines make integer convolutions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from tamis.zoo.networks.resnet import PER_GEV, Block, Normalised, ResNet, turned

WEIGHT_MAX, ACTIVATION_MAX = 127, 255
CLIPPED = 1e-4  # of the activations seen in calibration, in the tail
ROWS_SEEN = 200_000  # activations that a quantile is taken of, for each layer


class Rounded(nn.Module):
    """Activations as eight-bit integers times a scale, which calibration sets; positive ones use all bits."""

    scale: Tensor

    def __init__(self, *, positive: bool = True) -> None:
        """Begin uncalibrated: values pass as they are."""
        super().__init__()
        self.low, self.high = (0, ACTIVATION_MAX) if positive else (-WEIGHT_MAX - 1, WEIGHT_MAX)
        self.register_buffer("scale", torch.tensor(0.0))
        self.calibrating = True
        self.largest = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Round, or in calibration only look."""
        if self.calibrating:
            some = x.detach().abs().flatten()
            some = some[:: max(1, len(some) // ROWS_SEEN)]
            self.largest = max(self.largest, float(torch.quantile(some[:ROWS_SEEN], 1.0 - CLIPPED)))
            return x
        return torch.fake_quantize_per_tensor_affine(x, float(self.scale), 0, self.low, self.high)

    def settle(self) -> None:
        """Fix the scale by what was seen."""
        self.scale.fill_(max(self.largest, 1e-6) / self.high)
        self.calibrating = False


class RoundedConv(nn.Module):
    """A convolution with its normalisation inside, and weights of eight bits with one scale for all."""

    scale: Tensor

    def __init__(self, layer: Normalised) -> None:
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
        """Apply."""
        weight = torch.fake_quantize_per_tensor_affine(
            self.weight, float(self.scale), 0, -WEIGHT_MAX - 1, WEIGHT_MAX
        )
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class RoundedBlock(nn.Module):
    """A block in eight bits: what is added is rounded too."""

    def __init__(self, block: Block) -> None:
        """Take the layers over."""
        super().__init__()
        self.layers = nn.ModuleList(
            RoundedConv(layer) for layer in block.layers if isinstance(layer, Normalised)
        )
        self.rounding = nn.ModuleList(Rounded() for _ in self.layers)
        self.sum_rounding = Rounded(positive=False)
        past = block.past
        self.past: nn.Module = nn.Identity()
        if isinstance(past, Normalised):
            self.past = nn.Sequential(RoundedConv(past), Rounded(positive=False))

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        h = x
        for layer, rounding in zip(self.layers[:-1], self.rounding[:-1], strict=True):
            h = rounding(F.relu(layer(h)))
        found: Tensor = self.rounding[-1](F.relu(self.sum_rounding(self.layers[-1](h)) + self.past(x)))
        return found


class RoundedResNet(nn.Module):
    """The same network in eight bits, but for its last layer of one number per channel."""

    def __init__(self, net: ResNet) -> None:
        """Take a trained network over."""
        super().__init__()
        self.large = net.large
        self.image_rounding, self.stem_rounding = Rounded(), Rounded()
        self.stem = RoundedConv(net.stem)
        self.blocks = nn.ModuleList(RoundedBlock(block) for block in net.blocks if isinstance(block, Block))
        self.dense = net.dense

    def forward(self, frames: Tensor) -> Tensor:
        """Return the logit (N,)."""
        if self.training:
            frames = turned(frames)
        h = self.image_rounding(torch.log(1.0 + PER_GEV * F.relu(frames)))
        h = self.stem_rounding(F.relu(self.stem(h)))
        if self.large:
            h = F.max_pool2d(h, 3, stride=2, padding=1)
        for block in self.blocks:
            h = block(h)
        found: Tensor = self.dense(h.mean((2, 3)))
        return found.squeeze(1)

    @torch.no_grad()
    def calibrate(self, frames: Tensor) -> None:
        """Set all scales by what some images give."""
        roundings = [part for part in self.modules() if isinstance(part, Rounded)]
        self.eval()
        for some in torch.split(frames, 128):
            self(some)
        for part in roundings:
            part.settle()
