"""Labelled rows: the inputs of a classifier with their classes, split by event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tamis._base import DataError, UsageError, did_you_mean
from tamis.features import find_inputs
from tamis.zoo.data.arrays import VALIDATION_FRACTION
from tamis.zoo.data.class_rows import ClassRows, ReadOptions, RowSelection, read_class
from tamis.zoo.data.stores import concatenate_stores, take_rows
from tamis.zoo.networks.description import Classifier, Store

EVENTS_PER_CLASS_MIN = 10


@dataclass(frozen=True)
class Labelled:
    """Rows with the numbers of their class and of their event."""

    inputs: Mapping[str, Store]
    label: np.ndarray
    event: np.ndarray
    skipped: tuple[str, ...] = ()  # files that could not be read completely
    facts: Mapping[str, object] = field(default_factory=dict)  # about the rows' origin, for the manifest

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.label)

    def take(self, rows: np.ndarray) -> Labelled:
        """Return the rows with these indices."""
        inputs = {name: take_rows(store, rows) for name, store in self.inputs.items()}
        return Labelled(inputs, self.label[rows], self.event[rows], self.skipped, self.facts)

    @classmethod
    def of(cls, classes: Sequence[ClassRows], facts: Mapping[str, object] | None = None) -> Labelled:
        """Concatenate the rows of the classes; events of different classes get different numbers."""
        starts = np.cumsum([0, *(part.events for part in classes)])
        return cls(
            {name: concatenate_stores([part.inputs[name] for part in classes]) for name in classes[0].inputs},
            np.repeat(np.arange(len(classes)), [len(part) for part in classes]),
            np.concatenate([part.event + start for part, start in zip(classes, starts, strict=False)]),
            tuple(entry for part in classes for entry in part.skipped),
            facts or {},
        )


@dataclass(frozen=True)
class LabelledSplit:
    """Rows for training, for early stopping (validation), and for thresholds (calibration)."""

    train: Labelled
    validation: Labelled
    calibration: Labelled


def load_by_file(
    classifier: Classifier, files: Mapping[str, Sequence[str]], options: ReadOptions
) -> Labelled:
    """Read rows whose class is that of their file."""
    features = find_inputs(classifier.features)
    parts = []
    for name in classifier.classes:
        part = read_class(features, files[name], RowSelection(name), options)
        events = len(np.unique(part.event))
        if events < EVENTS_PER_CLASS_MIN:
            reasons = "".join(f"; {entry}" for entry in part.skipped)
            raise DataError(
                f"class {name} has {events} events with {' and '.join(classifier.features.values())} in "
                f"{', '.join(map(str, files[name]))}; a training needs {EVENTS_PER_CLASS_MIN} of each class{reasons}"
            )
        parts.append(part)
    return Labelled.of(parts)


def check_classes(classifier: Classifier, files: Mapping[str, object]) -> None:
    """Check that every class of the classifier has files, and that no other class is named."""
    for name in files:
        if name not in classifier.classes:
            hint = did_you_mean(name, classifier.classes)
            raise UsageError(f"{classifier.name} has no class {name!r}; {hint}".rstrip("; "))
    for name in classifier.classes:
        if name not in files:
            raise UsageError(
                f"{classifier.name} distinguishes {', '.join(classifier.classes)}, and {name} has no files: "
                f"give --class {name}=FILE"
            )


def split_classes(loaded: Labelled, seed: int, calibration: float) -> LabelledSplit:
    """Split every class by event, so that thresholds are set on events that were not trained on."""
    events, event_of_row = np.unique(loaded.event, return_inverse=True)
    label = np.zeros(len(events), np.int64)
    label[event_of_row] = loaded.label
    position = np.empty(len(events))  # random, uniform in 0 to 1 within each class
    rng = np.random.default_rng((seed, 0))
    for number in range(int(label.max()) + 1):
        members = np.flatnonzero(label == number)
        position[members] = (rng.permutation(len(members)) + 0.5) / len(members)
    of_row = position[event_of_row]
    held = VALIDATION_FRACTION + calibration
    return LabelledSplit(
        train=loaded.take(np.flatnonzero(of_row >= held)),
        validation=loaded.take(np.flatnonzero(of_row < VALIDATION_FRACTION)),
        calibration=loaded.take(np.flatnonzero((of_row >= VALIDATION_FRACTION) & (of_row < held))),
    )
