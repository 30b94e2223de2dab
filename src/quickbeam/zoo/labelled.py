"""Labelled rows: the inputs of a classifier, made of one set of files per class, split by event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quickbeam._base import DataError, UsageError, did_you_mean, progress
from quickbeam.events import of_file, read_events
from quickbeam.features import columns_read, find_inputs, input_rows
from quickbeam.zoo.classifiers import Classifier

VALIDATION_FRACTION, CALIBRATION_FRACTION = 0.1, 0.1
LEAST_EVENTS = 10  # of each class


@dataclass(frozen=True)
class Labelled:
    """Rows with the number of their class and of their event."""

    inputs: dict[str, np.ndarray]
    label: np.ndarray
    event: np.ndarray
    skipped: tuple[str, ...] = ()  # files that could not be read, at least in part

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.label)

    def take(self, rows: np.ndarray) -> Labelled:
        """Return some rows."""
        inputs = {name: values[rows] for name, values in self.inputs.items()}
        return Labelled(inputs, self.label[rows], self.event[rows], self.skipped)


@dataclass(frozen=True)
class LabelledSplit:
    """Rows to train on, to stop the training by, and to set thresholds on."""

    train: Labelled
    validation: Labelled
    calibration: Labelled


def load_classes(
    classifier: Classifier,
    files: Mapping[str, Sequence[str]],
    most: int | None = None,
    *,
    tree: str | None = None,
    skip_bad_files: bool = False,
) -> Labelled:
    """Read the rows of every class, at most so many of each, and check them."""
    check_classes(classifier, files)
    parts, first_event = [], 0
    for label, name in enumerate(classifier.classes):
        part = _load(classifier, name, label, files[name], most, first_event, tree, skip_bad_files)
        first_event = int(part.event[-1]) + 1
        parts.append(part)
    inputs = {key: np.concatenate([part.inputs[key] for part in parts]) for key in classifier.features}
    return Labelled(
        inputs,
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.event for part in parts]),
        tuple(entry for part in parts for entry in part.skipped),
    )


def check_classes(classifier: Classifier, given: Mapping[str, object]) -> None:
    """Refuse class names that the classifier does not know, and classes without files."""
    for name in given:
        if name not in classifier.classes:
            hint = did_you_mean(name, classifier.classes)
            raise UsageError(f"{classifier.name} has no class {name!r}; {hint}".rstrip("; "))
    for name in classifier.classes:
        if name not in given:
            raise UsageError(
                f"{classifier.name} tells {', '.join(classifier.classes)} apart, and {name} has no files: "
                f"give --class {name}=FILE"
            )


def split_classes(loaded: Labelled, seed: int) -> LabelledSplit:
    """Split every class by event, so that what is measured on was not trained on."""
    events, event_of_row = np.unique(loaded.event, return_inverse=True)
    label = np.zeros(len(events), np.int64)
    label[event_of_row] = loaded.label
    place = np.empty(len(events))  # 0 to 1 within the class, at random
    rng = np.random.default_rng((seed, 0))
    for number in range(int(label.max()) + 1):
        mine = np.flatnonzero(label == number)
        place[mine] = (rng.permutation(len(mine)) + 0.5) / len(mine)
    of_row = place[event_of_row]
    held = VALIDATION_FRACTION + CALIBRATION_FRACTION
    return LabelledSplit(
        train=loaded.take(np.flatnonzero(of_row >= held)),
        validation=loaded.take(np.flatnonzero(of_row < VALIDATION_FRACTION)),
        calibration=loaded.take(np.flatnonzero((of_row >= VALIDATION_FRACTION) & (of_row < held))),
    )


def _load(
    classifier: Classifier,
    name: str,
    label: int,
    files: Sequence[str],
    most: int | None,
    first_event: int,
    tree: str | None,
    skip_bad_files: bool,
) -> Labelled:
    features = find_inputs(classifier.features)
    reader = read_events(files, columns=columns_read(features), tree=tree, skip_bad_files=skip_bad_files)
    pieces, events, found, done = [], [], 0, first_event
    with progress(f"reading {name}", reader.count(), "events") as advance:
        for chunk in reader:
            with of_file(chunk.file):
                rows = input_rows(features, chunk.events)
            pieces.append(rows.inputs)
            events.append(done + np.repeat(np.arange(len(chunk.events)), np.diff(rows.offsets)))
            done += len(chunk.events)
            found += len(rows)
            advance(len(chunk.events))
            if most is not None and found >= most:
                break
    skipped = tuple(entry.reason for entry in reader.skipped)
    event = np.concatenate(events)[:most]
    if len(np.unique(event)) < LEAST_EVENTS:
        told = "".join(f"; {entry}" for entry in skipped)
        raise DataError(
            f"class {name} has {len(np.unique(event))} events with {' and '.join(classifier.features.values())} in "
            f"{', '.join(map(str, files))}; a training needs {LEAST_EVENTS} of each class{told}"
        )
    inputs = {key: np.concatenate([piece[key] for piece in pieces])[:most] for key in classifier.features}
    for key, values in inputs.items():
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise DataError(
                f"{int(bad.sum())} of {len(values)} rows of {key} of class {name} hold NaN or infinity; the first is row {int(bad.argmax())}"
            )
    return Labelled(inputs, np.full(len(event), label), event, skipped)
