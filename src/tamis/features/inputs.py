"""All inputs of a model, built from a batch of events: several features with the same rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from tamis._base import MissingColumnError, UsageError
from tamis.events import IDENTITY, Events, Frame, columns_of
from tamis.features.lists import check_lengths, lists_of, starts_of
from tamis.features.rows import Feature, find_feature


@dataclass(frozen=True)
class InputRows:
    """The inputs by name; the rows of event i are `offsets[i]` to `offsets[i + 1]` of each."""

    inputs: dict[str, np.ndarray]
    offsets: np.ndarray
    about: Mapping[str, np.ndarray] = field(default_factory=dict)  # of the first input's feature
    jets: str | None = None  # the collection that `jet` of `about` is an index into
    empty: np.ndarray | None = None  # a mask of the rows without input, whose scores are missing

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.offsets[-1])

    @property
    def event(self) -> np.ndarray:
        """Return the index of each row's event."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def take(self, frame: Frame, column: str) -> np.ndarray:
        """Return a column of the rows' jets (`FatJet_mass`) or of their events (`MET_pt`), one value per row."""
        values = frame[column]
        if isinstance(values, np.ndarray) and values.ndim == 1:
            return values[self.event]
        if self.jets is None or not column.startswith(f"{self.jets}_"):
            raise UsageError(
                f"{column} is a list in every event; only columns of {self.jets or 'no collection'} and columns with one "
                "value per event can be given for each row"
            )
        check_lengths(frame, [f"{self.jets}_pt", column])
        lists = lists_of(frame, column)
        return lists.flat[starts_of(lists)[self.event] + self.about["jet"]]


def find_inputs(names: Mapping[str, str]) -> dict[str, Feature]:
    """Return the feature of every input."""
    return {name: find_feature(feature) for name, feature in names.items()}


def columns_read(features: Mapping[str, Feature]) -> tuple[str, ...]:
    """Return the columns that the features read, each once."""
    return tuple(dict.fromkeys(column for feature in features.values() for column in feature.reads))


@contextmanager
def explain_missing_columns(features: Mapping[str, Feature]) -> Iterator[None]:
    """Add to the error about a missing column what the features need of a file."""
    try:
        yield
    except MissingColumnError as error:
        needy = next((feature for feature in features.values() if feature.needs), None)
        if needy is None:
            raise
        lacks = re.sub("; (did you mean|known:) .*", "", str(error))  # close matches do not help here
        mark = ";" if ": " in lacks.partition("no column")[2] else ":"
        raise MissingColumnError(f"{lacks}{mark} {needy.name} needs {needy.needs}") from error


def frame_of(features: Mapping[str, Feature], events: Events, more: Iterable[str] = ()) -> Frame:
    """Return the identity of the events, the columns that the features read, and `more`, as a frame."""
    names = dict.fromkeys((*IDENTITY, *columns_read(features), *more))
    return Frame(columns_of(events, names), len(events))


def input_rows(features: Mapping[str, Feature], events: Events | Frame) -> InputRows:
    """Build every input, and check that all have rows for the same events."""
    frame = events if isinstance(events, Frame) else frame_of(features, events)
    built = {name: feature.build(frame) for name, feature in features.items()}
    (first, rows), *others = built.items()
    for name, other in others:
        if not np.array_equal(other.offsets, rows.offsets):
            raise UsageError(
                f"the inputs {first} ({features[first].name}) and {name} ({features[name].name}) have rows for different "
                f"events ({len(rows)} and {len(other)}), so they cannot be read together"
            )
    inputs = {name: other.inputs for name, other in built.items()}
    empties = [other.empty for other in built.values() if other.empty is not None]
    empty = np.logical_or.reduce(empties) if empties else None
    return InputRows(inputs, rows.offsets, rows.about, features[first].jets, empty)
