"""All inputs of a model, made of a batch of events: several features that have their rows in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quickbeam._base import UsageError
from quickbeam.events import IDENTITY, Events, Frame, columns_of
from quickbeam.features.rows import Feature, find_feature


@dataclass(frozen=True)
class InputRows:
    """The inputs by name; the rows of event i are `offsets[i]` to `offsets[i + 1]` of each."""

    inputs: dict[str, np.ndarray]
    offsets: np.ndarray

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.offsets[-1])


def find_inputs(names: Mapping[str, str]) -> dict[str, Feature]:
    """Return the feature of every input."""
    return {name: find_feature(feature) for name, feature in names.items()}


def columns_read(features: Mapping[str, Feature]) -> tuple[str, ...]:
    """Return the columns that some features read, each once."""
    return tuple(dict.fromkeys(column for feature in features.values() for column in feature.reads))


def input_rows(features: Mapping[str, Feature], events: Events) -> InputRows:
    """Build every input, and prove that their rows are of the same events."""
    names = (*IDENTITY, *columns_read(features))
    frame = Frame(columns_of(events, names), len(events))
    built = {name: feature.build(frame) for name, feature in features.items()}
    first, *others = built.items()
    for name, rows in others:
        if not np.array_equal(rows.offsets, first[1].offsets):
            raise UsageError(
                f"the inputs {first[0]} ({features[first[0]].name}) and {name} ({features[name].name}) have rows for different "
                f"events ({len(first[1])} and {len(rows)}), so they cannot be read together"
            )
    return InputRows({name: rows.inputs for name, rows in built.items()}, first[1].offsets)
