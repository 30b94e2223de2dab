"""Compiled code, kept per user under the hash of all that it is made of.

An entry is a folder that appears whole: its files, and `entry.json` with their checksums. What does not match is made again. Many
processes may want the same entry at once: one makes it and the others wait, though not for ever, since making it twice does no harm.
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

VARIABLE = "TAMIS_CACHE"
FACTS = "entry.json"
WAIT_S, LOOK_S = (
    330.0,
    0.02,
)  # for another process that makes the same; somewhat more than a compiler may take
UNUSED_DAYS = 60  # what nobody has opened for so long is removed when something new is written

Facts = dict[str, Any]
Make = Callable[[Path], Facts]


@dataclass(frozen=True)
class Entry:
    """What is kept: a folder and the facts about it."""

    path: Path
    facts: Mapping[str, Any]


def key_of(*parts: object) -> str:
    """Return the hash that tells apart what is made of different parts."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:40]


def cached(key: str, make: Make) -> Entry:
    """Return the entry of a key; `make` writes its files into a folder and returns facts where there is none yet."""
    root = _root_or_none()
    found = read_entry(root / key) if root else None
    if root is None or found is not None:
        return found or _own(key, make)
    with _turn(root / f".{key}.lock"):
        found = read_entry(root / key) or _keep(_own(key, make), root / key)
    _prune(root)
    return found


def _root_or_none() -> Path | None:
    try:
        return cache_root()
    except OSError:  # read-only, or on a file system that cannot do what it takes
        return None


def cache_root() -> Path:
    """Return the folder of this user's cache, made if need be; refuse one that others can write to."""
    told = os.environ.get(VARIABLE)
    base = Path(told) if told else _usual()
    root = base / "native"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = root.stat()
    if facts.st_uid != os.geteuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"the cache {root} can be written by other users, who could put code there: "
            f"name a folder of your own in {VARIABLE}"
        )
    return root


def _usual() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    if home and Path(home).is_absolute():
        return Path(home) / "tamis"
    try:
        return Path.home() / ".cache" / "tamis"
    except RuntimeError as error:  # a user without a home
        raise OSError(str(error)) from error


def read_entry(path: Path) -> Entry | None:
    """Return an entry whose files are those that were written, or nothing."""
    try:
        document = json.loads((path / FACTS).read_text(encoding="utf-8"))
        if any(sha256(path / name) != digest for name, digest in document["files"].items()):
            return None
        found = Entry(path, dict(document["facts"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # it is in use: not to be removed as old
    return found


def _own(key: str, make: Make) -> Entry:
    """Make an entry in the folder of this process."""
    path = _own_folder() / key
    found = read_entry(path)
    if found is not None:
        return found
    with atomic_path(path) as part:
        part.mkdir(mode=0o700)
        facts = make(part)
        files = {file.name: sha256(file) for file in sorted(part.iterdir())}
        (part / FACTS).write_text(json.dumps({"files": files, "facts": facts}), encoding="utf-8")
    return Entry(path, facts)


def _keep(entry: Entry, path: Path) -> Entry:
    """Move an entry into the cache; where that is full or cannot be written, it stays where it is."""
    try:
        with atomic_path(path) as part:
            shutil.copytree(entry.path, part)
    except (OSError, UsageError):
        return entry
    shutil.rmtree(entry.path, ignore_errors=True)
    return Entry(path, entry.facts)


@contextlib.contextmanager
def _turn(lock: Path) -> Iterator[None]:
    """Wait while another process holds the lock; one that dies lets go of it. Without a lock the work may be done twice."""
    try:
        handle = lock.open("w")
    except OSError:
        yield
        return
    with handle:
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(LOOK_S)
            except OSError:  # a file system without locks
                break
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                lock.unlink()


@cache
def _own_folder() -> Path:
    try:
        keeper = tempfile.TemporaryDirectory(prefix="tamis-native-", ignore_cleanup_errors=True)
    except OSError as error:
        raise UsageError(
            f"there is no folder to compile in ({error}): name one that can be written in {VARIABLE}, or in TMPDIR"
        ) from error
    _KEPT.append(keeper)
    return Path(keeper.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []  # until the process ends


def _prune(root: Path) -> None:
    """Remove what has not been opened for long, and what a killed process left behind."""
    before = time.time() - UNUSED_DAYS * 86_400
    with contextlib.suppress(OSError):
        for path in root.iterdir():
            if path.stat().st_mtime >= before:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
