"""Streams: the blocks of a folder of files, each once and complete, in the order in which they come."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from tamis._base import DataError, UnreadableFileError
from tamis.events import read_events
from tamis.monitor.sums import BlockKey, BlockSums, block_sums, columns_of
from tamis.monitor.watch import Watch

SUFFIXES = (".parquet", ".root")
SETTLED_S = 10.0  # since a file was written, before one that cannot be read counts as broken
END_OF_BLOCK = re.compile(r"run(\d+)_ls(\d+)_EoLS\.jsn")


def stream_files(folder: Path) -> list[Path]:
    """Return the event files of a folder by name, or the file itself."""
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise DataError(f"there is no stream {folder}: a stream is a folder of Parquet or ROOT files")
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if not files:
        raise DataError(f"the folder {folder} has no Parquet or ROOT files")
    return files


def file_sums(path: Path, watch: Watch) -> Iterator[BlockSums]:
    """Yield the sums of the blocks of one file; a block may come in several parts."""
    names: list[str] | None = None
    known = {*watch_columns(watch)}
    for chunk in read_events([str(path)], columns=(), optional=sorted(known)):
        if names is None:
            names = columns_of(watch, set(chunk.events.array.fields))
        yield from block_sums(chunk.events, watch)


def watch_columns(watch: Watch) -> list[str]:
    """Return all columns that a watch may read."""
    wanted = [watch.second, watch.condition, watch.luminosity, watch.mode, watch.events]
    for one in watch.quantities:
        wanted += [one.values, *(one.sums or ())]
    for count in watch.counts:
        wanted += [count.column, count.most]
    return list(dict.fromkeys(name for name in wanted if name is not None))


class BlockSource(Protocol):
    """Where blocks come from."""

    broken: dict[str, str]  # parts that cannot be read, and why
    poll_s: float  # between two looks at it

    @property
    def ended(self) -> bool:
        """Return whether nothing more can come."""

    def new_blocks(self, *, last: bool) -> Iterator[tuple[BlockSums, str]]:
        """Yield the blocks that are complete, and the part that completed each; with `last`, all are."""

    def changed(self) -> list[BlockSums]:
        """Return the blocks that are not complete and have new rows."""

    def finished(self) -> list[str]:
        """Return the parts of which all blocks have been handed out, each once."""

    def close(self) -> None:
        """Let go of what is open."""


class OpenBlocks:
    """The blocks of a stream that are not complete, each as far as it has come."""

    def __init__(self) -> None:
        """Begin without blocks."""
        self._open: dict[BlockKey, tuple[BlockSums, str]] = {}
        self._parts: dict[BlockKey, set[bytes]] = {}
        self._changed: set[BlockKey] = set()  # with rows that have just come

    def add(self, part: BlockSums, source: str) -> None:
        """Add a part to its block, unless the same part has been added already."""
        seen = self._parts.setdefault(part.key, set())
        digest = part.digest()
        if digest in seen:
            return
        seen.add(digest)
        self._changed.add(part.key)
        before = self._open.get(part.key)
        self._open[part.key] = (part if before is None else before[0].merged(part), source)

    def waiting(self) -> list[BlockKey]:
        """Return the open blocks, in the order of time."""
        return sorted(self._open)

    def close(self, keys: Iterable[BlockKey]) -> Iterator[tuple[BlockSums, str]]:
        """Yield the blocks that are complete, and where the last part of each came from."""
        for key in keys:
            self._parts.pop(key, None)
            yield self._open.pop(key)

    def changed(self) -> list[BlockSums]:
        """Return the blocks with new rows."""
        blocks = [self._open[key][0] for key in sorted(self._changed & self._open.keys())]
        self._changed.clear()
        return blocks


class FileReader:
    """Hands out the blocks of a folder of files once each, when a later block has begun, a file says so, or the stream has ended."""

    ended = False  # a folder may always grow
    poll_s = 0.2

    def __init__(self, folder: Path, watch: Watch, finished: set[str] | None = None) -> None:
        """Begin with the files that are not finished."""
        self._folder, self._watch = folder, watch
        self._read = set(finished or ())
        self._blocks = OpenBlocks()
        self.broken: dict[str, str] = {}  # files that cannot be read to their end, and why
        self._waiting: dict[str, set[BlockKey]] = {}  # of each file: blocks that have not been handed out

    def new_blocks(self, *, last: bool) -> Iterator[tuple[BlockSums, str]]:
        """Yield the blocks that are complete, and a file of each; with `last` the stream has ended, and all are."""
        ended = ended_blocks(
            self._folder
        )  # before the files are listed, as the last of a block come before its mark
        for path in stream_files(self._folder) if last else growing_files(self._folder):
            if path.name in self._read:
                continue
            keys: set[BlockKey] = set()
            try:
                for part in file_sums(path, self._watch):
                    keys.add(part.key)
                    self._blocks.add(part, path.name)
            except UnreadableFileError as error:
                if not last and time.time() - path.stat().st_mtime < SETTLED_S:
                    continue  # somebody may be writing it
                self.broken[path.name] = str(error)
            self._read.add(path.name)
            self._waiting[path.name] = keys
            yield from self._blocks.close(key for key in self._blocks.waiting() if keys and key < max(keys))
        yield from self._blocks.close(key for key in self._blocks.waiting() if last or key in ended)

    def changed(self) -> list[BlockSums]:
        """Return the blocks that are not complete and have new rows, each as far as it has come."""
        return self._blocks.changed()

    def finished(self) -> list[str]:
        """Return the files of which all blocks have been handed out, each once."""
        done = [name for name, keys in self._waiting.items() if not keys.intersection(self._blocks.waiting())]
        for name in done:
            del self._waiting[name]
        return done

    def close(self) -> None:
        """Do nothing: files are closed after each reading."""


def ended_blocks(folder: Path) -> set[BlockKey]:
    """Return the blocks whose end is marked by a file, as CMS' data acquisition writes it: run480001_ls0318_EoLS.jsn."""
    if not folder.is_dir():
        return set()
    found = (END_OF_BLOCK.fullmatch(path.name) for path in folder.iterdir())
    return {(int(one[1]), int(one[2])) for one in found if one is not None}


def growing_files(folder: Path) -> list[Path]:
    """Return the files of a folder that may be empty still, or not be there."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def stream_blocks(folder: Path, watch: Watch) -> Iterator[BlockSums]:
    """Yield the blocks of a stream that has ended."""
    reader = FileReader(folder, watch)
    for block, _ in reader.new_blocks(last=True):
        yield block
    for reason in reader.broken.values():
        raise DataError(reason)
