"""Evaluation of a model of arrays on a sample that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from tamis._base import DataError, Document, UsageError, utc_timestamp
from tamis.bundle import Bundle
from tamis.engines import Session
from tamis.engines import open as open_session
from tamis.measure.array_classes import ClassFigures, class_figures, confusion
from tamis.measure.energies import EmptyFigures, EnergyBin, empty_rows, energy_bins
from tamis.zoo.data import load_arrays

ROWS_AT_ONCE = 4096


class ArrayEvaluation(Document):
    """What a model of arrays can do: energies, or classes."""

    kind: Literal["arrays"] = "arrays"
    schema_version: Literal[1] = 1
    bundle: str
    created: str
    engine: str
    files: tuple[str, ...]
    rows: int
    what: str
    energies: tuple[EnergyBin, ...] = ()
    empty: tuple[EmptyFigures, ...] = ()
    classes: tuple[ClassFigures, ...] = ()
    confusion: tuple[tuple[float, ...], ...] = ()


def evaluate_arrays(
    bundle: Bundle, files: Sequence[str], *, engine: str = "onnxruntime", seed: int = 0
) -> ArrayEvaluation:
    """Compare a bundle with the truth, and with the simple ways that the sample holds too."""
    told = bundle.manifest.training
    task, target, what = told.get("task"), told.get("target"), told.get("rows", "rows")
    if task not in ("energy", "classes"):
        raise UsageError(
            f"{bundle.name} was not trained on arrays: evaluate it with --background and --signal, or --class"
        )
    baselines = told.get("baselines", [])
    simple = [str(name) for name in baselines] if isinstance(baselines, list) else []
    inputs = [spec.name for spec in bundle.manifest.signature.inputs]
    arrays, _ = load_arrays(files, (*inputs, str(target), *simple))
    truth = arrays[str(target)]
    if not len(truth):
        raise DataError(f"no {what} in {', '.join(map(str, files))}")
    with open_session(bundle, engine) as session:
        found = _run(session, {name: arrays[name] for name in inputs})
    rng = np.random.default_rng(seed)
    variables = {name: arrays[name] for name in simple}
    empty = ArrayEvaluation(
        bundle=bundle.name,
        created=utc_timestamp(),
        engine=engine,
        files=tuple(Path(file).name for file in files),
        rows=len(truth),
        what=str(what),
    )
    if task == "energy":
        measured = {bundle.name: found[str(bundle.manifest.score)], **variables}
        return empty.model_copy(
            update={
                "energies": tuple(energy_bins(truth, measured, rng)),
                "empty": tuple(empty_rows(truth, measured, rng)),
            }
        )
    names = told.get("classes", [])
    classes = [str(name) for name in names] if isinstance(names, list) else []
    probabilities, label = found["probabilities"], truth.astype(np.int64)
    return empty.model_copy(
        update={
            "classes": tuple(class_figures(classes, label, probabilities, variables, rng)),
            "confusion": confusion(len(classes), label, probabilities),
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
