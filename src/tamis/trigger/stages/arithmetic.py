"""ValueArithmetic on values per event and lists per event, bit-identical for one event and for many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tamis._base import DataError, UsageError
from tamis.events import Jagged

Value = Any  # a number, one value per event, or a Jagged
_FIRST = np.zeros(1, np.int64)


def mapped(text: str, function: Callable[..., Any], *values: Value) -> Value:
    """Apply a function element by element; a value per event is broadcast over that event's list."""
    lists = None
    for value in values:
        if type(value) is Jagged:
            if lists is None:
                lists = value
            elif not lists.matches(value):
                raise DataError(
                    f"{text!r} combines lists of different lengths, such as those of two collections"
                )
    if lists is None:
        return function(*values)
    flat = []
    for value in values:
        if type(value) is Jagged:
            flat.append(value.flat)
        elif isinstance(value, np.ndarray) and value.ndim and len(value) != 1:
            flat.append(np.repeat(value, lists.counts))
        else:  # a number, or the one value of a single event
            flat.append(value)
    result = function(*flat)
    offsets = lists.offsets
    return Jagged(offsets - offsets[0] if offsets[0] else offsets, result, result)


def nan_events(value: Value) -> np.ndarray | None:
    """Return a mask of the events in which a value is NaN, or None if there are none."""
    values = value.flat if type(value) is Jagged else value
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or not values.size:
        return None
    largest = values.item(values.argmax())  # argmax returns the position of a NaN if there is one
    if largest == largest:
        return None
    bad = np.isnan(values)
    if type(value) is Jagged:
        return np.asarray(_per_event(np.add, value, bad) > 0)
    return np.asarray(bad)


def _per_event(function: np.ufunc, value: Jagged, flat: np.ndarray, empty: float = 0) -> np.ndarray:
    """Reduce each event's part of `flat`; `empty` is the result for an event without elements."""
    kind = flat.dtype if flat.dtype.kind != "b" else np.dtype(np.int64)
    if kind.kind != "f" and not np.isfinite(empty):
        kind = np.dtype(np.float64)
    if flat.dtype is not kind:
        flat = flat.astype(kind)
    if len(value.offsets) == 2:
        return function.reduceat(flat, _FIRST) if len(flat) else np.full(1, empty, kind)
    starts, counts = value.offsets[:-1] - value.offsets[0], value.counts
    result = np.full(len(counts), empty, kind)
    filled = counts > 0
    if filled.any():
        result[filled] = function.reduceat(flat, starts[filled])
    return result


def _booleans(value: Jagged) -> np.ndarray:
    flat = value.flat
    return flat if flat.dtype.kind == "b" else flat.astype(bool)


LIST_REDUCTIONS: dict[str, Callable[[Jagged], np.ndarray]] = {
    "count": lambda v: _per_event(np.add, v, _booleans(v)),
    "any": lambda v: _per_event(np.add, v, _booleans(v)) > 0,
    "all": lambda v: _per_event(np.add, v, ~_booleans(v)) == 0,
    "sum": lambda v: _per_event(np.add, v, v.flat.astype(np.float64) if v.flat.dtype.kind == "f" else v.flat),
    "max": lambda v: _per_event(np.maximum, v, v.flat, -np.inf),
    "min": lambda v: _per_event(np.minimum, v, v.flat, np.inf),
}


def reduced(text: str, name: str, function: Callable[[Jagged], np.ndarray], value: Value) -> np.ndarray:
    """Reduce a list per event to one value per event."""
    if not isinstance(value, Jagged):
        raise UsageError(f"{text!r}: {name}(...) takes a list per event, not one value")
    return function(value)


class ValueArithmetic(NamedTuple):
    """The operations of expressions on values per event and lists per event."""

    mapped: Callable[..., Value]
    reduced: Callable[[str, str, Callable[[Jagged], np.ndarray], Value], np.ndarray]
    nan_events: Callable[[Value], np.ndarray | None]


PLAIN = ValueArithmetic(mapped, reduced, nan_events)


def element(text: str, value: Value, index: Value, default: Value) -> np.ndarray:
    """Return the element at an index of each event's list, or `default` where the list is shorter."""
    if not isinstance(value, Jagged) or not isinstance(index, int) or index < 0:
        raise UsageError(f"{text!r}: at(...) takes a list per event and an integer from 0")
    if isinstance(default, Jagged):
        raise UsageError(f"{text!r}: the default of at(...) must be one value, not a list")
    there = value.counts > index
    kind = np.result_type(value.values.dtype, np.min_scalar_type(default))
    found = np.full(len(value), default, kind)
    found[there] = value.values[value.offsets[:-1][there] + index]
    return found
