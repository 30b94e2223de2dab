"""Events in a ROOT TTree: NanoAOD, DAOD_PHYSLITE and plain trees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import awkward as ak
import uproot

from tamis._base import UnreadableFileError
from tamis.events.failures import BrokenFileError, reading

_OFFSET_BYTES = 8  # a jagged column has one offset per event


class TreeTable:
    """The readable leaf branches of a TTree."""

    format = "ROOT TTree"

    def __init__(self, url: str, file: Any, name: str, errors: tuple[type[Exception], ...]) -> None:
        """Look at the branches of a tree; nothing is read yet."""
        self.url, self.name = url, name
        self._file, self._errors = file, errors
        self._tree = file[name]
        self.entries = int(self._tree.num_entries)
        self._branches, self._paths = _leaves(self._tree)

    @cached_property
    def _types(self) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        """Return columns, hidden and opaque: name -> type."""
        columns: dict[str, str] = {}
        hidden: dict[str, str] = {}
        opaque: dict[str, str] = {}
        with reading(self.url, *self._errors):
            counts = (branch.count_branch for branch in self._branches.values())
            counters = {branch.name for branch in counts if branch is not None}
            for name, branch in self._branches.items():
                kind = _type(branch)
                if kind is None:
                    opaque[name] = str(branch.typename)
                else:
                    (hidden if name in counters else columns)[name] = kind
        return columns, hidden, opaque

    def type_of(self, name: str) -> str | None:
        """Return the type of one column or counter without looking at all others, or None where it is not there."""
        if "_types" in self.__dict__:
            return self.columns.get(name) or self.hidden.get(name)
        if name not in self._branches:
            return None
        with reading(self.url, *self._errors):
            return _type(self._branches[name])

    @property
    def columns(self) -> dict[str, str]:
        """Return what holds data."""
        return self._types[0]

    @property
    def hidden(self) -> dict[str, str]:
        """Return the counters."""
        return self._types[1]

    @property
    def opaque(self) -> dict[str, str]:
        """Return what uproot cannot interpret."""
        return self._types[2]

    def usable(self, names: Sequence[str]) -> list[str]:
        """Leave out objects of classes that uproot believes it can read and cannot; their first entry tells."""
        return [name for name in names if not self._is_object(name) or self._first_entry_reads(name)]

    def _is_object(self, name: str) -> bool:
        return isinstance(self._branches[name].interpretation, uproot.AsObjects)

    def _first_entry_reads(self, name: str) -> bool:
        if not self.entries:
            return True
        try:
            self.read([name], 0, 1)
        except UnreadableFileError as error:
            # a missing or garbled basket is damage and is to be told; a failure to interpret is a limit of the reader
            limits = (uproot.DeserializationError, NotImplementedError, TypeError, AttributeError)
            if isinstance(error.__cause__, limits):
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
        return int(branch.compressed_bytes), int(branch.uncompressed_bytes)

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read a range of events of some branches, past uproot's caches."""
        wanted = {id(self._branches[name]) for name in names}
        with reading(self.url, *self._errors):
            for name in names:
                self._check_entries(name)
            arrays = self._tree.arrays(
                filter_branch=lambda branch: id(branch) in wanted,
                entry_start=start,
                entry_stop=stop,
                library="ak",
                how=dict,
                array_cache=None,
            )
            return {name: arrays[self._paths[name]] for name in names if self._paths[name] in arrays}

    def seams(self, names: Sequence[str]) -> list[int]:
        """Return the entries at which a basket of one of the branches begins: a basket is read whole or not at all."""
        return sorted({int(entry) for name in names for entry in self._branches[name].entry_offsets[:-1]})

    def clusters(self, names: Sequence[str]) -> list[int]:
        """Return the entries at which a basket of every one of the branches begins."""
        begins = [{int(entry) for entry in self._branches[name].entry_offsets[:-1]} for name in names]
        return sorted(set.intersection(*begins)) if begins else []

    def _check_entries(self, name: str) -> None:
        found = int(self._branches[name].num_entries)
        if found != self.entries:
            raise BrokenFileError(self.url, f"branch {name!r} has {found} entries, the tree {self.entries}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _leaves(tree: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the branches without branches of their own by their short name, and the path of each in the tree."""
    branches: dict[str, Any] = {}
    paths: dict[str, str] = {}
    for path, branch in _walk(tree, ""):
        name = branch.name if branch.name not in branches else path.replace("/", ".")
        branches[name], paths[name] = branch, path
    return branches, paths


def _walk(parent: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for branch in parent.branches:
        if branch.branches:
            yield from _walk(branch, f"{prefix}{branch.name}/")
        else:
            yield f"{prefix}{branch.name}", branch


def _type(branch: Any) -> str | None:
    """Return the awkward type of a branch, or None where uproot cannot interpret it."""
    try:
        interpretation = branch.interpretation
        if isinstance(interpretation, uproot.interpretation.identify.UnknownInterpretation):
            return None
        return str(interpretation.awkward_form(branch.file).type)
    except (
        uproot.interpretation.objects.CannotBeAwkward,
        NotImplementedError,
        TypeError,
        ValueError,
        AttributeError,
    ):
        return None
