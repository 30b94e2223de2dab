"""Going through files one after the other: bad ones are told, or skipped and listed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tamis._base import SkippedFilesError, UnreadableFileError
from tamis.events.failures import BrokenFileError

CHUNK_BYTES = 100_000_000

C = TypeVar("C")
D = TypeVar("D")


@dataclass(frozen=True)
class SkippedFile:
    """A file that could not be read, or not to its end: what comes before `entry_reached` was delivered."""

    path: str
    reason: str
    entry_reached: int

    def __str__(self) -> str:
        """Return the reason, which names the file."""
        return self.reason if self.path in self.reason else f"{self.path}: {self.reason}"


class FileStream(ABC, Generic[C]):
    """An iterable of chunks of several files; after an iteration `skipped` lists the files that were given up."""

    def __init__(self, files: Sequence[str], *, skip_bad_files: bool) -> None:
        """Remember what to read; nothing is opened before the iteration."""
        self.files = tuple(files)
        self.skipped: list[SkippedFile] = []
        self._skip = skip_bad_files

    def __iter__(self) -> Iterator[C]:
        """Read file after file."""
        self.skipped = []
        for index, url in enumerate(self.files):
            try:
                yield from self._read_file(url, index)
            except UnreadableFileError as error:
                self._give_up(url, error)

    @abstractmethod
    def _read_file(self, url: str, index: int) -> Iterator[C]:
        """Read one file in chunks."""

    @abstractmethod
    def _count_file(self, url: str) -> int:
        """Return how many entries a file says it holds."""

    def count(self) -> int:
        """Return how many entries the files say they hold; a bad file counts nothing where bad files are skipped."""
        total = 0
        for url in self.files:
            try:
                total += self._count_file(url)
            except UnreadableFileError:
                if not self._skip:
                    raise
        return total

    def raise_if_skipped(self) -> None:
        """Raise SkippedFilesError where files were given up, so that a command ends with its exit code."""
        if self.skipped:
            told = "; ".join(skipped.reason for skipped in self.skipped)
            raise SkippedFilesError(f"{len(self.skipped)} of {len(self.files)} files were skipped: {told}")

    def _give_up(self, url: str, error: UnreadableFileError) -> None:
        if not self._skip:
            raise error
        self.skipped.append(SkippedFile(url, str(error), getattr(error, "entry", 0)))


def salvage(read: Callable[[int, int], D], start: int, stop: int) -> tuple[int, D | None]:
    """Return the first entry that cannot be read, and the data before it, by bisection."""
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
