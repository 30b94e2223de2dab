"""The reference detectors, which learn from background alone: what each is and how it is trained, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tamis.zoo.networks.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from tamis.zoo.networks.layers import Standardise

LATENT_SIZES = (6, 8, 12)


@dataclass(frozen=True)
class DetectorRecipe(Recipe):
    """Numbers of an autoencoder's training."""

    beta: float = 1.0
    weight: float = (
        1.0  # of the reconstruction, the Chamfer distance per constituent; beta / weight is the balance
    )


def _conv(standardise: Standardise, latent: int) -> nn.Module:
    from tamis.zoo.networks.conv_vae import ConvVAE

    return ConvVAE(standardise, latent)


def _graph(standardise: Standardise, latent: int) -> nn.Module:
    from tamis.zoo.networks.graph_vae import GraphVAE

    return GraphVAE(standardise, latent)


@dataclass(frozen=True)
class ZooModel:
    """One reference detector."""

    name: str
    description: str
    build: Callable[[Standardise, int], nn.Module]
    recipe: DetectorRecipe


MODELS = {
    model.name: model
    for model in (
        ZooModel(
            "conv-vae",
            "Convolutional variational autoencoder on the 100 leading constituents of a jet",
            _conv,
            DetectorRecipe(beta=0.0005, weight=1.0, epochs=80),
        ),
        ZooModel(
            "graph-vae",
            "Graph-convolutional variational autoencoder on the 100 leading constituents of a jet",
            _graph,
            DetectorRecipe(
                learning_rate=1e-4, beta=10.0, weight=20_000.0, warmup_epochs=5, batch=64, epochs=150
            ),
        ),
    )
}
