"""Fixed-point quantisers with gradients: straight-through for values, and for bit widths as in HGQ (arXiv:2405.00645)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

WIDTH_STEP = 4.0  # bits for each unit of a trained width, so that widths move faster than weights; more in a short training
SMALLEST_BITS = 8  # by which the smallest values of a tensor may lie below the largest
LOG_2 = math.log(2.0)


def power(exponents: Tensor) -> Tensor:
    """Return powers of two, exact in float32 (`torch.ldexp` and `torch.exp2` may be off in the last bit)."""
    return ((exponents.detach().round().to(torch.int32).clamp(-126, 127) + 127) << 23).view(torch.float32)


class _Round(torch.autograd.Function):
    """Rounds to multiples of 2^-fraction: the gradient passes unchanged, that of the width is the rounding error times ln 2."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, fraction: Tensor, even: bool) -> Tensor:
        scaled = values * power(fraction)
        rounded = torch.round(scaled) if even else torch.floor(scaled + 0.5)
        result = rounded * power(-fraction)
        ctx.save_for_backward(values - result)
        ctx.shape = fraction.shape
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (error,) = ctx.saved_tensors
        of_width = (gradient * error * LOG_2).sum_to_size(ctx.shape)
        return gradient, of_width, None


def round_to(values: Tensor, fraction: Tensor, *, even: bool = False) -> Tensor:
    """Round to multiples of 2^-fraction, ties upwards or to even."""
    return _Round.apply(values, fraction, even)  # type: ignore[no-untyped-call] # missing in torch's stubs


def whole(widths: Tensor) -> Tensor:
    """Round widths to whole bits, with the gradient of the identity."""
    return widths + (torch.round(widths) - widths).detach()


def bounded(fewer: nn.Parameter, width: int, step: float) -> Tensor:
    """Return the bits that are saved: at least none, and no more than leave a bit of the smallest values."""
    with torch.no_grad():
        fewer.clamp_(0.0, (width + SMALLEST_BITS) / step)
    return fewer * step


def magnitude_bits(values: Tensor) -> Tensor:
    """Return the bits before the binary point that the magnitudes need; very few for zero."""
    return torch.frexp(values.detach().abs().clamp(min=2.0**-60))[1].to(values.dtype)


