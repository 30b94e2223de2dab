"""Profiles of the experiments' formats: how to recognise one, its aliases, and what it does not hold. Data, one YAML each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from pathlib import Path

from pydantic import Field

from tamis._base import Document, UsageError, parse_document
from tamis.events.table import Table, type_of

PROFILES_VARIABLE = "TAMIS_PROFILES"  # a folder of further profiles, which come first


class Profile(Document):
    """One format of event files."""

    format: str = Field(description="Name of the format.")
    about: str = Field(description="What it is, in one sentence.")
    order: int = Field(50, description="Profiles are tried in this order; the first that fits counts.")
    recognised_by: tuple[tuple[str, ...], ...] = Field(
        description="Alternatives: lists of columns that a file of this format has."
    )
    holds: tuple[str, ...] = Field(
        (), description="Names or globs of standard columns that usual files have under these very names."
    )
    aliases: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Column of tamis -> alternatives in this format."
    )
    lacks: dict[str, str] = Field(
        default_factory=dict, description="Prefix of columns -> why the format has none, and what to do."
    )

    def serves(self, column: str) -> bool:
        """Return whether usual files of the format have a standard column, under its name or an alias."""
        return column not in self.lacks and (
            column in self.aliases or any(fnmatchcase(column, glob) for glob in self.holds)
        )

    def why_missing(self, column: str) -> str | None:
        """Return why the format has no such column, if the profile says."""
        return next((why for prefix, why in self.lacks.items() if column.startswith(prefix)), None)


@cache
def profiles(folder: str | None = None) -> tuple[Profile, ...]:
    """Return all profiles in the order in which they are tried; those of a folder come first."""
    own = [parse_document(text, Profile, place) for place, text in _texts()]
    more = [parse_document(text, Profile, place) for place, text in _texts_of(folder)] if folder else []
    return (*sorted(more, key=lambda p: p.order), *sorted(own, key=lambda p: p.order))


def _texts() -> Iterator[tuple[str, str]]:
    for entry in (files("tamis.events") / "profiles").iterdir():
        if entry.name.endswith(".yaml"):
            yield entry.name, entry.read_text("utf-8")


def _texts_of(folder: str) -> Iterator[tuple[str, str]]:
    try:
        for path in sorted(Path(folder).iterdir()):
            if path.suffix == ".yaml":
                yield str(path), path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the profiles in {PROFILES_VARIABLE}={folder} cannot be read: {error}") from error


def find_profile(table: Table) -> Profile | None:
    """Return the format of a table, or None if no profile fits."""
    for profile in profiles(os.environ.get(PROFILES_VARIABLE)):
        for columns in profile.recognised_by:
            if all(type_of(table, column) is not None for column in columns):
                return profile
    return None
