"""Training of a classifier: cross entropy over any number of classes, every class counting the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tamis.zoo.data.labelled import Labelled, LabelledSplit
from tamis.zoo.networks.classifiers import Classifier
from tamis.zoo.training.loop import Loop, Losses


class SupervisedTraining(Loop):
    """The loss is the cross entropy, in which every class counts the same, however many rows it has."""

    def __init__(
        self, classifier: Classifier, data: LabelledSplit, folder: Path, *, seed: int, device: str = "cpu"
    ) -> None:
        """Build the model from the seed alone."""
        self.classifier, self.recipe, self.data = classifier, classifier.recipe, data
        torch.manual_seed(seed)
        super().__init__(
            classifier.name,
            classifier.build(data.train.inputs),
            folder,
            rows=(len(data.train), len(data.validation)),
            seed=seed,
            device=device,
            setup={"classes": list(classifier.classes), "data": _digest(data.train)},
        )
        count = np.bincount(data.train.label, minlength=len(classifier.classes))
        self.weight = torch.from_numpy(count.sum() / (len(count) * count)).float().to(self.device)

    def _losses(self, rows: np.ndarray, *, training: bool) -> Losses:
        part = self.data.train if training else self.data.validation
        inputs = (
            torch.from_numpy(part.inputs[name][rows]).to(self.device) for name in self.classifier.features
        )
        label = torch.from_numpy(part.label[rows]).to(self.device)
        logits = class_logits(self.model(*inputs))
        weight = self.weight[label]
        loss = nn.functional.cross_entropy(logits, label, self.weight)
        right = (weight * (logits.detach().argmax(1) == label)).sum() / weight.sum()
        return {"loss": loss, "accuracy": right}, float(weight.sum())


def class_logits(found: Tensor) -> Tensor:
    """Return a logit per class, also where a model gives the one of signal over background."""
    return found if found.ndim == 2 else torch.stack([torch.zeros_like(found), found], 1)


def _digest(rows: Labelled) -> str:
    found = hashlib.sha256(rows.label.tobytes())
    for name in sorted(rows.inputs):
        found.update(rows.inputs[name].tobytes())
    return found.hexdigest()
