"""The reference models that read arrays rather than collisions: what each reads and gives, and how it is trained, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tamis.zoo.networks.recipe import Recipe

if TYPE_CHECKING:
    from tamis.zoo.networks.array_net import ArrayNet

Build = Callable[[Mapping[str, np.ndarray]], "ArrayNet"]


@dataclass(frozen=True)
class ArrayModel:
    """One model of arrays; its module tells its loss in training, and its outputs in the graph."""

    name: str
    description: str
    sample: str  # what `tamis simulate` calls what it is trained on
    rows: str  # what a row is of
    inputs: Mapping[str, str]  # arrays, and their units
    target: str
    outputs: tuple[str, ...]
    task: Literal["energy", "classes"]
    build: Build  # from the inputs trained on, for the scale of what is inside the graph
    recipe: Recipe
    baselines: tuple[str, ...] = ()  # arrays of the sample that the model has to be better than
    classes: tuple[str, ...] = ()
    score: str | None = None


def _facile(_: Mapping[str, np.ndarray]) -> ArrayNet:
    from tamis.zoo.networks.facile import Facile

    return Facile()


def _em_trk_michel(_: Mapping[str, np.ndarray]) -> ArrayNet:
    from tamis.zoo.networks.em_trk_michel import EmTrkMichel

    return EmTrkMichel()


def _deepcalo(_: Mapping[str, np.ndarray]) -> ArrayNet:
    from tamis.zoo.networks.deepcalo import DeepCalo

    return DeepCalo()


ARRAY_MODELS = {
    model.name: model
    for model in (
        ArrayModel(
            "facile",
            "FACILE: the energy of a channel of a hadron calorimeter from its time samples, by a dense network",
            "hcal-channels",
            "channels",
            {
                "channels": "8 samples, pedestal and its width in fC; gain in GeV/fC; ieta, iphi, depth; raw charge in fC"
            },
            "energy",
            ("energy",),
            "energy",
            _facile,
            Recipe(learning_rate=3e-3, batch=1024, epochs=60, patience_decay=2, patience_stop=7),
            baselines=("method_0", "template_fit"),
            score="energy",
        ),
        ArrayModel(
            "em-trk-michel",
            "EmTrkMichelId: showers, tracks and Michel electrons by patches of a wire plane about a hit, by a convolutional network",
            "wire-patches",
            "patches",
            {"patches": "MeV of a signal without recombination, in cells of a wire by six ticks"},
            "label",
            ("probabilities", "michel"),
            "classes",
            _em_trk_michel,
            Recipe(batch=128, epochs=18, patience_decay=1, patience_stop=4, weight_decay=1e-5),
            baselines=("hit_charge", "patch_charge", "straightness"),
            classes=("track", "em", "michel"),
            score="michel",
        ),
        ArrayModel(
            "deepcalo",
            "DeepCalo: the energy of a photon from the crystals about it, by a convolutional network",
            "ecal-clusters",
            "clusters",
            {
                "images": "energy of 15 x 15 crystals in GeV; 1 where a crystal is alive",
                "places": "ieta, iphi of the crystal in the middle; density of pile-up",
            },
            "energy",
            ("energy",),
            "energy",
            _deepcalo,
            Recipe(batch=64, epochs=12, patience_decay=1, patience_stop=4),
            baselines=("sum_5x5", "sum_15x15"),
            score="energy",
        ),
    )
}
