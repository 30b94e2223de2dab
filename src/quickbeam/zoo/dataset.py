"""Training jets: the leading jets of the files, as one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quickbeam._base import DataError, UsageError, progress
from quickbeam.events import JET_COLUMNS, leading_jets, read_arrays, read_events

JETS_PER_EVENT = 2
VALIDATION_FRACTION = 0.1


@dataclass(frozen=True)
class TrainingSet:
    """Jets to train on and jets to validate on, split by a seed, and the standardisation of the former."""

    train: np.ndarray
    validation: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def load_jets(paths: Sequence[str], most: int | None = None) -> np.ndarray:
    """Read leading jets from event files, or (jets, 100, 3) arrays from HDF5 and NumPy files."""
    pieces: list[np.ndarray] = []
    found = 0
    with progress("reading jets", None, "jets") as advance:
        for jets in _pieces(paths):
            pieces.append(jets if most is None else jets[: most - found])
            found += len(pieces[-1])
            advance(len(jets))
            if most is not None and found >= most:
                break
    if not found:
        raise DataError(
            f"no jets in {', '.join(map(str, paths))}: training needs events with FatJet and PFCands"
        )
    return np.concatenate(pieces)


def _pieces(paths: Sequence[str]):  # type: ignore[no-untyped-def] # noqa: ANN202 - an iterator of float32 (jets, 100, 3)
    if all(Path(path).suffix in (".h5", ".hdf5", ".npy", ".npz") for path in paths):
        for path in paths:
            for chunk in read_arrays(path):
                yield np.asarray(chunk.array, np.float32)
        return
    for events in read_events(paths, columns=JET_COLUMNS):
        yield leading_jets(events.events, jets=JETS_PER_EVENT).inputs


def split(jets: np.ndarray, seed: int) -> TrainingSet:
    """Split into training and validation; measure the standardisation on real constituents of the former."""
    if jets.ndim != 3 or jets.shape[1:] != (100, 3):
        raise DataError(f"training jets have the shape {jets.shape}; it has to be (jets, 100, 3)")
    if len(jets) < 20:
        raise UsageError(f"{len(jets)} jets are too few to train on; give at least 20")
    bad = ~np.isfinite(jets).all(axis=(1, 2))
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} of {len(jets)} training jets hold NaN or infinity; the first is jet {int(bad.argmax())}"
        )
    order = np.random.default_rng((seed, 0)).permutation(len(jets))
    held_out = max(1, int(len(jets) * VALIDATION_FRACTION))
    train, validation = jets[order[held_out:]], jets[order[:held_out]]
    real = train[train[:, :, 2] > 0]
    if not len(real):
        raise DataError("the training jets have no constituents with a transverse momentum")
    mean, std = real.mean(axis=0, dtype=np.float64), real.std(axis=0, dtype=np.float64)
    return TrainingSet(train, validation, mean.astype(np.float32), np.maximum(std, 1e-6).astype(np.float32))
