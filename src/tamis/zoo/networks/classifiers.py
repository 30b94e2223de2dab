"""The reference classifiers: what each reads, which classes it tells apart, and how it is trained, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tamis.zoo.data.stores import Store
from tamis.zoo.networks.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

Build = Callable[[Mapping[str, Store]], "nn.Module"]


@dataclass(frozen=True)
class Reading:
    """How event files are read."""

    most: int | None = None  # rows of a class
    tree: str | None = None
    skip_bad_files: bool = False


@dataclass(frozen=True)
class Classifier:
    """One classifier; its module takes the inputs in order and returns a logit per class, or the one of signal over background."""

    name: str
    description: str
    features: Mapping[str, str]  # by input
    units: Mapping[str, str]
    classes: tuple[str, ...]  # the first is the background: the score is the probability of all others
    build: Build  # from the inputs trained on, for the scale of what is inside the graph
    recipe: Recipe
    calibration: float = 0.1  # of the events of each class, kept for thresholds
    background_efficiencies: tuple[float, ...] = ()  # of its working points; none: 99 % of each signal
    rows: str = "events"  # what a row is of
    begins_with: str | None = None  # the classifier whose trained network it takes over, in eight bits


@dataclass(frozen=True)
class Truth:
    """Which seeds count, by the generated particles near them; a seed near both kinds is left out."""

    signal: tuple[int, ...]  # absolute PDG ids
    background: tuple[int, ...]  # none: whatever is not near a signal particle
    radius: float
    pt_min_gev: float  # of the seed


@dataclass(frozen=True, kw_only=True)
class Tagger(Classifier):
    """A classifier of frames of the detector's image, each by the generated particles near its seed, whatever the file."""

    channels: tuple[str, ...]
    size: int
    truth: Truth


_TOPOLOGY_UNITS = {
    "particles": "pT in GeV; eta, phi relative to the lepton; charge; d0 in cm; isolation; five types",
    "event": "GeV, cm, numbers of jets: tamis.features.LEPTON_EVENT_VALUES",
}
_PARTICLES, _EVENT = {"particles": "particle_list"}, {"event": "lepton_event"}
_RECURRENT = Recipe(learning_rate=2e-3, patience_stop=5, epochs=32)


def _topology(name: str, what: str, features: Mapping[str, str], recipe: Recipe) -> Classifier:
    return Classifier(
        name,
        f"Topology classifier: {what}",
        features,
        {key: _TOPOLOGY_UNITS[key] for key in features},
        ("qcd", "w", "ttbar"),
        partial(_topology_net, name),
        recipe,
    )


def _topology_net(name: str, inputs: Mapping[str, Store]) -> nn.Module:
    from tamis.zoo.networks import topology

    return topology.build(name, {key: store[np.arange(len(store))] for key, store in inputs.items()}, 3)


TRACKS = ("track pT", "d0", "dz")
PIXELS = ("pixel layer 1", "pixel layer 2", "pixel layer 3")
CALORIMETERS = ("ECAL", "HCAL")
JET_IMAGE = ("charged candidates", "photons", "neutral hadrons")
QUARKS = (1, 2, 3, 4, 5)
GLUON, ELECTRON, TAU, PHOTON, TOP = 21, 11, 15, 22, 6


def _tagger(name: str, description: str, channels: tuple[str, ...], size: int, truth: Truth) -> Tagger:
    return Tagger(
        name,
        description,
        {"frames": f"{name.replace('-', '_')}_frames"},
        {"frames": f"{', '.join(channels)}: GeV, cm, hits"},
        ("background", "signal"),
        partial(_simple_net, channels, size),
        Recipe(weight_decay=1e-4, patience_stop=5, batch=64, epochs=20),
        calibration=0.15,
        background_efficiencies=(0.3, 0.1, 1e-2),
        rows="frames",
        channels=channels,
        size=size,
        truth=truth,
    )


def _simple_net(channels: tuple[str, ...], size: int, _: Mapping[str, Store]) -> nn.Module:
    from tamis.zoo.networks.simple_net import SimpleNet

    return SimpleNet(channels, size)


def _resnet(_: Mapping[str, Store]) -> nn.Module:
    from tamis.zoo.networks.resnet import small_resnet

    return small_resnet(len(JET_IMAGE))


TAGGERS = {
    tagger.name: tagger
    for tagger in (
        _tagger(
            "egamma",
            "Electrons against photons: a convolutional network on 32 x 32 crystals of the electromagnetic calorimeter",
            ("ECAL",),
            32,
            Truth((ELECTRON,), (PHOTON,), 0.15, 20.0),
        ),
        _tagger(
            "quark-gluon",
            "Quark against gluon jets: a convolutional network on images of tracks and calorimeters",
            (*TRACKS, *CALORIMETERS),
            128,
            Truth(QUARKS, (GLUON,), 0.3, 50.0),
        ),
        _tagger(
            "top",
            "Hadronic top decays against other jets: a convolutional network on images of tracks, pixel hits and calorimeters",
            (*TRACKS, *PIXELS, *CALORIMETERS),
            128,
            Truth((TOP,), (), 0.4, 200.0),
        ),
        _tagger(
            "tau",
            "Hadronic tau decays against other jets: a convolutional network on images of tracks, pixel hits and calorimeters",
            (*TRACKS, *PIXELS, *CALORIMETERS),
            128,
            Truth((TAU,), (), 0.2, 30.0),
        ),
        Tagger(
            "top-resnet",
            "Hadronic top decays against other jets: a residual network of 14 layers on images of a jet's candidates",
            {"frames": "jet_images"},
            {"frames": f"pT of {', '.join(JET_IMAGE)}, GeV"},
            ("background", "signal"),
            _resnet,
            Recipe(weight_decay=1e-4, patience_decay=1, patience_stop=4, batch=128, epochs=12),
            background_efficiencies=(0.3, 0.1, 1e-2),
            rows="frames",
            channels=JET_IMAGE,
            size=64,
            truth=Truth((TOP,), (), 0.4, 200.0),
        ),
    )
}
TOPOLOGIES = {
    model.name: model
    for model in (
        _topology("topology-gru", "GRU on the particles around the lepton", _PARTICLES, _RECURRENT),
        _topology("topology-lstm", "LSTM on the particles around the lepton", _PARTICLES, _RECURRENT),
        _topology("topology-hlf", "dense network on high-level features", _EVENT, Recipe(epochs=100)),
        _topology("topology-both", "GRU and high-level features", _PARTICLES | _EVENT, _RECURRENT),
    )
}
_RESNET = TAGGERS["top-resnet"]
QUANTISED = {
    tagger.name: tagger
    for tagger in (
        replace(
            _RESNET,
            name="top-resnet-int8",
            description="The residual network on jet images in eight bits, its scales set by images that it was trained on",
            recipe=replace(_RESNET.recipe, epochs=0),
            begins_with="top-resnet",
        ),
        replace(
            _RESNET,
            name="top-resnet-int8-tuned",
            description="The residual network on jet images in eight bits, trained further with its rounding",
            recipe=replace(_RESNET.recipe, learning_rate=1e-4, epochs=3),
            begins_with="top-resnet",
        ),
    )
}
CLASSIFIERS: dict[str, Classifier] = TOPOLOGIES | TAGGERS | QUANTISED
