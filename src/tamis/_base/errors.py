"""Every error that tamis raises on purpose, and the exit code that each ends a command with.

    TamisError                 1
    ├── UsageError                 2   the call itself is off: an option, a name, a shape asked for
    ├── MissingExtraError          3   an optional library is not installed
    ├── DataError                  4   events or arrays cannot be used
    │   ├── UnreadableFileError        truncated, corrupt, of no known format
    │   ├── MissingColumnError         a branch that is asked for is not there
    │   └── InputMismatchError         an array does not fit the model's input
    ├── BundleError                5   a bundle cannot be opened
    │   ├── DocumentError              a manifest (or any typed document) is malformed: field, line
    │   ├── ChecksumError              a file is not the one that was packed
    │   └── UnsafeBundleError          a bundle reaches outside itself or is too large
    ├── ModelError                 6   a model uses what an engine or importer cannot run
    ├── VerificationError          7   an engine does not reproduce the golden outputs
    ├── SkippedFilesError          8   the work is done, but files were skipped on the way
    └── ConservationError          9   events are missing, or there twice: nothing of such a run may be used

An error names the value, the place, the near misses and the mend, in one sentence.
"""

from __future__ import annotations


class TamisError(Exception):
    """The root of the tree."""

    exit_code = 1


class UsageError(TamisError):
    """The call itself is off."""

    exit_code = 2


class MissingExtraError(TamisError):
    """An optional library is not installed."""

    exit_code = 3


class DataError(TamisError):
    """Events or arrays cannot be used."""

    exit_code = 4


class UnreadableFileError(DataError):
    """A file is truncated, corrupt or of no known format."""


class MissingColumnError(DataError):
    """A branch that is asked for is not there."""


class InputMismatchError(DataError):
    """An array does not fit the model's input."""


class BundleError(TamisError):
    """A bundle cannot be opened."""

    exit_code = 5


class DocumentError(BundleError):
    """A typed document is malformed."""


class ChecksumError(BundleError):
    """A file is not the one that was packed."""


class UnsafeBundleError(BundleError):
    """A bundle reaches outside itself, or is too large."""


class ModelError(TamisError):
    """A model uses what an engine or an importer cannot run."""

    exit_code = 6


class VerificationError(TamisError):
    """An engine does not reproduce the golden outputs."""

    exit_code = 7


class SkippedFilesError(TamisError):
    """The work is done, but files were skipped on the way."""

    exit_code = 8


class ConservationError(TamisError):
    """Events are missing, or there twice: nothing of such a run may be used."""

    exit_code = 9
