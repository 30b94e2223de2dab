"""The kind of a value before there are events: whether it is a list per event, of which collection, and its type.

A menu is checked with kinds before the first event. A kind has a sample of one element, so that numpy itself decides which
types an operation takes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_NUMBER_OR_LIST = re.compile(r"(?P<list>(var|\d+) \* )?\??(?P<dtype>bool|u?int\d+|float\d+)")


@dataclass(frozen=True)
class Kind:
    """The kind of a value; None means unknown."""

    is_list: bool | None = None
    collection: str | None = None  # lists of different collections have different lengths
    sample: Any = None  # a number, or an array of one element

    @property
    def is_fractional(self) -> bool:
        """Return whether the value is known to be a floating-point number."""
        return self.sample is not None and np.asarray(self.sample).dtype.kind == "f"


UNKNOWN = Kind()


def kind_of_column(column_type: str | None, collection: str | None = None) -> Kind:
    """Return the kind of a column with an awkward type, such as `var * float32`."""
    match = _NUMBER_OR_LIST.fullmatch(column_type or "")
    if match is None:
        return UNKNOWN
    return Kind(match["list"] is not None, collection, np.ones(1, match["dtype"]))


def joined(function: Callable[..., Any], kinds: Sequence[Kind]) -> Kind:
    """Return the kind of an operation element by element; raises ValueError with the reason if it is impossible."""
    lists = [kind for kind in kinds if kind.is_list]
    collections = list(dict.fromkeys(kind.collection for kind in lists if kind.collection is not None))
    if len(collections) > 1:
        raise ValueError(
            f"it combines lists of different lengths, of {collections[0]} and of {collections[1]}; "
            "reduce one of them to a value per event, with max(...) or at(...)"
        )
    is_list = True if lists else None if any(kind.is_list is None for kind in kinds) else False
    sample = None
    if all(kind.sample is not None for kind in kinds):
        try:
            with np.errstate(all="ignore"):
                sample = function(*(kind.sample for kind in kinds))
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ValueError(str(error)) from error
    return Kind(is_list, collections[0] if collections else None, sample)
