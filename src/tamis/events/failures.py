"""Foreign errors of readers, mapped once: whatever a library raises on a bad file becomes one sentence."""

from __future__ import annotations

import contextlib
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator

from tamis._base import (
    DataError,
    InputMismatchError,
    MissingColumnError,
    MissingExtraError,
    TamisError,
    UnreadableFileError,
)

# A corrupt length, offset or type code sends a reader down any of its paths: every one of these has been seen.
# NumPy parses the header of npy as Python, hence SyntaxError; MemoryError is among them because a corrupt length asks for more memory than there is.
FOREIGN: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    StopIteration,
    SyntaxError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)

NOT_FOUND = 404

# what reads a protocol of fsspec, where it is not the extra `remote`
LIBRARIES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "root": "fsspec-xrootd (and XRootD itself, from conda-forge or the system)",
    "xrootd": "fsspec-xrootd (and XRootD itself, from conda-forge or the system)",
}


class BrokenFileError(UnreadableFileError):
    """A file that cannot be read at all, or not past an entry."""

    def __init__(self, url: str, reason: str, entry: int = 0, entries: int | None = None) -> None:
        """Say how far the file could be read and why not further."""
        self.url, self.reason, self.entry, self.entries = url, reason, entry, entries
        reached = f" past entry {entry} of {entries}" if entries is not None else ""
        super().__init__(f"{url} cannot be read{reached}: {reason}")

    def at(self, entry: int, entries: int) -> BrokenFileError:
        """Return the same error with the entry that was reached."""
        return BrokenFileError(self.url, self.reason, entry, entries)


@contextlib.contextmanager
def reading(url: str, *also: type[Exception]) -> Iterator[None]:
    """Turn every foreign error of a reader into a BrokenFileError that names the file."""
    try:
        yield
    except TamisError:
        raise
    except ImportError as error:
        library = LIBRARIES.get(url.partition("://")[0], "'tamis[remote]'")
        raise MissingExtraError(
            f"{url} needs a library that is not there ({error}): pip install {library}"
        ) from error
    except (*FOREIGN, *also) as error:
        raise BrokenFileError(url, _reason(error)) from error


@contextlib.contextmanager
def of_file(file: str) -> Iterator[None]:
    """Name the file in whatever is wrong with its events."""
    try:
        yield
    except (InputMismatchError, MissingColumnError) as error:
        raise type(error)(f"{file}: {error}") from error
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _reason(error: BaseException) -> str:
    """Return the first line of an error, short, with a word on what it usually means."""
    told = f"{type(error).__name__}: {_first_line(error)}".rstrip(": ")
    for cause in _chain(error):  # fsspec calls whatever a server answers a file that is not found
        status = getattr(cause, "status", None)
        if isinstance(status, int) and status != NOT_FOUND:
            return f"the server answered {status} ({_first_line(cause)})"
        if isinstance(cause, ConnectionError | TimeoutError):
            return f"no connection ({type(cause).__name__}: {_first_line(cause)})"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, ValueError) and "Protocol not known" in str(error):
        return "fsspec knows no such protocol; known are file paths, http, https, and what fsspec has plug-ins for"
    return f"truncated or corrupt ({told})"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:160]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
