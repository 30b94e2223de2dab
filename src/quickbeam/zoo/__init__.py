"""The reference models: what they are, how each is trained, and the trained ones that are shipped."""

from quickbeam.zoo.classifiers import CLASSIFIERS, Classifier, Fit
from quickbeam.zoo.models import LATENT_SIZES, MODELS, Recipe, ZooModel
from quickbeam.zoo.taggers import TAGGERS, Reading, Tagger, TaggerRecipe, Truth
from quickbeam.zoo.train import train, train_classifier

__all__ = [
    "CLASSIFIERS",
    "LATENT_SIZES",
    "MODELS",
    "TAGGERS",
    "Classifier",
    "Fit",
    "Reading",
    "Recipe",
    "Tagger",
    "TaggerRecipe",
    "Truth",
    "ZooModel",
    "train",
    "train_classifier",
]
