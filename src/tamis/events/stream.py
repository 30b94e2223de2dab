"""Iterate over the chunks of several files; bad files raise, or are skipped and listed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tamis._base import SkippedFilesError, UnreadableFileError
from tamis.events.failures import BrokenFileError

CHUNK_BYTES = 100_000_000

ChunkT = TypeVar("ChunkT")
DataT = TypeVar("DataT")


@dataclass(frozen=True)
class SkippedFile:
    """A file that could not be read, or only up to `entry_reached`."""

    path: str
    reason: str
    entry_reached: int

    def __str__(self) -> str:
        """Return the reason, with the name of the file."""
        return self.reason if self.path in self.reason else f"{self.path}: {self.reason}"


class FileStream(ABC, Generic[ChunkT]):
    """An iterable of chunks of several files; after an iteration `skipped` lists the bad files."""

    def __init__(self, files: Sequence[str], *, skip_bad_files: bool) -> None:
        """Store the files; none is opened before the iteration."""
        self.files = tuple(files)
        self.skipped: list[SkippedFile] = []
        self._skip = skip_bad_files

    def __iter__(self) -> Iterator[ChunkT]:
        """Read file after file."""
        self.skipped = []
        for index, url in enumerate(self.files):
            try:
                yield from self._read_file(url, index)
            except UnreadableFileError as error:
                if not self._skip:
                    raise
                self.skipped.append(SkippedFile(url, str(error), getattr(error, "entry", 0)))

    @abstractmethod
    def _read_file(self, url: str, index: int) -> Iterator[ChunkT]:
        """Read one file in chunks."""

    @abstractmethod
    def _count_file(self, url: str) -> int:
        """Return the number of entries according to the header of a file."""

    def count(self) -> int:
        """Return the number of entries according to the headers; bad files count 0 if they are skipped."""
        total = 0
        for url in self.files:
            try:
                total += self._count_file(url)
            except UnreadableFileError:
                if not self._skip:
                    raise
        return total

    def raise_if_skipped(self) -> None:
        """Raise SkippedFilesError if files were skipped, so that a command ends with its exit code."""
        if self.skipped:
            reasons = "; ".join(skipped.reason for skipped in self.skipped)
            raise SkippedFilesError(f"{len(self.skipped)} of {len(self.files)} files were skipped: {reasons}")


def salvage(read: Callable[[int, int], DataT], start: int, stop: int) -> tuple[int, DataT | None]:
    """Return the first unreadable entry, and the data before it, by bisection."""
    good = start
    while stop - good > 1:
        middle = (good + stop) // 2
        try:
            read(good, middle)
        except BrokenFileError:
            stop = middle
        else:
            good = middle
    return good, read(start, good) if good > start else None
