"""From torch modules to the exported graphs: raw inputs in, scores out."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tamis.zoo.networks.layers import Standardise, chamfer, constituent_mask

CLASSIFIER_OUTPUTS = ("score", "probabilities")


class Autoencoder(Protocol):
    """The interface of both autoencoders."""

    standardise: Standardise

    def encode(self, jets: Tensor) -> Tensor:
        """Return the mean of z."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """Return the reconstruction."""
        ...


class AnomalyScore(nn.Module):
    """Reconstruction (Chamfer distance), regularisation (sum of mu^2) and their sum, the anomaly score."""

    OUTPUTS = ("score", "reconstruction", "mu2")

    def __init__(self, model: nn.Module, beta: float) -> None:
        """Share the parts of the model, so that parameters are named after them (`encoder.`, `decoder.`)."""
        super().__init__()
        for name, part in model.named_children():
            if name != "z_logvar":
                self.add_module(name, part)
        self._whole = (model,)  # a tuple hides it from the module tree
        self.beta = beta

    def forward(self, jets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score jets."""
        model: Autoencoder = self._whole[0]  # type: ignore[assignment] # a module with these methods
        z = model.encode(jets)
        mu2 = (z * z).sum(1)
        reconstruction = chamfer(jets, model.decode(z), constituent_mask(jets), model.standardise.std)
        return reconstruction + (0.5 * self.beta) * mu2, reconstruction, mu2


class ClassifierScore(nn.Module):
    """The score is the probability of all classes but the first, the background, for equal class frequencies."""

    def __init__(self, model: nn.Module) -> None:
        """Share the parts of the model, so that parameters are named after them."""
        super().__init__()
        for name, part in model.named_children():
            self.add_module(name, part)
        self._whole = (model,)  # a tuple hides it from the module tree

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the score (N,) and, with more than one logit, the probabilities (N, classes)."""
        logits = self._whole[0](*inputs)
        if logits.ndim == 1:
            return (torch.sigmoid(logits),)
        probabilities = torch.softmax(logits, 1)
        return probabilities[:, 1:].sum(1), probabilities


def export_graph(module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> bytes:
    """Export as ONNX bytes with a free batch dimension; the example inputs need two rows."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            buffer,  # type: ignore[arg-type] # file objects work, but the stubs lack them
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: {0: "N"} for name in (*inputs, *outputs)},
            opset_version=17,
            dynamo=False,
        )
    return buffer.getvalue()


def export_detector(model: nn.Module, beta: float) -> bytes:
    """Export an autoencoder with its anomaly score."""
    jets = torch.zeros(2, 100, 3)
    jets[:, :10, 2] = 1.0
    return export_graph(AnomalyScore(model.eval(), beta), {"jets": jets}, AnomalyScore.OUTPUTS)


def export_classifier(model: nn.Module, inputs: Mapping[str, np.ndarray]) -> bytes:
    """Export a classifier with its score; two of the rows serve as the example."""
    graph = ClassifierScore(model.eval()).eval()
    example = {name: torch.from_numpy(values[:2]) for name, values in inputs.items()}
    with torch.no_grad():
        outputs = len(graph(*example.values()))
    return export_graph(graph, example, CLASSIFIER_OUTPUTS[:outputs])
