"""Training rows from arrays in HDF5 and NumPy files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tamis._base import DataError
from tamis.events import read_arrays
from tamis.features import find_inputs
from tamis.zoo.data.class_rows import ReadOptions, RowSelection, read_class
from tamis.zoo.networks.description import ArrayModel, FeatureDetector

VALIDATION_FRACTION = 0.1
ARRAY_ROWS_MIN = 100


@dataclass(frozen=True)
class ArrayRows:
    """The inputs in the model's order, and the target."""

    inputs: Mapping[str, np.ndarray]
    target: np.ndarray
    skipped: tuple[str, ...] = ()  # files that could not be read completely

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.target)

    def take(self, rows: np.ndarray) -> ArrayRows:
        """Return the rows with these indices."""
        return ArrayRows({k: v[rows] for k, v in self.inputs.items()}, self.target[rows], self.skipped)


@dataclass(frozen=True)
class ArraySplit:
    """Rows for training, validation and calibration (thresholds)."""

    train: ArrayRows
    validation: ArrayRows
    calibration: ArrayRows


def load_arrays(
    files: Sequence[str], names: Sequence[str], most: int | None = None, *, skip_bad_files: bool = False
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return arrays with the same number of rows, at most `most`, and why files were skipped."""
    arrays, skipped = {}, []
    for name in names:
        reader = read_arrays(files, dataset=name, skip_bad_files=skip_bad_files)
        pieces, rows = [], 0
        for chunk in reader:
            pieces.append(chunk.array if most is None else chunk.array[: most - rows])
            rows += len(pieces[-1])
            if most is not None and rows >= most:
                break
        arrays[name] = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        skipped += [entry.reason for entry in reader.skipped]
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"the arrays of {', '.join(map(str, files))} differ in length: {lengths}")
    for name, values in arrays.items():
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise DataError(f"{name} holds NaN or infinity in row {int(bad.argmax())}: leave it out")
    return arrays, tuple(dict.fromkeys(skipped))


def load_rows(
    model: ArrayModel, files: Sequence[str], most: int | None, *, skip_bad_files: bool
) -> ArrayRows:
    """Read a model's inputs and target."""
    arrays, skipped = load_arrays(files, (*model.inputs, model.target), most, skip_bad_files=skip_bad_files)
    target = arrays.pop(model.target)
    if len(target) < ARRAY_ROWS_MIN:
        raise DataError(
            f"{len(target)} {model.rows} are too few to train {model.name}; give at least {ARRAY_ROWS_MIN}"
        )
    return ArrayRows({name: values.astype(np.float32) for name, values in arrays.items()}, target, skipped)


def load_features(detector: FeatureDetector, files: Sequence[str], options: ReadOptions) -> ArrayRows:
    """Read the rows of a detector's features from event files; their target is 0."""
    found = read_class(find_inputs(detector.features), files, RowSelection(detector.name), options)
    if len(found) < ARRAY_ROWS_MIN:
        raise DataError(
            f"{len(found)} {detector.rows} are too few to train {detector.name}; give at least {ARRAY_ROWS_MIN}"
        )
    whole = np.arange(len(found))
    inputs = {name: found.inputs[name][whole] for name in detector.features}
    return ArrayRows(inputs, np.zeros(len(found), np.uint8), found.skipped)


def split_rows(rows: ArrayRows, seed: int, calibration: float = 0.0) -> ArraySplit:
    """Split into training and validation rows, and a fraction that is used for nothing but thresholds."""
    order = np.random.default_rng((seed, 0)).permutation(len(rows))
    validation = max(1, int(len(rows) * VALIDATION_FRACTION))
    held = validation + int(len(rows) * calibration)
    parts = order[held:], order[:validation], order[validation:held]
    return ArraySplit(*(rows.take(np.sort(part)) for part in parts))
