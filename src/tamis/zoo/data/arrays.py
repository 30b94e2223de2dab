"""Rows of arrays to train on, out of HDF5 and NumPy files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tamis._base import DataError
from tamis.events import read_arrays
from tamis.zoo.networks.array_models import ArrayModel

VALIDATION_FRACTION = 0.1
FEWEST = 100


@dataclass(frozen=True)
class ArrayRows:
    """The inputs in the model's order, and the target."""

    inputs: Mapping[str, np.ndarray]
    target: np.ndarray
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.target)

    def take(self, rows: np.ndarray) -> ArrayRows:
        """Return some rows."""
        return ArrayRows({k: v[rows] for k, v in self.inputs.items()}, self.target[rows], self.skipped)


def load_arrays(
    files: Sequence[str], names: Sequence[str], most: int | None = None, *, skip_bad_files: bool = False
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Read arrays that have their rows in common, and the reasons for which files were skipped."""
    found, skipped = {}, []
    for name in names:
        reader = read_arrays(files, dataset=name, skip_bad_files=skip_bad_files)
        pieces, rows = [], 0
        for chunk in reader:
            pieces.append(chunk.array if most is None else chunk.array[: most - rows])
            rows += len(pieces[-1])
            if most is not None and rows >= most:
                break
        found[name] = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        skipped += [entry.reason for entry in reader.skipped]
    lengths = {name: len(values) for name, values in found.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"the arrays of {', '.join(map(str, files))} differ in length: {lengths}")
    for name, values in found.items():
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise DataError(f"{name} holds NaN or infinity in row {int(bad.argmax())}: leave it out")
    return found, tuple(dict.fromkeys(skipped))


def load_rows(
    model: ArrayModel, files: Sequence[str], most: int | None, *, skip_bad_files: bool
) -> ArrayRows:
    """Read what a model is trained on."""
    found, skipped = load_arrays(files, (*model.inputs, model.target), most, skip_bad_files=skip_bad_files)
    target = found.pop(model.target)
    if len(target) < FEWEST:
        raise DataError(
            f"{len(target)} {model.rows} are too few to train {model.name} on; give at least {FEWEST}"
        )
    return ArrayRows({name: values.astype(np.float32) for name, values in found.items()}, target, skipped)


def split_rows(rows: ArrayRows, seed: int) -> tuple[ArrayRows, ArrayRows]:
    """Return rows to train on and rows to stop the training by."""
    order = np.random.default_rng((seed, 0)).permutation(len(rows))
    held = max(1, int(len(rows) * VALIDATION_FRACTION))
    return rows.take(np.sort(order[held:])), rows.take(np.sort(order[:held]))
