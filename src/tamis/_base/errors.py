"""Every error that tamis raises on purpose, and the exit code with which each ends a command.

    TamisError                 1
    ├── UsageError                 2   a wrong call: an option, a name, a shape
    ├── MissingExtraError          3   an optional library is not installed
    ├── DataError                  4   events or arrays cannot be used
    │   ├── UnreadableFileError        a file is truncated, corrupt or of an unknown format
    │   ├── MissingColumnError         a requested branch does not exist
    │   └── InputMismatchError         an array does not fit the model's input
    ├── BundleError                5   a bundle cannot be opened
    │   ├── DocumentError              a manifest (or any typed document) is malformed: field, line
    │   ├── ChecksumError              a file differs from the one that was packed
    │   └── UnsafeBundleError          a bundle refers to files outside itself or is too large
    ├── ModelError                 6   a model uses what an engine or importer does not support
    ├── VerificationError          7   an engine does not reproduce the golden outputs
    ├── SkippedFilesError          8   the work is done, but unreadable files were skipped
    ├── ConservationError          9   events are missing or duplicated: the run must not be used
    ├── UndecidedError            10   the work is done, but most events could not be decided
    └── TargetNotMetError         11   no compressed model meets the target

A message is one sentence: the value, the location, close matches and the fix.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TamisError(Exception):
    """The base class of all errors of tamis."""

    exit_code = 1


class UsageError(TamisError):
    """The call is wrong: an option, a name, a shape."""

    exit_code = 2


class MissingExtraError(TamisError):
    """An optional library is not installed."""

    exit_code = 3


class DataError(TamisError):
    """Events or arrays cannot be used."""

    exit_code = 4


class UnreadableFileError(DataError):
    """A file is truncated, corrupt or of an unknown format."""


class MissingColumnError(DataError):
    """A requested branch does not exist."""


class InputMismatchError(DataError):
    """An array does not fit the model's input."""


class BundleError(TamisError):
    """A bundle cannot be opened."""

    exit_code = 5


class DocumentError(BundleError):
    """A typed document is malformed."""


class ChecksumError(BundleError):
    """A file differs from the one that was packed."""


class UnsafeBundleError(BundleError):
    """A bundle refers to files outside itself or is too large."""


class ModelError(TamisError):
    """A model uses what an engine or an importer does not support."""

    exit_code = 6


class VerificationError(TamisError):
    """An engine does not reproduce the golden outputs."""

    exit_code = 7


class SkippedFilesError(TamisError):
    """The work is done, but unreadable files were skipped."""

    exit_code = 8


class ConservationError(TamisError):
    """Events are missing or duplicated: the run must not be used."""

    exit_code = 9


class UndecidedError(TamisError):
    """The work is done, but most events could not be decided: they are in the debug stream."""

    exit_code = 10


class TargetNotMetError(TamisError):
    """No compressed model meets the target that was asked for."""

    exit_code = 11


def close_matches(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return the known names closest to `name`, best first, ignoring case."""
    folded = {known_name.casefold(): known_name for known_name in dict.fromkeys(known)}
    hits = difflib.get_close_matches(name.casefold(), folded, n=most, cutoff=0.5)
    containing = [original for key, original in folded.items() if name.casefold() in key and key not in hits]
    return ([folded[hit] for hit in hits] + containing)[:most]


def did_you_mean(name: str, known: Iterable[str], most: int = 3) -> str:
    """Return a clause for an error message: close matches, else all known names if there are at most 12, else nothing."""
    names = list(known)
    close = close_matches(name, names, most)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    if 0 < len(names) <= 12:
        return f"known: {', '.join(names)}"
    return ""
