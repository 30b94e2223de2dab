"""The reference models: what they are, how each is trained, and the trained ones that are shipped."""

from tamis.zoo.networks.array_models import ARRAY_MODELS, ArrayModel
from tamis.zoo.networks.classifiers import (
    CLASSIFIERS,
    QUANTISED,
    TAGGERS,
    TOPOLOGIES,
    Classifier,
    Reading,
    Tagger,
    Truth,
)
from tamis.zoo.networks.models import LATENT_SIZES, MODELS, DetectorRecipe, ZooModel
from tamis.zoo.networks.recipe import Recipe
from tamis.zoo.training.train import train, train_classifier, train_on_arrays
from tamis.zoo.training.untrained import UNTRAINED, pack_untrained

__all__ = [
    "ARRAY_MODELS",
    "CLASSIFIERS",
    "LATENT_SIZES",
    "MODELS",
    "QUANTISED",
    "TAGGERS",
    "TOPOLOGIES",
    "UNTRAINED",
    "ArrayModel",
    "Classifier",
    "DetectorRecipe",
    "Reading",
    "Recipe",
    "Tagger",
    "Truth",
    "ZooModel",
    "pack_untrained",
    "train",
    "train_classifier",
    "train_on_arrays",
]
