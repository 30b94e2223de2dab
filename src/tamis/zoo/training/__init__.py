"""Training, export and packing of the reference networks; only its functions import torch."""

from tamis.zoo.training.train_and_pack import TrainingOptions, train

__all__ = ["TrainingOptions", "train"]
