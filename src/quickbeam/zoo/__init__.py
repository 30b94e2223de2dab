"""The reference models: what they are, how each is trained, and the trained ones that are shipped."""

from quickbeam.zoo.models import LATENT_SIZES, MODELS, Recipe, ZooModel
from quickbeam.zoo.taggers import TAGGERS, Reading, Tagger, TaggerRecipe, Truth
from quickbeam.zoo.train import train

__all__ = [
    "LATENT_SIZES",
    "MODELS",
    "TAGGERS",
    "Reading",
    "Recipe",
    "Tagger",
    "TaggerRecipe",
    "Truth",
    "ZooModel",
    "train",
]
