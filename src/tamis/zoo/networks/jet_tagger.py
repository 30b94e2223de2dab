"""The jet tagger of Level-1 studies: a dense network on sixteen high-level features of a groomed jet.

Layers as in arXiv:1804.06913. The standardisation inside the graph is made for firmware: scales are powers of two, so that
dividing by them is a shift, and means are multiples of 1/64 of the scale.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from tamis.simulate.samples.jets_hlf import JET_CLASSES, JET_FEATURES
from tamis.zoo.networks.description import ArrayModel, Recipe
from tamis.zoo.networks.layers import ArrayNet, BinaryStandardise
from tamis.zoo.networks.registry import register

WIDTHS = (64, 32, 32)
QCD_CLASSES = JET_CLASSES[:2]


class JetTagger(ArrayNet):
    """(N, 16) -> the probability of W, Z or t (N,), and the probabilities of all classes for equal class frequencies."""

    def __init__(self) -> None:
        """Create the layers."""
        super().__init__()
        first, second, third = WIDTHS
        self.standardise = BinaryStandardise(len(JET_FEATURES))
        self.dense_1, self.dense_2 = nn.Linear(len(JET_FEATURES), first), nn.Linear(first, second)
        self.dense_3, self.logits = nn.Linear(second, third), nn.Linear(third, len(JET_CLASSES))

    def set_scales(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Standardise by the training rows."""
        self.standardise.fit(inputs["features"])

    def _logits(self, features: Tensor) -> Tensor:
        h = F.relu(self.dense_1(self.standardise(features)))
        logits: Tensor = self.logits(F.relu(self.dense_3(F.relu(self.dense_2(h)))))
        return logits

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the score, which is the probability of all classes but gluon and quark, and the probabilities (N, 5)."""
        probabilities = torch.softmax(self._logits(inputs[0]), 1)
        return probabilities[:, len(QCD_CLASSES) :].sum(1), probabilities

    def losses(self, inputs: tuple[Tensor, ...], target: Tensor) -> dict[str, Tensor]:
        """Return the cross entropy and the accuracy."""
        logits = self._logits(inputs[0])
        accuracy = (logits.detach().argmax(1) == target).float().mean()
        return {"loss": F.cross_entropy(logits, target), "accuracy": accuracy}


JET_TAGGER = register(
    ArrayModel(
        name="jet-tagger",
        description="Jet tagger for Level-1: gluon, quark, W, Z and top jets by sixteen high-level features of the groomed jet, by a dense network",
        sample="jets-hlf",
        rows="jets",
        inputs={"features": ", ".join(JET_FEATURES).replace("mass", "mass in GeV")},
        target="label",
        outputs=("score", "probabilities"),
        task="classes",
        build=JetTagger,
        recipe=Recipe(learning_rate=8e-3, batch=512, epochs=80, patience_decay=3, patience_stop=10),
        baselines=("multiplicity", "n2_b1", "off_w", "off_z", "off_t"),
        classes=JET_CLASSES,
        score="score",
        background=QCD_CLASSES,
        background_efficiencies=(0.1, 0.01, 0.001),
        calibration=0.2,
        rewrites=False,
    )
)
