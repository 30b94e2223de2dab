"""The reference classifiers: what each reads, which classes it tells apart, and how it is trained, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from quickbeam._base import UsageError

if TYPE_CHECKING:
    from torch import nn

Build = Callable[[Mapping[str, np.ndarray], int], "nn.Module"]


@dataclass(frozen=True)
class Fit:
    """Numbers of a supervised training: Adam on the cross entropy, every class counting the same."""

    learning_rate: float = 1e-3
    decay: float = (
        0.5  # factor on the learning rate when the validation loss has not fallen for `patience_decay` epochs
    )
    patience_decay: int = 2
    patience_stop: int = 6
    batch: int = 256
    epochs: int = 40


@dataclass(frozen=True)
class Classifier:
    """One classifier; its module takes the inputs in order and returns a logit per class."""

    name: str
    description: str
    features: Mapping[str, str]  # by input
    units: Mapping[str, str]
    classes: tuple[str, ...]  # the first is the background: the score is the probability of all others
    build: Build  # from the inputs trained on, for the scale of what is inside the graph, and the number of classes
    fit: Fit = Fit()


def _topology(name: str, inputs: Mapping[str, np.ndarray], classes: int) -> nn.Module:
    from quickbeam.zoo import topology

    return topology.build(name, inputs, classes)


_PARTICLES = {"particles": "particle_list"}
_EVENT = {"event": "lepton_event"}
_UNITS = {
    "particles": "pT in GeV; eta, phi relative to the lepton; charge; d0 in cm; isolation; five types",
    "event": "GeV, cm, numbers of jets: quickbeam.features.LEPTON_EVENT_VALUES",
}
_TOPOLOGY_CLASSES = ("qcd", "w", "ttbar")
_RECURRENT = Fit(learning_rate=2e-3, patience_stop=5, epochs=32)


def _one(name: str, description: str, features: Mapping[str, str], fit: Fit) -> Classifier:
    units = {key: _UNITS[key] for key in features}
    return Classifier(name, description, features, units, _TOPOLOGY_CLASSES, partial(_topology, name), fit)


CLASSIFIERS = {
    model.name: model
    for model in (
        _one(
            "topology-gru",
            "Topology classifier: GRU on the particles around the lepton",
            _PARTICLES,
            _RECURRENT,
        ),
        _one(
            "topology-lstm",
            "Topology classifier: LSTM on the particles around the lepton",
            _PARTICLES,
            _RECURRENT,
        ),
        _one(
            "topology-hlf",
            "Topology classifier: dense network on high-level features",
            _EVENT,
            Fit(epochs=100),
        ),
        _one(
            "topology-both",
            "Topology classifier: GRU and high-level features",
            _PARTICLES | _EVENT,
            _RECURRENT,
        ),
    )
}


def with_numbers(classifier: Classifier, epochs: int | None, batch: int | None = None) -> Classifier:
    """Return the classifier with other numbers in its recipe."""
    fit = classifier.fit
    for value, what in ((epochs, "epochs"), (batch, "batch")):
        if value is not None and value < 1:
            raise UsageError(f"{what} is {value}; it has to be at least 1")
    return replace(classifier, fit=replace(fit, epochs=epochs or fit.epochs, batch=batch or fit.batch))
