"""The graph of a classifier that is shipped, and its bundle: raw inputs in, score and probabilities out."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from quickbeam._base import library_versions
from quickbeam.bundle import Packed, WorkingPoint, pack
from quickbeam.bundle.model import parse_model
from quickbeam.zoo.classifiers import Classifier
from quickbeam.zoo.labelled import Labelled, LabelledSplit
from quickbeam.zoo.training import Trained, ended

OUTPUTS = ("score", "probabilities")
SIGNAL_EFFICIENCY = 0.99
GOLDEN_ROWS = 256


class Classified(nn.Module):
    """Softmax over the classes; the score is the probability of every class but the first, the background."""

    def __init__(self, model: nn.Module) -> None:
        """Take over the parts, so that parameters are named after them."""
        super().__init__()
        for name, part in model.named_children():
            self.add_module(name, part)
        self._whole = (model,)  # a tuple hides it from the module tree

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N,) and (N, classes)."""
        probabilities = torch.softmax(self._whole[0](*inputs), 1)
        return probabilities[:, 1:].sum(1), probabilities


def export_classified(model: nn.Module, inputs: Mapping[str, np.ndarray]) -> bytes:
    """Export as ONNX bytes with a free batch dimension."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Classified(model.eval()).eval(),
            tuple(torch.from_numpy(values[:2]) for values in inputs.values()),
            buffer,  # type: ignore[arg-type] # a file is fine, the annotation forgets it
            input_names=list(inputs),
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "N"} for name in (*inputs, *OUTPUTS)},
            opset_version=17,
            dynamo=False,
        )
    return buffer.getvalue()


def pack_classifier(
    classifier: Classifier,
    trained: Trained,
    data: LabelledSplit,
    target: Path,
    *,
    seed: int,
    files: Mapping[str, Sequence[str]],
    skipped: Sequence[str] = (),
) -> Packed:
    """Pack a trained classifier; thresholds come from rows that neither trained it nor stopped its training."""
    held = data.calibration
    golden = _mixed(held, seed)
    counts = {
        part: dict(zip(classifier.classes, np.bincount(rows.label).tolist(), strict=True))
        for part, rows in (("training", data.train), ("validation", data.validation), ("calibration", held))
    }
    return pack(
        parse_model(export_classified(trained.model, golden.inputs), classifier.name),
        target,
        name=classifier.name,
        inputs=golden.inputs,
        score="score",
        description=classifier.description,
        features=classifier.features,
        units=classifier.units,
        working_points=class_points(classifier.classes, scores_of(trained.model, held), held.label),
        training={
            "model": classifier.name,
            "classes": list(classifier.classes),
            "seed": seed,
            "files": [Path(name).name for names in files.values() for name in names],
            **({"skipped_files": list(skipped)} if skipped else {}),
            **{f"{part}_rows": rows for part, rows in counts.items()},
            "recipe": asdict(classifier.fit),
            "best_epoch": trained.best_epoch,
            "ended": ended(trained, classifier.fit.patience_stop),
            "versions": library_versions(("torch", "numpy", "quickbeam")),
        },
        extra={"training.json": json.dumps(trained.history, indent=1) + "\n"},
    )


def scores_of(model: nn.Module, rows: Labelled) -> np.ndarray:
    """Return the score of every row."""
    scored = Classified(model).eval()
    pieces = []
    with torch.inference_mode():
        for start in range(0, len(rows), 512):
            inputs = (torch.from_numpy(values[start : start + 512]) for values in rows.inputs.values())
            pieces.append(scored(*inputs)[0].numpy())
    return np.concatenate(pieces)


def class_points(classes: Sequence[str], scores: np.ndarray, label: np.ndarray) -> list[WorkingPoint]:
    """Return for each signal class the threshold on the score that 99 % of it pass."""
    background = scores[label == 0]
    points = []
    for number, name in enumerate(classes[1:], start=1):
        threshold = float(np.quantile(scores[label == number], 1.0 - SIGNAL_EFFICIENCY))
        points.append(
            WorkingPoint(
                name=f"{name}-{SIGNAL_EFFICIENCY:g}",
                threshold=threshold,
                background_efficiency=float(np.mean(background > threshold)),
                background=f"{len(background)} calibration rows of {classes[0]}",
            )
        )
    return points


def _mixed(rows: Labelled, seed: int) -> Labelled:
    """Return some rows of all classes."""
    order = np.random.default_rng((seed, 1)).permutation(len(rows))
    return rows.take(order[:GOLDEN_ROWS])
