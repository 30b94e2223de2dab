"""Student networks: dense ones, convolutional ones along particles or over images, and ones of the leading particles."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tamis._base import UsageError

STUDENT_SIZES = {
    "dense": ((8,), (12, 8), (16,), (24, 8), (32, 16), (64, 16), (64, 32, 16), (128, 32)),
    "particles": (
        (16, 12, 16),
        (32, 12, 16),
        (32, 12, 12, 16),
        (48, 10, 10, 16),
        (64, 8, 8, 16),
        (100, 8, 16),
    ),
    "conv": ((4, 8), (4, 16), (8, 16), (8, 8, 16), (16, 16, 16), (16, 32)),
}
OFFSET_STEPS = 8.0  # offsets are multiples of an eighth of the scale
POOLED = 4  # particles in a mean: a power of two, which is exact in fixed point
SKEWED = 4.0  # the largest value relative to the mean magnitude, from which a positive feature enters as a logarithm
UNIT_QUANTILE = 0.1  # of a skewed feature, whose power of two is the unit of its logarithm
PATCH_SIDE = 2  # of an image, that a kernel covers


class Scaling(nn.Module):
    """Subtracts an offset and multiplies by a power of two, so that values are of the order of one."""

    offset: Tensor
    factor: Tensor

    def __init__(self, offset: np.ndarray, spread: np.ndarray) -> None:
        """Take the mean and the standard deviation of every element, or of every channel."""
        super().__init__()
        scale = np.exp2(np.rint(np.log2(np.where(spread > 0, spread, 1.0))))
        steps = np.rint(offset / scale * OFFSET_STEPS) / OFFSET_STEPS
        self.register_buffer("offset", torch.from_numpy((steps * scale).astype(np.float32)))
        self.register_buffer("factor", torch.from_numpy((1.0 / scale).astype(np.float32)))

    def forward(self, values: Tensor) -> Tensor:
        """Scale values."""
        return (values - self.offset) * self.factor


class Student(nn.Module):
    """Scaling of the inputs, hidden layers, and one number per row."""

    head: nn.Linear

    def __init__(self, mean: float, spread: float) -> None:
        """Take the mean and the spread of what is predicted; in training it is predicted in units of the spread."""
        super().__init__()
        self.mean, self.spread = mean, spread

    def hidden(self, *inputs: Tensor) -> Tensor:
        """Return the values that the last layer reads."""
        raise NotImplementedError

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the prediction: in training in units of the spread, otherwise as it is."""
        if self.training:
            scaled: Tensor = self.head(self.hidden(*inputs))
            return scaled.squeeze(1)
        weight, bias = self.head.weight * self.spread, self.head.bias * self.spread + self.mean
        return nn.functional.linear(self.hidden(*inputs), weight, bias).squeeze(1)


class DenseStudent(Student):
    """All inputs in one row, and dense layers."""

    def __init__(
        self, inputs: Sequence[np.ndarray], size: tuple[int, ...], mean: float, spread: float
    ) -> None:
        """Take rows of the inputs, which fix the scaling, and the numbers of neurons."""
        super().__init__(mean, spread)
        rows = np.concatenate([one.reshape(len(one), -1) for one in inputs], 1).astype(np.float64)
        self.scaling = Scaling(rows.mean(0), rows.std(0))
        self.layers = _dense((rows.shape[1], *size))
        self.head = nn.Linear(size[-1], 1)

    def hidden(self, *inputs: Tensor) -> Tensor:
        """Return the values of the last hidden layer."""
        rows = [one.flatten(1) for one in inputs]
        found: Tensor = self.layers(self.scaling(torch.cat(rows, 1) if len(rows) > 1 else rows[0]))
        return found


