"""Training jets: the leading jets of the files, as one array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tamis._base import DataError, UsageError, progress
from tamis.events import (
    ArrayChunk,
    ArrayReader,
    EventReader,
    holds_arrays,
    of_file,
    read_arrays,
    read_events,
)
from tamis.features import JET_COLUMNS, leading_jets

JETS_PER_EVENT = 2
JET_SHAPE = (100, 3)
VALIDATION_FRACTION, CALIBRATION_FRACTION = 0.05, 0.1


@dataclass(frozen=True)
class TrainingSet:
    """Jets split by event and seed: to train on, to stop the training by, to set thresholds on; the scale of the first."""

    train: np.ndarray
    validation: np.ndarray
    calibration: np.ndarray
    mean: np.ndarray
    std: np.ndarray


@dataclass(frozen=True)
class LoadedJets:
    """Jets (jets, 100, 3) and the running number of the event that each is of."""

    inputs: np.ndarray
    event: np.ndarray
    skipped: tuple[str, ...] = ()  # files that could not be read, at least in part


def load_jets(
    paths: Sequence[str], most: int | None = None, *, tree: str | None = None, skip_bad_files: bool = False
) -> LoadedJets:
    """Read leading jets from event files, or (jets, 100, 3) arrays, a jet a row, from HDF5 and NumPy files."""
    pieces: list[np.ndarray] = []
    events: list[np.ndarray] = []
    found = 0
    reader = _reader(paths, tree, skip_bad_files)
    with progress("reading jets", None, "jets") as advance:
        for jets, event in _pieces(reader):
            left = len(jets) if most is None else most - found
            pieces.append(jets[:left])
            events.append(event[:left])
            found += len(pieces[-1])
            advance(len(jets))
            if most is not None and found >= most:
                break
    skipped = tuple(entry.reason for entry in reader.skipped)
    if not found:
        raise DataError(
            f"no jets in {', '.join(map(str, paths))}: training needs events with FatJet and PFCands{''.join(f'; {e}' for e in skipped)}"
        )
    return LoadedJets(np.concatenate(pieces), np.concatenate(events), skipped)


def _reader(paths: Sequence[str], tree: str | None, skip_bad_files: bool) -> ArrayReader | EventReader:
    if holds_arrays(paths):
        return read_arrays(paths, dataset=tree, skip_bad_files=skip_bad_files)
    return read_events(paths, columns=JET_COLUMNS, tree=tree, skip_bad_files=skip_bad_files)


def _pieces(reader: ArrayReader | EventReader) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield jets, and the running number of the event that each is of."""
    done = 0
    for chunk in reader:
        if isinstance(chunk, ArrayChunk):
            count = len(chunk.array)
            if chunk.array.shape[1:] != JET_SHAPE:
                raise DataError(
                    f"{chunk.file}: dataset {chunk.dataset!r} has the shape {chunk.array.shape}, training needs (jets, 100, 3)"
                )
            yield np.asarray(chunk.array, np.float32), done + np.arange(count)
        else:
            count = len(chunk.events)
            with of_file(chunk.file):
                jets = leading_jets(chunk.events, jets=JETS_PER_EVENT)
            yield jets.inputs, done + jets.event_row
        done += count


def split(loaded: LoadedJets, seed: int) -> TrainingSet:
    """Split by event, so that two jets of one event never face each other; scale by the real constituents trained on."""
    jets = loaded.inputs
    if jets.ndim != 3 or jets.shape[1:] != (100, 3):
        raise DataError(f"training jets have the shape {jets.shape}; it has to be (jets, 100, 3)")
    if len(jets) < 20:
        raise UsageError(f"{len(jets)} jets are too few to train on; give at least 20")
    bad = ~np.isfinite(jets).all(axis=(1, 2))
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} of {len(jets)} training jets hold NaN or infinity; the first is jet {int(bad.argmax())}"
        )
    events, event_of_jet = np.unique(loaded.event, return_inverse=True)
    if len(events) < 3:
        raise UsageError(
            f"the {len(jets)} jets are of {len(events)} events; a training needs 3 to split them by event"
        )
    order = np.random.default_rng((seed, 0)).permutation(len(events))
    place = np.empty(len(events))
    place[order] = np.arange(len(events))
    validated = max(1.0, len(events) * VALIDATION_FRACTION)
    calibrated = validated + max(1.0, len(events) * CALIBRATION_FRACTION)
    of_jet = place[event_of_jet]
    train = jets[of_jet >= calibrated]
    validation, calibration = jets[of_jet < validated], jets[(of_jet >= validated) & (of_jet < calibrated)]
    real = train[train[:, :, 2] > 0]
    if not len(real):
        raise DataError("the training jets have no constituents with a transverse momentum")
    mean, std = real.mean(axis=0, dtype=np.float64), real.std(axis=0, dtype=np.float64)
    std = np.maximum(std, 1e-6)
    return TrainingSet(train, validation, calibration, mean.astype(np.float32), std.astype(np.float32))
