"""The losses of each kind of network: anomaly detectors, classifiers, models of arrays."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tamis._base import UsageError
from tamis.zoo.data.arrays import ArrayRows, ArraySplit
from tamis.zoo.data.jets import JetSplit
from tamis.zoo.data.labelled import LabelledSplit
from tamis.zoo.networks.description import (
    AnomalyDetector,
    ArrayModel,
    AutoencoderRecipe,
    Classifier,
    FeatureDetector,
)
from tamis.zoo.networks.layers import (
    ArrayNet,
    Standardise,
    chamfer_for_training,
    constituent_mask,
    divergence,
)
from tamis.zoo.training.loop import Losses, TrainingLoop

LATENT_SIZES = (6, 8, 12)  # of z, as studied


class DetectorTraining(TrainingLoop):
    """Variational autoencoder: reconstruction, and the KL divergence with a weight that rises during the warm-up."""

    recipe: AutoencoderRecipe

    def __init__(
        self,
        detector: AnomalyDetector,
        data: JetSplit,
        folder: Path,
        *,
        latent: int,
        seed: int,
        device: str = "cpu",
    ) -> None:
        """Build the model; its weights follow from the seed."""
        if latent not in LATENT_SIZES:
            raise UsageError(
                f"the latent size is {latent}; the study used {', '.join(map(str, LATENT_SIZES))}"
            )
        self.recipe, self.data = detector.recipe, data
        torch.manual_seed(seed)
        standardise = Standardise(torch.from_numpy(data.mean), torch.from_numpy(data.std))
        super().__init__(
            detector.name,
            detector.build(standardise, latent),
            folder,
            rows=(len(data.train), len(data.validation)),
            seed=seed,
            device=device,
            setup={"latent": latent, "data": hashlib.sha256(data.train.tobytes()).hexdigest()},
        )

    def _epoch_facts(self) -> dict[str, float]:
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


class ClassifierTraining(TrainingLoop):
    """Cross entropy in which all classes have the same total weight."""

    def __init__(
        self, classifier: Classifier, data: LabelledSplit, folder: Path, *, seed: int, device: str = "cpu"
    ) -> None:
        """Build the model; its weights follow from the seed."""
        self.classifier, self.recipe, self.data = classifier, classifier.recipe, data
        digest = hashlib.sha256(data.train.label.tobytes())
        for name in sorted(data.train.inputs):
            digest.update(data.train.inputs[name].tobytes())
        torch.manual_seed(seed)
        super().__init__(
            classifier.name,
            classifier.build(data.train.inputs),
            folder,
            rows=(len(data.train), len(data.validation)),
            seed=seed,
            device=device,
            setup={"classes": list(classifier.classes), "data": digest.hexdigest()},
        )
        count = np.bincount(data.train.label, minlength=len(classifier.classes))
        self.weight = torch.from_numpy(count.sum() / (len(count) * count)).float().to(self.device)

    def _losses(self, rows: np.ndarray, *, training: bool) -> Losses:
        part = self.data.train if training else self.data.validation
        inputs = (
            torch.from_numpy(part.inputs[name][rows]).to(self.device) for name in self.classifier.features
        )
        label = torch.from_numpy(part.label[rows]).to(self.device)
        logits = self.model(*inputs)
        if logits.ndim == 1:  # one logit, of signal over background
            logits = torch.stack([torch.zeros_like(logits), logits], 1)
        weight = self.weight[label]
        loss = nn.functional.cross_entropy(logits, label, self.weight)
        accuracy = (weight * (logits.detach().argmax(1) == label)).sum() / weight.sum()
        return {"loss": loss, "accuracy": accuracy}, float(weight.sum())


class ArrayTraining(TrainingLoop):
    """The loss is that of the model's own module."""

    def __init__(
        self,
        model: ArrayModel | FeatureDetector,
        data: ArraySplit,
        folder: Path,
        *,
        seed: int,
        device: str = "cpu",
    ) -> None:
        """Build the model; its weights follow from the seed."""
        self.recipe, self.train, self.validation = model.recipe, data.train, data.validation
        torch.manual_seed(seed)
        self.net: ArrayNet = model.build()
        self.net.set_scales(self.train.inputs)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # missing in torch's stubs
        super().__init__(
            model.name,
            self.net,
            folder,
            rows=(len(self.train), len(self.validation)),
            seed=seed,
            device=device,
            setup={"data": _digest(self.train)},
        )

    def _losses(self, rows: np.ndarray, *, training: bool) -> Losses:
        part = self.train if training else self.validation
        inputs = []
        for values in part.inputs.values():
            tensor = torch.from_numpy(values[rows])
            if tensor.ndim == 4:  # images with their channels last, which halves the training time
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            inputs.append(tensor.to(self.device))
        target = torch.from_numpy(part.target[rows]).to(self.device)
        return self.net.losses(tuple(inputs), target), len(rows)


def _digest(rows: ArrayRows) -> str:
    """Return the checksum of the target, or where every row has the same one, that of the inputs."""
    found = hashlib.sha256(rows.target.tobytes())
    if not rows.target.any():
        for values in rows.inputs.values():
            found.update(values.tobytes())
    return found.hexdigest()
