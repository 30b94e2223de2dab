"""The reference networks, their training, and the bundles that are shipped.

Names are imported on first use: opening a shipped bundle needs none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tamis.zoo.data import ReadOptions, TaggedFrames
    from tamis.zoo.networks import (
        AnomalyDetector,
        ArrayModel,
        AutoencoderRecipe,
        Classifier,
        FeatureDetector,
        NetworkSpec,
        Recipe,
        Tagger,
        TruthMatching,
        UntrainedNetwork,
        find_network,
        known_networks,
        register,
    )
    from tamis.zoo.training import TrainingOptions, train

__all__ = [
    "AnomalyDetector",
    "ArrayModel",
    "AutoencoderRecipe",
    "Classifier",
    "FeatureDetector",
    "NetworkSpec",
    "ReadOptions",
    "Recipe",
    "TaggedFrames",
    "Tagger",
    "TrainingOptions",
    "TruthMatching",
    "UntrainedNetwork",
    "find_network",
    "known_networks",
    "register",
    "train",
]

_FOLDERS = {
    "ReadOptions": "data",
    "TaggedFrames": "data",
    "TrainingOptions": "training",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tamis.zoo' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"tamis.zoo.{_FOLDERS.get(name, 'networks')}"), name)
    globals()[name] = value
    return value