class WeightQuantiser(nn.Module):
    """Quantises weights: one width for a tensor or for each output, or a trained one for each of these or each weight.

    A width counts the sign. The bits before the binary point follow the largest weight.
    """

    width_step: float = WIDTH_STEP
    limit: Tensor
    enabled: Tensor

    def __init__(self, weight: Tensor, width: int, per: str, outputs_axis: int, *, trained: bool) -> None:
        """Begin with the same width everywhere."""
        super().__init__()
        self.width, self.per, self.trained = width, per, trained
        self.axes = tuple(axis for axis in range(weight.ndim) if per == "tensor" or axis != outputs_axis)
        shape = weight.shape if per == "weight" else weight.abs().amax(self.axes, keepdim=True).shape
        self.register_buffer("limit", torch.zeros(shape))  # of the fraction bits, if they are trained
        self.register_buffer("enabled", torch.tensor(False))
        self.fewer = nn.Parameter(
            torch.zeros(shape), requires_grad=trained
        )  # bits below the limit, in units of width_step

    @torch.no_grad()
    def enable(self, weight: Tensor) -> None:
        """Begin to quantise, with widths that fit these weights."""
        self.limit.copy_((self.width - 1 - self._integer(weight)).expand_as(self.limit))
        self.enabled.fill_(True)

    def _integer(self, weight: Tensor) -> Tensor:
        largest = weight.detach().abs()
        largest = (
            largest.amax() if self.per in ("tensor", "weight") else largest.amax(self.axes, keepdim=True)
        )
        return magnitude_bits(largest)

    def fraction(self, weight: Tensor) -> Tensor:
        """Return the fraction bits of each group."""
        if self.trained:
            return whole(self.limit - bounded(self.fewer, self.width, self.width_step))
        return self.width - 1 - self._integer(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """Quantise; too large a weight becomes the largest one."""
        if not self.enabled:
            return weight
        fraction = self.fraction(weight)
        rounded = round_to(weight, fraction)
        if self.trained:  # widths follow the values, so that nothing is too large
            return rounded
        most = power(self._integer(weight))
        return torch.minimum(rounded, most - power(-fraction))

    def bits(self, weight: Tensor) -> Tensor:
        """Return the bits of each quantised weight's magnitude, for the cost in training."""
        fraction = self.fraction(weight)
        rounded = round_to(weight.detach(), fraction.detach())
        return torch.relu(magnitude_bits(rounded) + fraction)


class TensorQuantiser(nn.Module):
    """Quantises the values of a tensor: rounding, then saturation.

    Inputs are scaled by a power of two and shifted to about -1 to 1 first, channel by channel. Their rounding is half to even, which is exact
    for any float32; that of activations, which are multiples of a power of two already, is upwards as in HLS's RND.
    """

    width_step: float = WIDTH_STEP
    shift: Tensor
    offset: Tensor
    reach: Tensor
    limit: Tensor
    enabled: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int,
        *,
        signed: bool,
        is_input: bool,
        trained: bool,
        most_reach: int | None = None,
    ) -> None:
        """Begin without effect; `shape` is that of the channels, without the batch, and `most_reach` bounds the bits before the binary point."""
        super().__init__()
        self.most_reach = most_reach
        self.width, self.signed, self.is_input, self.trained = width, signed, is_input, trained
        for name in ("shift", "offset", "reach"):  # reach: bits before the binary point that the values need
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("limit", torch.full(shape, float(width - int(signed))))  # of the fraction bits
        self.register_buffer("enabled", torch.tensor(False))
        self.fewer = nn.Parameter(torch.zeros(shape), requires_grad=trained)
        self.narrower = nn.Parameter(torch.zeros(shape), requires_grad=trained)  # bits below the reach

    @property
    def integer(self) -> Tensor:
        """The bits before the binary point: fewer than the values need where training lets the largest ones saturate."""
        if not self.trained:
            return self.reach
        return whole(self.reach - bounded(self.narrower, self.width, self.width_step))

    @property
    def fraction(self) -> Tensor:
        """The fraction bits of each channel: at first the same, so that those with smaller values have fewer bits."""
        if not self.trained:
            return self.limit
        return whole(self.limit - bounded(self.fewer, self.width, self.width_step))

    @property
    def offset_on_grid(self) -> Tensor:
        """What is subtracted from a scaled input: a multiple of its step."""
        return torch.round(self.offset * power(self.fraction)) * power(-self.fraction)

    @property
    def limits(self) -> tuple[Tensor, Tensor]:
        """The smallest and the largest value of each channel."""
        integer, fraction = self.integer, self.fraction.detach()
        top = power(integer) * (
            1.0 + LOG_2 * (integer - integer.detach())
        )  # exact, with the gradient of a power
        empty = integer.detach() + fraction < 0  # no bits are left, so that only zero is
        high = torch.where(empty, 0.0, top - power(-fraction))
        return (torch.where(empty, 0.0, -top) if self.signed else torch.zeros_like(top)), high

    def forward(self, values: Tensor) -> Tensor:
        """Quantise."""
        if self.is_input:
            values = values * power(-self.shift)
            if not self.enabled:
                return values - self.offset
            rounded = round_to(values, self.fraction, even=True) - self.offset_on_grid
        elif not self.enabled:
            return values
        else:
            rounded = round_to(values, self.fraction)
        low, high = self.limits
        return torch.maximum(torch.minimum(rounded, high), low)

    @property
    def bits(self) -> Tensor:
        """The width of each channel, for the cost in training."""
        magnitude = self.integer + self.fraction
        return torch.relu(magnitude) + (magnitude > 0) * int(self.signed)

    @torch.no_grad()
    def enable(self, low: Tensor, high: Tensor) -> None:
        """Begin to quantise activations within a range; inputs keep the range that they are scaled to."""
        self.adapt(low, high)
        self.limit.copy_((self.width - int(self.signed) - self.reach.amax()).expand_as(self.reach))
        self.enabled.fill_(True)

    @torch.no_grad()
    def adapt(self, low: Tensor, high: Tensor) -> None:
        """Follow a range that has changed: other bits before the binary point, the same behind it."""
        if not self.is_input:
            reach = magnitude_bits(torch.maximum(high, -low))
            if self.most_reach is not None:
                reach = reach.clamp(max=self.most_reach)
            self.reach.copy_(reach.expand_as(self.reach))
