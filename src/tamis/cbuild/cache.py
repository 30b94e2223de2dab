"""A per-user cache of compiled code, keyed by the hash of everything that determines it.

An entry is a folder that appears atomically: its files, and `entry.json` with their checksums. A damaged entry is rebuilt. Where
several processes need one entry at once, one builds it and the others wait, with a timeout: building it twice does no harm.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tamis._base import UsageError, atomic_path, sha256

CACHE_VARIABLE = "TAMIS_CACHE"
FACTS = "entry.json"
LOCK_LIMIT_S = 330.0  # a little longer than the limit of a compiler
LOCK_POLL_S = 0.02
UNUSED_DAYS = 60  # entries that were not opened for that long are removed when a new one is written

Facts = dict[str, Any]
Make = Callable[[Path], Facts]


@dataclass(frozen=True)
class CacheEntry:
    """A folder of files, and the facts that were stored with them."""

    path: Path
    facts: Mapping[str, Any]


def key_of(*parts: object) -> str:
    """Return a hash of all parts: bytes as they are, other objects by their `repr`."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:40]


def cached(key: str, make: Make) -> CacheEntry:
    """Return the entry of a key; if it is missing, `make` writes its files into a folder and returns facts about them."""
    try:
        root = cache_root()
    except OSError:  # read-only, or a file system without permissions
        return _private_entry(key, make)
    found = read_entry(root / key)
    if found is not None:
        return found
    with _lock(root / f".{key}.lock"):
        found = read_entry(root / key) or _publish(_private_entry(key, make), root / key)
    _prune(root)
    return found


def cache_root() -> Path:
    """Return this user's cache folder, created if missing; raises UsageError if other users can write to it."""
    requested = os.environ.get(CACHE_VARIABLE)
    root = (Path(requested) if requested else _default_folder()) / "native"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = root.stat()
    if facts.st_uid != os.geteuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"the cache {root} can be written by other users, who could place code there: "
            f"name a folder of your own in {CACHE_VARIABLE}"
        )
    return root


def _default_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    if home and Path(home).is_absolute():
        return Path(home) / "tamis"
    try:
        return Path.home() / ".cache" / "tamis"
    except RuntimeError as error:  # a user without a home
        raise OSError(str(error)) from error


def read_entry(path: Path) -> CacheEntry | None:
    """Return the entry at a path, or None if it is missing or its checksums do not match."""
    try:
        document = json.loads((path / FACTS).read_text(encoding="utf-8"))
        if any(sha256(path / name) != digest for name, digest in document["files"].items()):
            return None
        found = CacheEntry(path, dict(document["facts"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # mark it as used, so that it is not pruned
    return found


def _private_entry(key: str, make: Make) -> CacheEntry:
    """Return an entry in this process's temporary folder, made if it is not there yet."""
    path = _private_folder() / key
    found = read_entry(path)
    if found is not None:
        return found
    with atomic_path(path) as part:
        part.mkdir(mode=0o700)
        facts = make(part)
        files = {file.name: sha256(file) for file in sorted(part.iterdir())}
        (part / FACTS).write_text(json.dumps({"files": files, "facts": facts}), encoding="utf-8")
    return CacheEntry(path, facts)


def _publish(entry: CacheEntry, path: Path) -> CacheEntry:
    """Move an entry into the cache; if that is full or read-only, return the private entry."""
    try:
        with atomic_path(path) as part:
            shutil.copytree(entry.path, part)
    except (OSError, UsageError):
        return entry
    shutil.rmtree(entry.path, ignore_errors=True)
    return CacheEntry(path, entry.facts)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a file lock, which a process that dies releases. After the timeout, or if locking fails, go on without it."""
    try:
        handle = path.open("w")
    except OSError:
        yield
        return
    with handle:
        until = time.monotonic() + LOCK_LIMIT_S
        while time.monotonic() < until:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(LOCK_POLL_S)
            except OSError:  # a file system without locks
                break
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


@cache
def _private_folder() -> Path:
    try:
        folder = tempfile.TemporaryDirectory(prefix="tamis-native-", ignore_cleanup_errors=True)
    except OSError as error:
        raise UsageError(
            f"there is no folder to compile in ({error}): name a writable one in {CACHE_VARIABLE}, or in TMPDIR"
        ) from error
    _PRIVATE_FOLDERS.append(folder)
    return Path(folder.name)


_PRIVATE_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process exits


def _prune(root: Path) -> None:
    """Remove entries that were not used for long, and leftovers of killed processes."""
    before = time.time() - UNUSED_DAYS * 86_400
    with contextlib.suppress(OSError):
        for path in root.iterdir():
            if path.stat().st_mtime >= before:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
