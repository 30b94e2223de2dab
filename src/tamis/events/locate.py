"""Find input files by paths, globs and URLs, and their format by content."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterable
from pathlib import Path

from tamis._base import UnreadableFileError, UsageError, close_matches
from tamis.events.failures import BrokenFileError, reading

# first bytes of a file -> format
MAGIC = {
    b"root": "root",
    b"PAR1": "parquet",
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"\x93NUMPY": "npy",
    b"PK\x03\x04": "npz",
}


HDF5_SUFFIXES = (".h5", ".hdf5")
ARRAY_KINDS = frozenset(["hdf5", "npy", "npz"])
# used if no file can be opened
ARRAY_SUFFIXES = frozenset([".h5", ".hdf5", ".npy", ".npz"])


def holds_arrays(paths: Iterable[str | Path]) -> bool:
    """Return whether files have arrays rather than events: by the first readable one, else by their names."""
    found = expand(paths)
    for path in found:
        with contextlib.suppress(UnreadableFileError):
            return sniff(path) in ARRAY_KINDS
    return all(Path(path).suffix.lower() in ARRAY_SUFFIXES for path in found)


def is_url(path: str) -> bool:
    """Return whether a path is a URL for fsspec rather than a local path."""
    return "://" in path


def local_path(path: str) -> Path | None:
    """Return the local path of a path or URL (`file:///x`, `simplecache::file:///x`), or None."""
    inner = path.rpartition("::")[2] if is_url(path) else path
    protocol, mark, rest = inner.partition("://")
    if not mark:
        return Path(inner)
    return Path(rest) if protocol in {"file", "local"} else None


def expand(paths: str | Path | Iterable[str | Path]) -> list[str]:
    """Return the files of paths, globs, URLs and folders of HDF5 files; those of a glob or a folder are sorted."""
    patterns = [paths] if isinstance(paths, str | Path) else list(paths)
    if not patterns:
        raise UsageError("no input file was given")
    return [found for path in patterns for found in _expand_one(os.fspath(path))]


def _expand_one(path: str) -> list[str]:
    if is_url(path):
        return _expand_url(path) if "*" in path else [path]
    if Path(path).is_dir():
        entries = sorted(entry for entry in Path(path).iterdir() if not entry.name.startswith("."))
        if entries and all(entry.suffix.lower() in HDF5_SUFFIXES for entry in entries):
            return list(map(str, entries))
        inside = _similar_files(Path(path) / "*.root")
        raise UsageError(f"{path} is a folder: give its files, such as {path.rstrip('/')}/*.root{inside}")
    if glob.has_magic(path) and not Path(path).exists():
        found = sorted(glob.glob(path, recursive=True))
        if not found:
            raise UsageError(f"no file matches {path!r}{_similar_files(Path(path))}")
        return found
    return [path]


def _expand_url(url: str) -> list[str]:
    import fsspec

    with reading(url):
        system, inner = fsspec.core.url_to_fs(url)
        found = sorted(str(name) for name in system.glob(inner))
    if not found:
        raise UsageError(f"no file matches {url!r}")
    protocol, _, rest = url.partition("://")
    chain = rest.partition("::")[2]
    return [
        f"{protocol}://{name}::{chain}" if chain else str(system.unstrip_protocol(name)) for name in found
    ]


def _similar_files(path: Path) -> str:
    """Return a clause with the files of a path's folder that have similar names."""
    folder = path.parent
    if not folder.is_dir():
        return f"; there is no folder {folder}"
    names = sorted(
        entry.name for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")
    )
    near = close_matches(path.name.replace("*", ""), names)
    if near:
        return f"; did you mean {' or '.join(map(repr, near))}?"
    if 0 < len(names) <= 12:
        return f"; files in its folder: {', '.join(names)}"
    return f"; the folder {folder.resolve()} has {len(names)} other files"


def head(url: str, count: int) -> bytes:
    """Return the first bytes of a file."""
    with reading(url):
        if not is_url(url):
            with Path(url).open("rb") as local:
                return local.read(count)
        import fsspec

        with fsspec.open(url, "rb") as handle:
            data: bytes = handle.read(count)
            return data


def sniff(url: str) -> str:
    """Return the format of a file by its first bytes: root, parquet, hdf5, npy or npz."""
    if not is_url(url) and not Path(url).exists():
        raise BrokenFileError(url, f"there is no such file{_similar_files(Path(url))}")
    if not is_url(url) and Path(url).is_dir():
        raise BrokenFileError(url, "it is a folder")
    first = head(url, 8)
    for magic, kind in MAGIC.items():
        if first.startswith(magic):
            return kind
    found = f"it begins with {first!r}" if first else "it is empty"
    raise UnreadableFileError(
        f"{url} has an unknown format: {found}; supported are ROOT, Parquet, HDF5, npy and npz"
    )
