"""Optional code: plug-ins found by entry point, and libraries that an extra installs."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from tamis._base.errors import MissingExtraError, UsageError, did_you_mean


def names(group: str) -> list[str]:
    """Return the names registered in an entry-point group, sorted."""
    return sorted(_points(group))


@cache
def _installed(path: tuple[str, ...]) -> Any:
    """Return all entry points, of a type that depends on the Python version; cached per `sys.path`: a search takes 15 ms."""
    del path
    return entry_points()


def _points(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name."""
    return {point.name: point for point in _installed(tuple(sys.path)).select(group=group)}


def find(group: str, name: str, noun: str) -> EntryPoint:
    """Return an entry point; an unknown name raises UsageError with close matches."""
    points = _points(group)
    if name not in points:
        raise UsageError(f"no {noun} is called {name!r}; {did_you_mean(name, sorted(points))}".rstrip("; "))
    return points[name]


def load(group: str, name: str, noun: str) -> Any:
    """Import the object that an entry point refers to."""
    point = find(group, name, noun)
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise MissingExtraError(
            f"the {noun} {name} ({point.value}) cannot be imported: {error}; install its dependencies, or choose another {noun}"
        ) from error


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional library; where it is missing, the error names its purpose and the extra that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        root = module.split(".", maxsplit=1)[0]
        is_missing = getattr(error, "name", None) == root
        reason = "is not installed" if is_missing else f"cannot be imported ({error})"
        raise MissingExtraError(
            f"{root}, which is needed for {purpose}, {reason}: pip install 'tamis[{extra}]'"
        ) from error
