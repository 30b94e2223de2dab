"""Training of a detector: a variational autoencoder on jets of the background, with KL warm-up."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tamis._base import UsageError
from tamis.zoo.data.jets import TrainingSet
from tamis.zoo.networks.layers import Standardise, chamfer_for_training, constituent_mask, divergence
from tamis.zoo.networks.models import LATENT_SIZES, DetectorRecipe, ZooModel
from tamis.zoo.training.loop import Loop, Losses


class Training(Loop):
    """The loss is the reconstruction's and, with a weight that rises while it warms up, the divergence's."""

    recipe: DetectorRecipe

    def __init__(
        self, zoo: ZooModel, data: TrainingSet, folder: Path, *, latent: int, seed: int, device: str = "cpu"
    ) -> None:
        """Build the model from the seed alone."""
        if latent not in LATENT_SIZES:
            raise UsageError(
                f"the latent size is {latent}; the study used {', '.join(map(str, LATENT_SIZES))}"
            )
        self.recipe, self.data = zoo.recipe, data
        torch.manual_seed(seed)
        standardise = Standardise(torch.from_numpy(data.mean), torch.from_numpy(data.std))
        super().__init__(
            zoo.name,
            zoo.build(standardise, latent),
            folder,
            rows=(len(data.train), len(data.validation)),
            seed=seed,
            device=device,
            setup={"latent": latent, "data": hashlib.sha256(data.train.tobytes()).hexdigest()},
        )

    def _facts(self) -> dict[str, float]:
        return {"beta": self._beta()}

    def _beta(self) -> float:
        warmup = self.recipe.warmup_epochs
        return self.recipe.beta * (min(1.0, (self.state.epoch + 1) / warmup) if warmup else 1.0)

    def _losses(self, rows: np.ndarray, *, training: bool) -> Losses:
        model: Any = self.model
        jets = torch.from_numpy((self.data.train if training else self.data.validation)[rows]).to(self.device)
        mu, logvar = model.posterior(jets)
        logvar = logvar.clamp(-20.0, 20.0)
        noise = torch.exp(0.5 * logvar) * torch.randn(mu.shape, device=self.device) if training else 0.0
        rebuilt = model.decode(mu + noise)
        mask, std = constituent_mask(jets), model.standardise.std
        reconstruction = chamfer_for_training(jets, rebuilt, mask, std).mean()
        kl = divergence(mu, logvar).mean()
        beta = self._beta() if training else self.recipe.beta
        loss = self.recipe.weight * reconstruction + beta * kl
        return {"loss": loss, "reconstruction": reconstruction, "kl": kl}, len(jets)
