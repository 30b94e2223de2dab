"""The topology classifiers: a recurrent network on particles, a dense one on high-level features, both together.

Particles are read from the last to the first: padding, which stands at the end, comes first, as steps that are zero
behind the scaling, whatever it held; the lepton comes last. No lengths are needed, so that every engine runs the same
plain GRU or LSTM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn

HIDDEN = 48
WIDTH = 32
D0_SCALE_CM = 0.01  # d0 / (|d0| + this): the resolution is a fraction, a decay length a multiple of it
PARTICLE_PT, PARTICLE_ANGLES, PARTICLE_D0 = 0, [1, 2], 4
EVENT_ENERGIES = (0, 3, 4, 6, 7, 9)
EVENT_D0 = 12


class Scale(nn.Module):
    """Energies to logarithms, impact parameters to (-1, 1), then everything to mean 0 and width 1."""

    mean: Tensor
    width: Tensor

    def __init__(self, energies: Sequence[int], d0: int, sample: np.ndarray) -> None:
        """Fix the numbers from the rows that are trained on."""
        super().__init__()
        size = sample.shape[1]
        kinds = ["log" if c in energies else "d0" if c == d0 else "plain" for c in range(size)]
        runs = [list(run) for _, run in groupby(range(size), key=kinds.__getitem__)]
        self.runs = [(kinds[run[0]], run[0], run[-1] + 1) for run in runs]
        values = self._bent(torch.from_numpy(sample).double())
        self.register_buffer("mean", values.mean(0).float())
        self.register_buffer("width", values.std(0).clamp(min=1e-3).float())

    def _bent(self, x: Tensor) -> Tensor:
        parts = []
        for kind, start, stop in self.runs:
            part = x[..., start:stop]
            if kind == "log":
                part = torch.log(part + 1.0)
            elif kind == "d0":
                part = part / (part.abs() + D0_SCALE_CM)
            parts.append(part)
        return torch.cat(parts, -1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale."""
        return (self._bent(x) - self.mean) / self.width


class Recurrent(nn.Module):
    """(N, particles, values) -> (N, 48): the state after the last particle, which is the lepton."""

    backwards: Tensor

    def __init__(self, kind: type[nn.GRU | nn.LSTM], particles: np.ndarray) -> None:
        """Take the scale from the real particles."""
        super().__init__()
        real = particles[particles[:, :, PARTICLE_PT] > 0]
        self.scale = Scale((PARTICLE_PT,), PARTICLE_D0, real)
        self.recurrent = kind(particles.shape[2], HIDDEN)
        self.register_buffer("backwards", torch.arange(particles.shape[1] - 1, -1, -1))

    def forward(self, particles: Tensor) -> Tensor:
        """Read the particles, the lepton last."""
        if self.training:
            particles = mirrored(particles)
        mask = (particles[:, :, :1] > 0).to(particles.dtype)
        steps = (self.scale(particles) * mask)[:, self.backwards].transpose(0, 1)
        states, _ = self.recurrent(steps)
        last: Tensor = states[-1]
        return last


def mirrored(particles: Tensor) -> Tensor:
    """Turn eta and phi of half of the events over, each by itself: nature does not know one side from the other."""
    signs = torch.ones(len(particles), 1, particles.shape[2])
    signs[:, :, PARTICLE_ANGLES] = torch.randint(0, 2, (len(particles), 1, 2)) * 2.0 - 1.0
    return particles * signs.to(particles.device)


class HighLevel(nn.Module):
    """(N, values) -> (N, 32)."""

    def __init__(self, event: np.ndarray) -> None:
        """Take the scale from the events."""
        super().__init__()
        self.scale = Scale(EVENT_ENERGIES, EVENT_D0, event)
        self.dense_1, self.dense_2 = nn.Linear(event.shape[1], 64), nn.Linear(64, WIDTH)

    def forward(self, event: Tensor) -> Tensor:
        """Return what the event looks like."""
        return torch.relu(self.dense_2(torch.relu(self.dense_1(self.scale(event)))))


class Head(nn.Module):
    """One or two bodies, then the logits."""

    def __init__(self, bodies: Sequence[nn.Module], width: int, classes: int) -> None:
        """Join the bodies' outputs, `width` values in all."""
        super().__init__()
        self.bodies = nn.ModuleList(bodies)
        self.dense, self.logits = nn.Linear(width, WIDTH), nn.Linear(WIDTH, classes)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return a logit per class."""
        read = [body(x) for body, x in zip(self.bodies, inputs, strict=True)]
        joined = read[0] if len(read) == 1 else torch.cat(read, 1)
        logits: Tensor = self.logits(torch.relu(self.dense(joined)))
        return logits


def build(name: str, inputs: Mapping[str, np.ndarray], classes: int) -> nn.Module:
    """Return the untrained network of a topology classifier."""
    if name == "topology-hlf":
        return Head([HighLevel(inputs["event"])], WIDTH, classes)
    kind = nn.LSTM if name == "topology-lstm" else nn.GRU
    recurrent = Recurrent(kind, inputs["particles"])
    if name == "topology-both":
        return Head([recurrent, HighLevel(inputs["event"])], HIDDEN + WIDTH, classes)
    return Head([recurrent], HIDDEN, classes)
