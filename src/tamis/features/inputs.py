"""All inputs of a model, made of a batch of events: several features that have their rows in common."""

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
    about: Mapping[str, np.ndarray] = field(
        default_factory=dict
    )  # what the first input's feature tells of each
    jets: str | None = None  # the collection whose objects `jet` of `about` counts

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.offsets[-1])

    @property
    def event(self) -> np.ndarray:
        """Return of every row the place of its event."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def take(self, frame: Frame, column: str) -> np.ndarray:
        """Return a column of the rows' jets (`FatJet_mass`) or of their events (`MET_pt`), one value per row."""
        values = frame[column]
        if isinstance(values, np.ndarray) and values.ndim == 1:
            return values[self.event]
        if self.jets is None or not column.startswith(f"{self.jets}_"):
            raise UsageError(
                f"{column} is a list in every event, and does not tell of the rows that are asked for"
            )
        check_lengths(frame, [f"{self.jets}_pt", column])
        lists = lists_of(frame, column)
        return lists.flat[starts_of(lists)[self.event] + self.about["jet"]]


def find_inputs(names: Mapping[str, str]) -> dict[str, Feature]:
    """Return the feature of every input."""
    return {name: find_feature(feature) for name, feature in names.items()}


def columns_read(features: Mapping[str, Feature]) -> tuple[str, ...]:
    """Return the columns that some features read, each once."""
    return tuple(dict.fromkeys(column for feature in features.values() for column in feature.reads))


@contextmanager
def telling_needs(features: Mapping[str, Feature]) -> Iterator[None]:
    """Say what a feature needs of a file that lacks a column."""
    try:
        yield
    except MissingColumnError as error:
        needy = next((feature for feature in features.values() if feature.needs), None)
        if needy is None:
            raise
        lacks = re.sub("; (did you mean|known:) .*", "", str(error))  # near misses are of no help here
        raise MissingColumnError(f"{lacks}: {needy.name} needs {needy.needs}") from error


def frame_read(features: Mapping[str, Feature], events: Events, more: Iterable[str] = ()) -> Frame:
    """Return a batch as plain columns: its identity, what the features read, and more."""
    names = dict.fromkeys((*IDENTITY, *columns_read(features), *more))
    return Frame(columns_of(events, names), len(events))


def input_rows(features: Mapping[str, Feature], events: Events | Frame) -> InputRows:
    """Build every input, and prove that their rows are of the same events."""
    frame = events if isinstance(events, Frame) else frame_read(features, events)
    built = {name: feature.build(frame) for name, feature in features.items()}
    first, *others = built.items()
    for name, rows in others:
        if not np.array_equal(rows.offsets, first[1].offsets):
            raise UsageError(
                f"the inputs {first[0]} ({features[first[0]].name}) and {name} ({features[name].name}) have rows for different "
                f"events ({len(first[1])} and {len(rows)}), so they cannot be read together"
            )
    inputs = {name: rows.inputs for name, rows in built.items()}
    return InputRows(inputs, first[1].offsets, first[1].about, features[first[0]].jets)
