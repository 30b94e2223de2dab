"""Events in a ROOT TTree: NanoAOD, DAOD_PHYSLITE and plain trees."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import awkward as ak
import uproot

from tamis._base import UnreadableFileError
from tamis.events.batch import collection_of
from tamis.events.failures import BrokenFileError, reading
from tamis.events.locate import is_url

_SEARCH_PER_READ = (
    13  # branches that uproot searches in the time that a separate read of one branch takes longer
)
_OFFSET_BYTES = 8  # a jagged column has one offset per event
# what uproot raises for a type that it cannot interpret; a missing or garbled basket raises other errors
_UNSUPPORTED_ERRORS: tuple[type[Exception], ...] = (
    uproot.interpretation.objects.CannotBeAwkward,
    uproot.DeserializationError,
    AssertionError,
    AttributeError,
    NotImplementedError,
    TypeError,
)


class TreeTable:
    """The readable leaf branches of a TTree."""

    format = "ROOT TTree"

    def __init__(self, url: str, file: Any, name: str, errors: tuple[type[Exception], ...]) -> None:
        """Read the header of the tree, but no data."""
        self.url, self.name = url, name
        self._file, self._errors = file, errors
        self._tree = file[name]
        self.entries = int(self._tree.num_entries)
        # the branches without subbranches by their short name, and the path of each in the tree
        self._branches: dict[str, Any] = {}
        self._paths: dict[str, str] = {}
        for path, branch in _walk(self._tree, ""):
            short = branch.name if branch.name not in self._branches else path.replace("/", ".")
            self._branches[short], self._paths[short] = branch, path

    @cached_property
    def _types(self) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        """Return columns and hidden (name -> type), and opaque (name -> reason)."""
        columns: dict[str, str] = {}
        hidden: dict[str, str] = {}
        opaque: dict[str, str] = {}
        with reading(self.url, *self._errors):
            counts = (branch.count_branch for branch in self._branches.values())
            counters = {branch.name for branch in counts if branch is not None}
            for name, branch in self._branches.items():
                kind = self._type(branch)
                if kind is not None:
                    (hidden if name in counters else columns)[name] = kind
                elif self._is_empty(branch):
                    opaque[name] = f"empty branch: 0 of {self.entries} entries"
                else:
                    opaque[name] = f"unsupported type {branch.typename}"
        return columns, hidden, opaque

    def type_of(self, name: str) -> str | None:
        """Return the type of one column or counter without interpreting all others, or None if it is not readable."""
        if "_types" in self.__dict__:
            return self.columns.get(name) or self.hidden.get(name)
        if name not in self._branches:
            return None
        with reading(self.url, *self._errors):
            return self._type(self._branches[name])

    def collection_of(self, name: str) -> str | None:
        """Return the branch that counts the lists of a collection.

        uproot's default is a counter per column (nJet_pt, nJet_eta): it does not say which columns belong together.
        """
        counter = self._branches[name].count_branch if name in self._branches else None
        if counter is None or (
            counter.name != f"n{collection_of(name)}" and self._counted[counter.name] == 1
        ):
            return None
        return str(counter.name)

    @cached_property
    def _counted(self) -> Counter[str]:
        """Return how many columns each counter counts."""
        counters = (branch.count_branch for branch in self._branches.values())
        return Counter(counter.name for counter in counters if counter is not None)

    def _is_empty(self, branch: Any) -> bool:
        """Return whether a branch has no entries although its tree has: ATLAS writes such branches for unfilled members."""
        return self.entries > 0 and int(branch.num_entries) == 0

    def _type(self, branch: Any) -> str | None:
        """Return the awkward type of a branch, or None if it is empty or uproot cannot interpret it."""
        if self._is_empty(branch):
            return None
        try:
            interpretation = branch.interpretation
            if isinstance(interpretation, uproot.interpretation.identify.UnknownInterpretation):
                return None
            return str(interpretation.awkward_form(branch.file).type)
        except _UNSUPPORTED_ERRORS:
            return None
        except ValueError:  # in data, this would be damage
            return None

    @property
    def columns(self) -> dict[str, str]:
        """Return the columns that hold data."""
        return self._types[0]

    @property
    def hidden(self) -> dict[str, str]:
        """Return the columns that hold only list lengths, with their types."""
        return self._types[1]

    @property
    def opaque(self) -> dict[str, str]:
        """Return the branches that cannot be read, with the reason."""
        return self._types[2]

    def unsupported(self, names: Sequence[str]) -> dict[str, str]:
        """Return the objects of classes that uproot claims to read and cannot, as their first entry shows."""
        objects = [
            name for name in names if isinstance(self._branches[name].interpretation, uproot.AsObjects)
        ]
        with contextlib.suppress(UnreadableFileError):
            if self._first_entries_read(objects):
                return {}
        return {
            name: f"unsupported type {self._branches[name].typename}"
            for name in objects
            if not self._first_entries_read([name])
        }

    def _first_entries_read(self, names: Sequence[str]) -> bool:
        if not self.entries or not names:
            return True
        try:
            self._arrays(names, 0, 1)
        except UnreadableFileError as error:
            if isinstance(error.__cause__, _UNSUPPORTED_ERRORS):
                return False
            raise
        return True

    def bytes_per_event(self, names: Sequence[str]) -> float:
        """Return the uncompressed bytes of the branches per event."""
        total = sum(int(self._branches[name].uncompressed_bytes) for name in names)
        return total / max(self.entries, 1) + _OFFSET_BYTES * len(names)

    def sizes(self, name: str) -> tuple[int | None, int | None]:
        """Return compressed and uncompressed bytes."""
        branch = self._branches[name]
        return _compressed(branch), _uncompressed(branch)

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read a range of events of some branches, bypassing uproot's caches."""
        try:
            return self._arrays(names, start, stop)
        except BrokenFileError as error:
            if isinstance(error.__cause__, _UNSUPPORTED_ERRORS):
                for name, reason in self.unsupported(names).items():
                    raise BrokenFileError(self.url, f"branch {name!r} has an {reason}") from error
            raise

    def _arrays(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        requested = {id(self._branches[name]) for name in names}
        options: dict[str, Any] = {
            "entry_start": start,
            "entry_stop": stop,
            "library": "ak",
            "array_cache": None,
        }
        with reading(self.url, *self._errors):
            for name in names:
                found = int(self._branches[name].num_entries)
                if found != self.entries:
                    raise BrokenFileError(
                        self.url, f"branch {name!r} has {found} entries, the tree {self.entries}"
                    )
            if len(names) * _SEARCH_PER_READ <= len(self._branches) and not is_url(self.url):
                # searching all branches of a NanoAOD takes uproot 20 ms; over a network one request for all is faster
                return {name: self._branches[name].array(**options) for name in names}
            arrays = self._tree.arrays(
                filter_branch=lambda branch: id(branch) in requested, how=dict, **options
            )
            return {name: arrays[self._paths[name]] for name in names if self._paths[name] in arrays}

    def seams(self, names: Sequence[str]) -> list[int]:
        """Return the entries at which a basket of any of the branches begins: a basket is readable as a whole or not at all."""
        return sorted({int(entry) for name in names for entry in self._branches[name].entry_offsets[:-1]})

    def clusters(self, names: Sequence[str]) -> list[int]:
        """Return the entries at which a basket of every one of the branches begins."""
        begins = [{int(entry) for entry in self._branches[name].entry_offsets[:-1]} for name in names]
        return sorted(set.intersection(*begins)) if begins else []

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _compressed(branch: Any) -> int | None:
    """Return the compressed bytes of a branch: its total, or that of its baskets where the writer left it at zero."""
    total = int(branch.compressed_bytes)
    if not total:
        total = sum(int(size) for size in branch.member("fBasketBytes")[: branch.num_baskets])
    if not total:  # baskets inside the tree are not compressed on their own
        total = sum(int(basket.uncompressed_bytes) for basket in branch.embedded_baskets)
    return total or (None if branch.num_entries else 0)


def _uncompressed(branch: Any) -> int | None:
    total = int(branch.uncompressed_bytes) or sum(
        int(basket.uncompressed_bytes) for basket in branch.embedded_baskets
    )
    return total or (None if branch.num_entries else 0)


def _walk(parent: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for branch in parent.branches:
        if branch.branches:
            yield from _walk(branch, f"{prefix}{branch.name}/")
        else:
            yield f"{prefix}{branch.name}", branch
