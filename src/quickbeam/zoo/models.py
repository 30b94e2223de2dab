"""The reference models: what each is and how it is trained, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from quickbeam.zoo.layers import Standardise

LATENT_SIZES = (6, 8, 12)


@dataclass(frozen=True)
class Recipe:
    """Numbers of the training."""

    learning_rate: float
    decay: float  # factor on the learning rate when the validation loss has not fallen for `patience_decay` epochs
    patience_decay: int
    patience_stop: int
    beta: float
    weight: float  # of the reconstruction, the Chamfer distance per constituent; beta / weight is the balance
    warmup_epochs: int
    batch: int
    epochs: int


def _conv(standardise: Standardise, latent: int) -> nn.Module:
    from quickbeam.zoo.conv_vae import ConvVAE

    return ConvVAE(standardise, latent)


def _graph(standardise: Standardise, latent: int) -> nn.Module:
    from quickbeam.zoo.graph_vae import GraphVAE

    return GraphVAE(standardise, latent)


@dataclass(frozen=True)
class ZooModel:
    """One reference model."""

    name: str
    description: str
    build: Callable[[Standardise, int], nn.Module]
    recipe: Recipe


MODELS = {
    model.name: model
    for model in (
        ZooModel(
            "conv-vae",
            "Convolutional variational autoencoder on the 100 leading constituents of a jet",
            _conv,
            Recipe(1e-3, 0.5, 2, 6, beta=0.0005, weight=1.0, warmup_epochs=0, batch=256, epochs=80),
        ),
        ZooModel(
            "graph-vae",
            "Graph-convolutional variational autoencoder on the 100 leading constituents of a jet",
            _graph,
            Recipe(1e-4, 0.5, 2, 6, beta=10.0, weight=20_000.0, warmup_epochs=5, batch=64, epochs=150),
        ),
    )
}
