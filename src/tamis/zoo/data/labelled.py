"""Labelled rows: the inputs of a classifier with their classes, split by event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tamis._base import DataError, UsageError, did_you_mean
from tamis.features import find_inputs
from tamis.zoo.data.class_rows import ClassRows, Wanted, read_class
from tamis.zoo.data.stores import Store, joined, take
from tamis.zoo.networks.classifiers import Classifier, Reading

VALIDATION_FRACTION = 0.1
LEAST_EVENTS = 10  # of each class


@dataclass(frozen=True)
class Labelled:
    """Rows with the number of their class and of their event."""

    inputs: Mapping[str, Store]
    label: np.ndarray
    event: np.ndarray
    skipped: tuple[str, ...] = ()  # files that could not be read, at least in part
    facts: Mapping[str, object] = field(default_factory=dict)  # of where they come from, for the manifest

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.label)

    def take(self, rows: np.ndarray) -> Labelled:
        """Return some rows."""
        inputs = {name: take(store, rows) for name, store in self.inputs.items()}
        return Labelled(inputs, self.label[rows], self.event[rows], self.skipped, self.facts)

    @classmethod
    def of(cls, classes: Sequence[ClassRows], facts: Mapping[str, object] | None = None) -> Labelled:
        """Join the rows of the classes, in their order; events of different classes are different events."""
        starts = np.cumsum([0, *(part.events for part in classes)])
        return cls(
            {name: joined([part.inputs[name] for part in classes]) for name in classes[0].inputs},
            np.repeat(np.arange(len(classes)), [len(part) for part in classes]),
            np.concatenate([part.event + start for part, start in zip(classes, starts, strict=False)]),
            tuple(entry for part in classes for entry in part.skipped),
            facts or {},
        )


@dataclass(frozen=True)
class LabelledSplit:
    """Rows to train on, to stop the training by, and to set thresholds on."""

    train: Labelled
    validation: Labelled
    calibration: Labelled


def load_by_file(classifier: Classifier, files: Mapping[str, Sequence[str]], reading: Reading) -> Labelled:
    """Read rows that are of the class that their file is of."""
    features = find_inputs(classifier.features)
    parts = []
    for name in classifier.classes:
        part = read_class(features, files[name], Wanted(name), reading)
        events = len(np.unique(part.event))
        if events < LEAST_EVENTS:
            told = "".join(f"; {entry}" for entry in part.skipped)
            raise DataError(
                f"class {name} has {events} events with {' and '.join(classifier.features.values())} in "
                f"{', '.join(map(str, files[name]))}; a training needs {LEAST_EVENTS} of each class{told}"
            )
        parts.append(part)
    return Labelled.of(parts)


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


def split_classes(loaded: Labelled, seed: int, calibration: float) -> LabelledSplit:
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
    held = VALIDATION_FRACTION + calibration
    return LabelledSplit(
        train=loaded.take(np.flatnonzero(of_row >= held)),
        validation=loaded.take(np.flatnonzero(of_row < VALIDATION_FRACTION)),
        calibration=loaded.take(np.flatnonzero((of_row >= VALIDATION_FRACTION) & (of_row < held))),
    )
