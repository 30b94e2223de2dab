"""The reference models that read arrays rather than collisions: what each reads and gives, and how it is trained, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from quickbeam.zoo.recipe import Recipe

if TYPE_CHECKING:
    from quickbeam.zoo.array_net import ArrayNet

Build = Callable[[Mapping[str, np.ndarray]], "ArrayNet"]


@dataclass(frozen=True)
class ArrayModel:
    """One model of arrays; its module tells its loss in training, and its outputs in the graph."""

    name: str
    description: str
    sample: str  # what `quickbeam simulate` calls what it is trained on
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


def _facile(inputs: Mapping[str, np.ndarray]) -> ArrayNet:
    from quickbeam.zoo.facile import Facile

    return Facile()


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
    )
}
