"""Features: functions from event columns to model inputs. A feature is one frozen value, found by entry point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tamis._base import UsageError, registry
from tamis.events import Frame

FEATURE_GROUP = "tamis.features"


@dataclass(frozen=True)
class Rows:
    """A model's input for some events: the rows of event i are `inputs[offsets[i]:offsets[i + 1]]`."""

    inputs: np.ndarray
    offsets: np.ndarray
    about: Mapping[str, np.ndarray] = field(default_factory=dict)  # values per row, written with its scores
    empty: np.ndarray | None = None  # a mask of the rows without input, whose scores are missing

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.inputs)


@dataclass(frozen=True)
class Feature:
    """A function from events to the rows of a model's input."""

    name: str
    reads: tuple[str, ...]
    about: tuple[str, ...]
    build: Callable[[Frame], Rows]
    jets: str | None = None  # the collection, such as FatJet, that `jet` of `about` is an index into
    needs: str = ""  # what a file must contain, for the error message about a missing column
    channels: tuple[str, ...] = ()  # of images (rows, channels, size, size)
    may_be_empty: bool = False  # whether rows may have no input, such as a jet without constituents


def feature_names() -> list[str]:
    """Return the names of all features."""
    return registry.names(FEATURE_GROUP)


def find_feature(name: str) -> Feature:
    """Return a feature by name; an unknown name raises an error with close matches."""
    feature = registry.load(FEATURE_GROUP, name, "feature")
    if not isinstance(feature, Feature):
        raise UsageError(f"the entry point {name!r} names {feature!r}; expected a tamis.features.Feature")
    return feature