class ConvStudent(Student):
    """The same small network for each particle, or each patch of an image, then a dense layer."""

    def __init__(
        self, inputs: Sequence[np.ndarray], size: tuple[int, ...], mean: float, spread: float
    ) -> None:
        """Take rows of the input, which fix the scaling, the channels of the convolutions, and last the neurons."""
        super().__init__(mean, spread)
        if len(inputs) != 1 or inputs[0].ndim not in (3, 4):
            raise UsageError(
                "a convolutional student needs one input with the shape (N, particles, features) or (N, channels, height, width), "
                f"this parent has {', '.join(str(('N', *one.shape[1:])) for one in inputs)}: take --student dense"
            )
        rows = inputs[0].astype(np.float64)
        self.image = rows.ndim == 4
        channels, *widths = (rows.shape[1] if self.image else rows.shape[2], *size[:-1])
        axes = (0, 2, 3) if self.image else (0, 1)
        shape = (channels, 1, 1) if self.image else (channels, 1)
        self.scaling = Scaling(rows.mean(axes).reshape(shape), rows.std(axes).reshape(shape))
        layers: list[nn.Module] = []
        for number, width in enumerate(widths):
            if self.image:
                kernel = PATCH_SIDE if number == 0 else 1
                layers += [nn.Conv2d(channels, width, kernel, stride=kernel), nn.ReLU()]
            else:
                layers += [nn.Conv1d(channels, width, 1), nn.ReLU()]
            channels = width
        if not self.image and rows.shape[1] >= POOLED:
            layers.append(nn.AvgPool1d(POOLED))
        self.features = nn.Sequential(*layers)
        with torch.no_grad():
            places = self.features(self._channels(torch.from_numpy(inputs[0][:1]))).numel()
        self.layers = _dense((places, size[-1]))
        self.head = nn.Linear(size[-1], 1)

    def _channels(self, values: Tensor) -> Tensor:
        scaled: Tensor = self.scaling(values if self.image else values.transpose(1, 2))
        return scaled

    def hidden(self, *inputs: Tensor) -> Tensor:
        """Return the values of the last hidden layer."""
        found: Tensor = self.layers(self.features(self._channels(inputs[0])).flatten(1))
        return found


class ParticleStudent(Student):
    """The same small network for each of the leading particles, and dense layers that know their order.

    Skewed features, such as a transverse momentum, enter as logarithms, which are floats: the rest can be quantised.
    """

    unit: Tensor

    def __init__(
        self, inputs: Sequence[np.ndarray], size: tuple[int, ...], mean: float, spread: float
    ) -> None:
        """Take rows of the input, which fix the scaling, the number of particles, the channels, and last the neurons."""
        super().__init__(mean, spread)
        if len(inputs) != 1 or inputs[0].ndim != 3:
            raise UsageError(
                "a student of particles needs one input with the shape (N, particles, features), this parent has "
                f"{', '.join(str(('N', *one.shape[1:])) for one in inputs)}: take --student dense"
            )
        self.leading = min(size[0], inputs[0].shape[1])
        rows = inputs[0][:, : self.leading].astype(np.float64)
        present = rows[(rows != 0).any(2)]
        largest, typical = (
            present.max(0, initial=0.0),
            np.abs(present).mean(0) if len(present) else np.ones(1),
        )
        self.skewed = [
            bool(skewed) for skewed in (present.min(0, initial=0.0) >= 0) & (largest > SKEWED * typical)
        ]
        small = np.array([_low(column) for column in present.T])
        units = np.exp2(np.rint(np.log2(np.where(self.skewed, small, 1.0))))
        self.register_buffer("unit", torch.from_numpy((1.0 / units).astype(np.float32)))
        present = np.where(self.skewed, np.log1p(np.where(self.skewed, present, 0.0) / units), present)
        self.scaling = Scaling(present.mean(0)[:, None], present.std(0)[:, None])
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((rows.shape[2], *size[1:-1])):
            layers += [nn.Conv1d(before, after, 1), nn.ReLU()]
        pooled = POOLED if self.leading % POOLED == 0 else 1
        if pooled > 1:
            layers.append(nn.AvgPool1d(pooled))
        self.features = nn.Sequential(*layers)
        self.layers = _dense((self.leading // pooled * size[-2], size[-1]))
        self.head = nn.Linear(size[-1], 1)

    def hidden(self, *inputs: Tensor) -> Tensor:
        """Return the values of the last hidden layer."""
        rows = inputs[0][:, : self.leading]
        columns = [
            torch.log1p(torch.relu(rows[:, :, i : i + 1]) * self.unit[i]) if skewed else rows[:, :, i : i + 1]
            for i, skewed in enumerate(self.skewed)
        ]
        features = self.features(self.scaling(torch.cat(columns, 2).transpose(1, 2)))
        found: Tensor = self.layers(features.flatten(1))
        return found


def build_student(
    family: str, size: tuple[int, ...], inputs: Sequence[np.ndarray], mean: float, spread: float, seed: int
) -> Student:
    """Return a student with random weights that follow from the seed."""
    torch.manual_seed(seed)
    kinds: dict[str, Callable[[Sequence[np.ndarray], tuple[int, ...], float, float], Student]] = {
        "dense": DenseStudent,
        "conv": ConvStudent,
        "particles": ParticleStudent,
    }
    return kinds[family](inputs, size, mean, spread)


def _dense(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


def _low(values: np.ndarray) -> float:
    """Return a small positive value of a feature, from which its logarithm is linear."""
    positive = values[values > 0]
    return float(np.quantile(positive, UNIT_QUANTILE)) if positive.size else 1.0
