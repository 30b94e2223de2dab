"""Training jets: the leading jets of event files, or arrays of jets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tamis._base import DataError, UsageError, progress
from tamis.events import (
    Aliases,
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
JET_VALIDATION_FRACTION, JET_CALIBRATION_FRACTION = 0.05, 0.1
JETS_MIN, JET_EVENTS_MIN = 20, 3


@dataclass(frozen=True)
class JetSplit:
    """Jets split by event into training, validation and calibration (thresholds); mean and std of the training jets."""

    train: np.ndarray
    validation: np.ndarray
    calibration: np.ndarray
    mean: np.ndarray
    std: np.ndarray


@dataclass(frozen=True)
class LoadedJets:
    """Jets (jets, 100, 3) and the running number of each jet's event."""

    inputs: np.ndarray
    event: np.ndarray
    skipped: tuple[str, ...] = ()  # files that could not be read completely


def load_jets(
    paths: Sequence[str],
    most: int | None = None,
    *,
    tree: str | None = None,
    aliases: Aliases | None = None,
    skip_bad_files: bool = False,
) -> LoadedJets:
    """Read the leading jets of event files, or arrays (jets, 100, 3) from HDF5 and NumPy files."""
    pieces: list[np.ndarray] = []
    events: list[np.ndarray] = []
    count = 0
    reader: ArrayReader | EventReader
    if holds_arrays(paths):
        reader = read_arrays(paths, dataset=tree, skip_bad_files=skip_bad_files)
    else:
        reader = read_events(
            paths, columns=JET_COLUMNS, tree=tree, aliases=aliases, skip_bad_files=skip_bad_files
        )
    with progress("reading jets", None, "jets") as advance:
        for jets, event in _pieces(reader):
            remaining = len(jets) if most is None else most - count
            pieces.append(jets[:remaining])
            events.append(event[:remaining])
            count += len(pieces[-1])
            advance(len(jets))
            if most is not None and count >= most:
                break
    skipped = tuple(entry.reason for entry in reader.skipped)
    if not count:
        reasons = "".join(f"; {reason}" for reason in skipped)
        raise DataError(
            f"no jets in {', '.join(map(str, paths))}: training needs events with FatJet and PFCands{reasons}"
        )
    return LoadedJets(np.concatenate(pieces), np.concatenate(events), skipped)


def _pieces(reader: ArrayReader | EventReader) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield jets and the running number of each jet's event."""
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


def split_jets(loaded: LoadedJets, seed: int) -> JetSplit:
    """Split by event, so that jets of one event stay together; standardise by the training jets' real constituents."""
    jets = loaded.inputs
    if jets.ndim != 3 or jets.shape[1:] != JET_SHAPE:
        raise DataError(f"training jets have the shape {jets.shape}; it must be (jets, 100, 3)")
    if len(jets) < JETS_MIN:
        raise UsageError(f"{len(jets)} jets are too few to train on; give at least {JETS_MIN}")
    bad = ~np.isfinite(jets).all(axis=(1, 2))
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} of {len(jets)} training jets hold NaN or infinity; the first is jet {int(bad.argmax())}"
        )
    events, event_of_jet = np.unique(loaded.event, return_inverse=True)
    if len(events) < JET_EVENTS_MIN:
        raise UsageError(
            f"the {len(jets)} jets are of {len(events)} events; the split by event needs at least {JET_EVENTS_MIN}"
        )
    order = np.random.default_rng((seed, 0)).permutation(len(events))
    rank = np.empty(len(events))
    rank[order] = np.arange(len(events))
    validation_end = max(1.0, len(events) * JET_VALIDATION_FRACTION)
    calibration_end = validation_end + max(1.0, len(events) * JET_CALIBRATION_FRACTION)
    of_jet = rank[event_of_jet]
    train = jets[of_jet >= calibration_end]
    validation = jets[of_jet < validation_end]
    calibration = jets[(of_jet >= validation_end) & (of_jet < calibration_end)]
    real = train[train[:, :, 2] > 0]
    if not len(real):
        raise DataError("the training jets have no constituents with a transverse momentum")
    mean, std = real.mean(axis=0, dtype=np.float64), real.std(axis=0, dtype=np.float64)
    std = np.maximum(std, 1e-6)
    return JetSplit(train, validation, calibration, mean.astype(np.float32), std.astype(np.float32))
