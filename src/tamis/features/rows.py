"""Features: what models read, made of the columns of events. A feature is one value, found by entry point."""

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
    about: Mapping[str, np.ndarray] = field(default_factory=dict)  # one value per row, told with its scores

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.inputs)


@dataclass(frozen=True)
class Feature:
    """A way from events to the rows of a model's input."""

    name: str
    reads: tuple[str, ...]
    about: tuple[str, ...]
    build: Callable[[Frame], Rows]
    jets: str | None = None  # the collection, such as FatJet, whose objects `jet` of `about` counts
    needs: str = ""  # of a file; told where one lacks what is read


def feature_names() -> list[str]:
    """Return the names of all features."""
    return registry.names(FEATURE_GROUP)


def find_feature(name: str) -> Feature:
    """Return a feature by name, or say which names are near."""
    found = registry.load(FEATURE_GROUP, name, "feature")
    if not isinstance(found, Feature):
        raise UsageError(f"the entry point {name!r} names {found!r}, which is no Feature")
    return found
