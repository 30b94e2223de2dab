"""The reference networks, one file each: layers, description and registration."""

from tamis.zoo.networks.description import (
    AnomalyDetector,
    ArrayModel,
    AutoencoderRecipe,
    Classifier,
    FeatureDetector,
    NetworkSpec,
    Recipe,
    Store,
    Tagger,
    TruthMatching,
    UntrainedNetwork,
)
from tamis.zoo.networks.registry import find_network, known_networks, register

__all__ = [
    "AnomalyDetector",
    "ArrayModel",
    "AutoencoderRecipe",
    "Classifier",
    "FeatureDetector",
    "NetworkSpec",
    "Recipe",
    "Store",
    "Tagger",
    "TruthMatching",
    "UntrainedNetwork",
    "find_network",
    "known_networks",
    "register",
]
