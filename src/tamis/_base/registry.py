"""Plug-ins, found by entry point: an engine or a bundle is one line in somebody's pyproject.toml."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from tamis._base.errors import MissingExtraError, UsageError
from tamis._base.near import did_you_mean


def names(group: str) -> list[str]:
    """Return the names registered in an entry-point group, sorted."""
    return sorted(_points(group, tuple(sys.path)))


@cache
def _points(group: str, path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Look through what is installed, once per group and path: a look takes some 15 ms."""
    del path
    return {point.name: point for point in entry_points(group=group)}


def find(group: str, name: str, noun: str) -> EntryPoint:
    """Return one entry point, or say which names are near."""
    points = _points(group, tuple(sys.path))
    if name not in points:
        raise UsageError(f"no {noun} is called {name!r}; {did_you_mean(name, sorted(points))}".rstrip("; "))
    return points[name]


def load(group: str, name: str, noun: str) -> Any:
    """Import what an entry point names."""
    point = find(group, name, noun)
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise MissingExtraError(
            f"the {noun} {name} ({point.value}) cannot be imported: {error}; install what it needs, or leave it out"
        ) from error
