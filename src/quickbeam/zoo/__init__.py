"""The reference models: what they are, how each is trained, and the trained ones that are shipped."""

from quickbeam.zoo.array_models import ARRAY_MODELS, ArrayModel
from quickbeam.zoo.classifiers import (
    CLASSIFIERS,
    QUANTISED,
    TAGGERS,
    TOPOLOGIES,
    Classifier,
    Reading,
    Tagger,
    Truth,
)
from quickbeam.zoo.models import LATENT_SIZES, MODELS, DetectorRecipe, ZooModel
from quickbeam.zoo.recipe import Recipe
from quickbeam.zoo.train import train, train_classifier, train_on_arrays
from quickbeam.zoo.untrained import UNTRAINED, pack_untrained

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
