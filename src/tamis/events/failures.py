"""Map the errors that libraries raise on bad files to BrokenFileError, in one place."""

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

# A corrupt length, offset or type code may lead a reader anywhere: each of these errors has been observed.
# SyntaxError: NumPy parses the header of npy as Python. MemoryError: a corrupt length requests too much memory.
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

# packages for fsspec's protocols that the extra `remote` does not include
PROTOCOL_LIBRARIES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "root": "fsspec-xrootd (and XRootD itself, from conda-forge or the system)",
    "xrootd": "fsspec-xrootd (and XRootD itself, from conda-forge or the system)",
}


class BrokenFileError(UnreadableFileError):
    """A file that cannot be read, or only up to an entry."""

    def __init__(self, url: str, reason: str, entry: int = 0, entries: int | None = None) -> None:
        """Store the reason, and the entry up to which the file could be read."""
        self.url, self.reason, self.entry, self.entries = url, reason, entry, entries
        reached = f" past entry {entry} of {entries}" if entries is not None else ""
        super().__init__(f"{url} cannot be read{reached}: {reason}")

    def at(self, entry: int, entries: int) -> BrokenFileError:
        """Return the same error with the entry that was reached."""
        return BrokenFileError(self.url, self.reason, entry, entries)


@contextlib.contextmanager
def reading(url: str, *also: type[Exception]) -> Iterator[None]:
    """Convert errors of libraries, and those in `also`, to a BrokenFileError that names the file."""
    try:
        yield
    except TamisError:
        raise
    except ImportError as error:
        library = PROTOCOL_LIBRARIES.get(url.partition("://")[0], "'tamis[remote]'")
        raise MissingExtraError(
            f"{url} needs a library that is not installed ({error}): pip install {library}"
        ) from error
    except (*FOREIGN, *also) as error:
        raise BrokenFileError(url, _reason(error)) from error


@contextlib.contextmanager
def of_file(file: str) -> Iterator[None]:
    """Add the name of the file to errors in its events."""
    try:
        yield
    except (InputMismatchError, MissingColumnError) as error:
        raise type(error)(f"{file}: {error}") from error
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _reason(error: BaseException) -> str:
    """Return a short description of an error: what it usually means, and its first line."""
    cause: BaseException | None = error
    while cause is not None:  # fsspec raises FileNotFoundError for any status of a server
        status = getattr(cause, "status", None)
        if isinstance(status, int) and status != NOT_FOUND:
            return f"the server answered {status} ({_first_line(cause)})"
        if isinstance(cause, ConnectionError | TimeoutError):
            return f"no connection ({type(cause).__name__}: {_first_line(cause)})"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, ValueError) and "Protocol not known" in str(error):
        return "unknown protocol: use a path, http, https, or a protocol for which fsspec has a plug-in"
    return f"truncated or corrupt ({type(error).__name__}: {_first_line(error)})".replace(": )", ")")


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:160]
