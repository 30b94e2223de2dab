"""Evaluation of a model of arrays on a sample that is independent of its training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tamis._base import DataError, UsageError, utc_timestamp
from tamis.bundle import Bundle
from tamis.engines import Session
from tamis.engines import open as open_session
from tamis.events import expand
from tamis.measure.physics.array_classes import class_figures, confusion, point_figures
from tamis.measure.physics.energies import empty_rows, energy_bins
from tamis.records import ArrayEvaluation
from tamis.zoo.data import load_arrays

ROWS_AT_ONCE = 4096


def evaluate_arrays(
    bundle: Bundle, files: Sequence[str], *, engine: str = "onnxruntime", seed: int = 0
) -> ArrayEvaluation:
    """Compare a bundle's outputs with the truth, next to the baseline estimators in the sample files."""
    training = bundle.manifest.training
    task, target, what = training.get("task"), training.get("target"), training.get("rows", "rows")
    if task not in ("energy", "classes"):
        raise UsageError(
            f"{bundle.name} was not trained on arrays: evaluate it with --background and --signal, or --class"
        )
    listed = training.get("baselines", [])
    baselines = [str(name) for name in listed] if isinstance(listed, list) else []
    files = expand(files)
    inputs = [spec.name for spec in bundle.manifest.signature.inputs]
    arrays, _ = load_arrays(files, (*inputs, str(target), *baselines))
    truth = arrays[str(target)]
    if not len(truth):
        raise DataError(f"there are no {what} in {', '.join(map(str, files))}")
    with open_session(bundle, engine) as session:
        outputs = _run(session, {name: arrays[name] for name in inputs})
    rng = np.random.default_rng(seed)
    variables = {name: arrays[name] for name in baselines}
    evaluation = ArrayEvaluation(
        bundle=bundle.name,
        created=utc_timestamp(),
        engine=engine,
        files=tuple(Path(file).name for file in files),
        rows=len(truth),
        what=str(what),
    )
    if task == "energy":
        measured = {bundle.name: outputs[str(bundle.manifest.score)], **variables}
        return evaluation.model_copy(
            update={
                "energies": tuple(energy_bins(truth, measured, rng)),
                "empty": tuple(empty_rows(truth, measured, rng)),
            }
        )
    names = training.get("classes", [])
    classes = [str(name) for name in names] if isinstance(names, list) else []
    probabilities, label = outputs["probabilities"], truth.astype(np.int64)
    points = bundle.manifest.working_points
    scores = outputs[str(bundle.manifest.score)] if points else probabilities[:, 0]
    return evaluation.model_copy(
        update={
            "classes": tuple(class_figures(classes, label, probabilities, variables, rng)),
            "confusion": confusion(len(classes), label, probabilities),
            "points": tuple(point_figures(points, classes, label, scores, rng)),
        }
    )


def _run(session: Session, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    rows = len(next(iter(arrays.values())))
    pieces = [
        session.run(
            **{name: values[i : i + ROWS_AT_ONCE].astype(np.float32) for name, values in arrays.items()}
        )
        for i in range(0, rows, ROWS_AT_ONCE)
    ]
    return {name: np.concatenate([np.asarray(piece[name]) for piece in pieces]) for name in pieces[0]}
