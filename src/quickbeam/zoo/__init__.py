"""The reference models: what they are, how each is trained, and the trained ones that are shipped."""

from quickbeam.zoo.array_models import ARRAY_MODELS, ArrayModel
from quickbeam.zoo.classifiers import CLASSIFIERS, TAGGERS, TOPOLOGIES, Classifier, Reading, Tagger, Truth
from quickbeam.zoo.models import LATENT_SIZES, MODELS, DetectorRecipe, ZooModel
from quickbeam.zoo.recipe import Recipe
from quickbeam.zoo.train import train, train_classifier, train_on_arrays

__all__ = [
    "ARRAY_MODELS",
    "CLASSIFIERS",
    "LATENT_SIZES",
    "MODELS",
    "TAGGERS",
    "TOPOLOGIES",
    "ArrayModel",
    "Classifier",
    "DetectorRecipe",
    "Reading",
    "Recipe",
    "Tagger",
    "Truth",
    "ZooModel",
    "train",
    "train_classifier",
    "train_on_arrays",
]
