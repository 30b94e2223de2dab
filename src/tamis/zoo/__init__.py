"""The reference networks, their training, and the bundles that are shipped."""

from tamis.zoo.data import ReadOptions, TaggedFrames
from tamis.zoo.networks import (
    AnomalyDetector,
    ArrayModel,
    AutoencoderRecipe,
    Classifier,
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
