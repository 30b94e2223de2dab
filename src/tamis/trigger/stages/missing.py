"""Arithmetic on values of which some are missing; the others get what plain arithmetic gives them, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tamis.events import MISSING, Jagged, is_missing
from tamis.trigger.stages.arithmetic import Value, ValueArithmetic, mapped, nan_events, reduced

_CHOOSES = (np.where, is_missing)  # functions that look at missing values themselves
_LOGICAL = (np.logical_and, np.logical_or, np.logical_not)
_TRUTHS = ("count", "any", "all")


def _mapped(text: str, function: Callable[..., Any], *values: Value) -> Value:
    """Apply a function element by element: a comparison with a missing value is false, all else is missing."""
    if function in _CHOOSES:
        return mapped(text, function, *values)
    if function in _LOGICAL:
        return mapped(text, function, *(mapped(text, _truth, value) for value in values))
    return mapped(text, lambda *numbers: _unless_missing(function(*numbers), *numbers), *values)


def _unless_missing(result: Any, *numbers: Any) -> Any:
    """Return a result that is missing, or false, where a number is missing."""
    absent = np.logical_or.reduce(np.broadcast_arrays(*(is_missing(number) for number in numbers)))
    if not absent.any():
        return result
    if result.dtype.kind == "b":
        return result & ~absent
    return np.where(absent, result.dtype.type(MISSING), result)


def _truth(values: Any) -> Any:
    """Return values as conditions, in which a missing value is false."""
    return np.asarray(values).astype(bool) & ~is_missing(values)


def _reduced(text: str, name: str, function: Callable[[Jagged], np.ndarray], value: Value) -> np.ndarray:
    """Reduce the values of each event that are not missing; the sum or extreme of missing values alone is missing."""
    if not isinstance(value, Jagged):
        return reduced(text, name, function, value)
    if name in _TRUTHS:
        return function(Jagged(value.offsets - value.offsets[0], _truth(value.flat)))
    absent = is_missing(value.flat)
    if not absent.any():
        return function(value)
    offsets = np.append(0, np.cumsum(~absent))[value.offsets - value.offsets[0]]
    found = function(Jagged(offsets, value.flat[~absent]))
    nothing = (np.diff(offsets) == 0) & (value.counts > 0)
    return np.where(nothing, found.dtype.type(MISSING), found)


def _nan_events(value: Value) -> np.ndarray | None:
    """Return a mask of the events in which a value is NaN and not missing, or None if there are none."""
    if isinstance(value, Jagged):
        return nan_events(Jagged(value.offsets, value.values, _without_missing(value.flat)))
    return nan_events(_without_missing(value))


def _without_missing(values: Any) -> Any:
    absent = is_missing(values)
    return np.where(absent, np.zeros_like(values), values) if absent.any() else values


WITH_MISSING = ValueArithmetic(_mapped, _reduced, _nan_events)
