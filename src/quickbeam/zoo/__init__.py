"""The reference models: what they are, how each is trained, and the trained ones that are shipped."""

from quickbeam.zoo.classifiers import CLASSIFIERS, TAGGERS, TOPOLOGIES, Classifier, Reading, Tagger, Truth
from quickbeam.zoo.models import LATENT_SIZES, MODELS, DetectorRecipe, ZooModel
from quickbeam.zoo.recipe import Recipe
from quickbeam.zoo.train import train, train_classifier

__all__ = [
    "CLASSIFIERS",
    "LATENT_SIZES",
    "MODELS",
    "TAGGERS",
    "TOPOLOGIES",
    "Classifier",
    "DetectorRecipe",
    "Reading",
    "Recipe",
    "Tagger",
    "Truth",
    "ZooModel",
    "train",
    "train_classifier",
]
