"""Atomic writes of files and folders, and checksums."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from tamis._base.errors import UsageError

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # from Linux's fcntl.h and fs.h


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; it is renamed to `target` on success and removed on failure.

    A killed writer leaves at most a hidden `.NAME.*.part`, never a partial file under the final name.
    """
    folder = target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"cannot write {target}: {folder} is not a folder") from error
    part = folder / f".{target.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part"
    try:
        yield part
        if part.is_dir():
            _replace_folder(part, target)
        else:
            with part.open("rb+") as handle:
                os.fsync(handle.fileno())
            os.replace(part, target)
    finally:
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _replace_folder(part: Path, target: Path) -> None:
    """Replace a folder by a finished one; the old one is removed only after the new one has its name."""
    if target.exists() and _exchange(part, target):
        return  # the old folder now has the temporary name, and the caller removes it
    old = part.with_suffix(".old")
    if target.exists():
        os.replace(target, old)
    try:
        os.replace(part, target)
    except OSError:
        if old.exists():
            os.replace(old, target)
        raise
    if old.is_dir():
        shutil.rmtree(old)
    else:
        old.unlink(missing_ok=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names atomically; return False where the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    return bool(rename(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0)


def write_text(target: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(target) as part:
        part.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; the file is read in chunks."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def human_bytes(count: float) -> str:
    """Return a size with a decimal unit, such as 1.5 kB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
