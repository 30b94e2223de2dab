"""Training, export and packing of the reference networks; only its functions import torch."""

from tamis.zoo.training.train import TrainingOptions, train

__all__ = ["TrainingOptions", "train"]
