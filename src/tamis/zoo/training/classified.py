"""The graph of a classifier that is shipped, and its bundle: raw inputs in, score out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tamis._base import library_versions
from tamis.bundle import Packed, WorkingPoint, pack
from tamis.bundle.model import parse_model
from tamis.zoo.data.labelled import Labelled, LabelledSplit
from tamis.zoo.networks.classifiers import Classifier
from tamis.zoo.training.export import export_graph
from tamis.zoo.training.loop import Trained, ended
from tamis.zoo.training.thresholds import background_points, class_points

OUTPUTS = ("score", "probabilities")
GOLDEN_ROWS, GOLDEN_BYTES = 64, 700_000  # a bundle of a few small layers should not be mostly its examples
SCORED_AT_ONCE = 256


class Classified(nn.Module):
    """The score is the probability of every class but the first, the background, were all as frequent."""

    def __init__(self, model: nn.Module) -> None:
        """Take over the parts, so that parameters are named after them."""
        super().__init__()
        for name, part in model.named_children():
            self.add_module(name, part)
        self._whole = (model,)  # a tuple hides it from the module tree

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the score (N,) and, where there is more than one logit, the probabilities (N, classes)."""
        logits = self._whole[0](*inputs)
        if logits.ndim == 1:
            return (torch.sigmoid(logits),)
        probabilities = torch.softmax(logits, 1)
        return probabilities[:, 1:].sum(1), probabilities


def export_classified(model: nn.Module, inputs: Mapping[str, np.ndarray]) -> bytes:
    """Export with two of these rows as the example."""
    graph = Classified(model.eval()).eval()
    example = {name: torch.from_numpy(values[:2]) for name, values in inputs.items()}
    with torch.no_grad():
        outputs = len(graph(*example.values()))
    return export_graph(graph, example, OUTPUTS[:outputs])


def pack_classifier(
    classifier: Classifier,
    trained: Trained,
    data: LabelledSplit,
    target: Path,
    *,
    seed: int,
    files: Mapping[str, Sequence[str]],
) -> Packed:
    """Pack a trained classifier; thresholds come from rows that neither trained it nor stopped its training."""
    held = data.calibration
    golden = _examples(held)
    counts = {
        part: dict(zip(classifier.classes, np.bincount(rows.label).tolist(), strict=True))
        for part, rows in (("training", data.train), ("validation", data.validation), ("calibration", held))
    }
    told = {
        "model": classifier.name,
        "classes": classifier.classes,
        "seed": seed,
        "files": list(dict.fromkeys(Path(name).name for names in files.values() for name in names)),
        **({"skipped_files": held.skipped} if held.skipped else {}),
        **held.facts,
        "rows": classifier.rows,
        **{f"{part}_rows": rows for part, rows in counts.items()},
        "recipe": asdict(classifier.recipe),
        "best_epoch": trained.best_epoch,
        "ended": ended(trained, classifier.recipe.patience_stop),
        "versions": library_versions(("torch", "numpy", "tamis")),
    }
    return pack(
        parse_model(export_classified(trained.model, golden), classifier.name),
        target,
        name=classifier.name,
        inputs=golden,
        score="score",
        description=classifier.description,
        features=classifier.features,
        units=classifier.units,
        working_points=_points(classifier, scores_of(trained.model, held), held.label),
        training=json.loads(json.dumps(told)),
        extra={"training.json": json.dumps(trained.history, indent=1) + "\n"},
    )


def scores_of(model: nn.Module, rows: Labelled) -> np.ndarray:
    """Return the score of every row."""
    scored = Classified(model).eval()
    pieces = []
    with torch.inference_mode():
        for start in range(0, len(rows), SCORED_AT_ONCE):
            some = np.arange(start, min(start + SCORED_AT_ONCE, len(rows)))
            inputs = (torch.from_numpy(store[some]) for store in rows.inputs.values())
            pieces.append(scored(*inputs)[0].numpy())
    return np.concatenate(pieces)


def _points(classifier: Classifier, scores: np.ndarray, label: np.ndarray) -> list[WorkingPoint]:
    if classifier.background_efficiencies:
        return background_points(scores[label == 0], classifier.background_efficiencies, classifier.rows)
    return class_points(classifier.classes, scores, label)


def _examples(rows: Labelled) -> dict[str, np.ndarray]:
    """Return rows of all classes in turn, few where rows are large."""
    row_bytes = sum(store[np.arange(1)].nbytes for store in rows.inputs.values())
    most = max(1, min(GOLDEN_ROWS, GOLDEN_BYTES // row_bytes))
    rank = np.empty(len(rows), np.int64)
    for number in np.unique(rows.label):
        mine = np.flatnonzero(rows.label == number)
        rank[mine] = np.arange(len(mine))
    chosen = np.lexsort((-rows.label, rank))[:most]  # a signal first, where one row is all that there is
    return {name: store[chosen] for name, store in rows.inputs.items()}
