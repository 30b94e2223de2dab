"""The reference models: what they are, how each is trained, and the trained ones that are shipped."""

from tamis.zoo.array_models import ARRAY_MODELS, ArrayModel
from tamis.zoo.classifiers import (
    CLASSIFIERS,
    QUANTISED,
    TAGGERS,
    TOPOLOGIES,
    Classifier,
    Reading,
    Tagger,
    Truth,
)
from tamis.zoo.models import LATENT_SIZES, MODELS, DetectorRecipe, ZooModel
from tamis.zoo.recipe import Recipe
from tamis.zoo.train import train, train_classifier, train_on_arrays
from tamis.zoo.untrained import UNTRAINED, pack_untrained

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
