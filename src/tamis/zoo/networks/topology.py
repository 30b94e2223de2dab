"""The topology classifiers: a recurrent network on particles, a dense one on high-level features, and both together.

Particles are read in reverse: the padding at the end of the list comes first, as zeros after scaling and masking, and the
lepton, the first of the list, comes last. So no lengths are needed, and every engine runs the same plain GRU or LSTM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn

from tamis.features.lepton_event import LEPTON_EVENT
from tamis.features.particles import PARTICLE_LIST
from tamis.zoo.networks.description import Classifier, Recipe, Store
from tamis.zoo.networks.registry import register

RECURRENT_WIDTH = 48
DENSE_WIDTH = 32
D0_SCALE_CM = 0.01  # scale of d0 / (|d0| + scale): above the resolution, below decay lengths
PARTICLE_PT, PARTICLE_ANGLES, PARTICLE_D0 = 0, [1, 2], 4
EVENT_ENERGIES = (0, 3, 4, 6, 7, 9)
EVENT_D0 = 12


class ScaleColumns(nn.Module):
    """Logarithms of energies, impact parameters mapped to (-1, 1), then all standardised."""

    mean: Tensor
    width: Tensor

    def __init__(self, energies: Sequence[int], d0: int, sample: np.ndarray) -> None:
        """Compute mean and width from training rows."""
        super().__init__()
        size = sample.shape[1]
        kinds = ["log" if c in energies else "d0" if c == d0 else "plain" for c in range(size)]
        runs = [list(run) for _, run in groupby(range(size), key=kinds.__getitem__)]
        self.runs = [(kinds[run[0]], run[0], run[-1] + 1) for run in runs]
        values = self._transform(torch.from_numpy(sample).double())
        self.register_buffer("mean", values.mean(0).float())
        self.register_buffer("width", values.std(0).clamp(min=1e-3).float())

    def _transform(self, x: Tensor) -> Tensor:
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
        return (self._transform(x) - self.mean) / self.width


class Recurrent(nn.Module):
    """(N, particles, values) -> (N, 48): the state after the last step, the lepton."""

    backwards: Tensor

    def __init__(self, kind: type[nn.GRU | nn.LSTM], particles: np.ndarray) -> None:
        """Compute the scales from particles that are not padding."""
        super().__init__()
        real = particles[particles[:, :, PARTICLE_PT] > 0]
        self.scale = ScaleColumns((PARTICLE_PT,), PARTICLE_D0, real)
        self.recurrent = kind(particles.shape[2], RECURRENT_WIDTH)
        self.register_buffer("backwards", torch.arange(particles.shape[1] - 1, -1, -1))

    def forward(self, particles: Tensor) -> Tensor:
        """Read the particles, the lepton last."""
        if self.training:
            particles = mirror_angles(particles)
        mask = (particles[:, :, :1] > 0).to(particles.dtype)
        steps = (self.scale(particles) * mask)[:, self.backwards].transpose(0, 1)
        states, _ = self.recurrent(steps)
        last: Tensor = states[-1]
        return last


def mirror_angles(particles: Tensor) -> Tensor:
    """Flip the signs of eta and of phi, each in half of the events at random: the physics is symmetric."""
    signs = torch.ones(len(particles), 1, particles.shape[2])
    signs[:, :, PARTICLE_ANGLES] = torch.randint(0, 2, (len(particles), 1, 2)) * 2.0 - 1.0
    return particles * signs.to(particles.device)


class HighLevel(nn.Module):
    """(N, values) -> (N, 32)."""

    def __init__(self, event: np.ndarray) -> None:
        """Compute the scales from the events."""
        super().__init__()
        self.scale = ScaleColumns(EVENT_ENERGIES, EVENT_D0, event)
        self.dense_1, self.dense_2 = nn.Linear(event.shape[1], 64), nn.Linear(64, DENSE_WIDTH)

    def forward(self, event: Tensor) -> Tensor:
        """Return the 32 features."""
        return torch.relu(self.dense_2(torch.relu(self.dense_1(self.scale(event)))))


class TopologyNet(nn.Module):
    """One or two bodies, a dense layer and the logits."""

    def __init__(self, bodies: Sequence[nn.Module], width: int, classes: int) -> None:
        """Join `bodies`, which have `width` outputs in total."""
        super().__init__()
        self.bodies = nn.ModuleList(bodies)
        self.dense, self.logits = nn.Linear(width, DENSE_WIDTH), nn.Linear(DENSE_WIDTH, classes)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return a logit per class."""
        outputs = [body(x) for body, x in zip(self.bodies, inputs, strict=True)]
        joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)
        logits: Tensor = self.logits(torch.relu(self.dense(joined)))
        return logits


TOPOLOGY_CLASSES = ("qcd", "w", "ttbar")
INPUT_UNITS = {
    "particles": "pT in GeV; eta, phi relative to the lepton; charge; d0 in cm; isolation; five types",
    "event": "GeV, cm, numbers of jets: tamis.features.LEPTON_EVENT_VALUES",
}


def _build(kind: type[nn.GRU | nn.LSTM], inputs: Mapping[str, Store]) -> nn.Module:
    """Return an untrained network with a body for each input."""
    arrays = {name: store[np.arange(len(store))] for name, store in inputs.items()}
    bodies: list[nn.Module] = []
    if "particles" in arrays:
        bodies.append(Recurrent(kind, arrays["particles"]))
    if "event" in arrays:
        bodies.append(HighLevel(arrays["event"]))
    width = RECURRENT_WIDTH * ("particles" in arrays) + DENSE_WIDTH * ("event" in arrays)
    return TopologyNet(bodies, width, len(TOPOLOGY_CLASSES))


def _topology(
    name: str,
    description: str,
    features: Mapping[str, str],
    recipe: Recipe,
    kind: type[nn.GRU | nn.LSTM] = nn.GRU,
) -> Classifier:
    return register(
        Classifier(
            name=name,
            description=f"Topology classifier: {description}",
            features=features,
            units={key: INPUT_UNITS[key] for key in features},
            classes=TOPOLOGY_CLASSES,
            build=partial(_build, kind),
            recipe=recipe,
        )
    )


_PARTICLES, _EVENT = {"particles": PARTICLE_LIST.name}, {"event": LEPTON_EVENT.name}
_RECURRENT = Recipe(learning_rate=2e-3, patience_stop=5, epochs=32)

TOPOLOGY_GRU = _topology("topology-gru", "GRU on the particles around the lepton", _PARTICLES, _RECURRENT)
TOPOLOGY_LSTM = _topology(
    "topology-lstm", "LSTM on the particles around the lepton", _PARTICLES, _RECURRENT, nn.LSTM
)
TOPOLOGY_HLF = _topology("topology-hlf", "dense network on high-level features", _EVENT, Recipe(epochs=100))
TOPOLOGY_BOTH = _topology("topology-both", "GRU and high-level features", _PARTICLES | _EVENT, _RECURRENT)
