"""Events to a ROOT TTree as NanoAOD has it: flat branches, one counter `nFatJet` for all of `FatJet_*`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import awkward as ak
import numpy as np
import uproot

from quickbeam._base import DataError
from quickbeam.events.batch import Column, Events, collection_of
from quickbeam.events.root_header import linear_headers

TREE = "Events"
TITLE = "Events"
BASKETS = 4
_JAGGED = re.compile(r"var \* (\w+)")
_PLAIN = re.compile(r"(?:(\d+) \* )?(\w+)")


def counter_name(column: str) -> str:
    """Return the branch that counts the objects of a jagged column: `nFatJet` for `FatJet_pt`."""
    return f"n{collection_of(column)}"


class RootSink:
    """An open TTree; each batch becomes one basket per branch."""

    def __init__(
        self, path: Path, schema: tuple[Column, ...], facts: Mapping[str, str], counters: Mapping[str, str]
    ) -> None:
        """Create the file and the tree."""
        jagged = [column.name for column in schema if column.type.startswith("var")]
        self._named = dict(counters)
        self._counters = {self._counter(name) for name in jagged}
        self._path = path
        branches = {c.name: _branch_type(c) for c in schema if c.name not in self._counters}
        # LZ4 carries a checksum, so that a flipped bit is found on reading, and is read several times faster
        self._file = uproot.recreate(path, compression=uproot.LZ4(4))
        try:
            for name, text in facts.items():
                self._file[name.replace(".", "_")] = text
            # the header has room for so many baskets; when they are full it is written anew with room for twice as many
            with linear_headers():
                self._tree = self._file.mktree(
                    TREE,
                    branches,
                    title=TITLE,
                    counter_name=self._counter,
                    initial_basket_capacity=BASKETS,
                    resize_factor=2.0,
                )
        except BaseException:
            self._file.close()
            raise

    def _counter(self, column: str) -> str:
        return self._named.get(column) or counter_name(column)

    def append(self, events: Events) -> None:
        """Write one batch."""
        if not len(events):
            return
        columns = {}
        counts: dict[str, tuple[str, np.ndarray]] = {}
        for name in events.array.fields:
            if name in self._counters:
                continue
            column = ak.to_packed(events.array[name])
            columns[name] = column
            if column.ndim > 1 and not column.layout.purelist_isregular:
                self._check_counts(name, ak.to_numpy(ak.num(column)), counts)
        self._check_explicit_counters(events, counts)
        self._tree.extend(columns)

    def _check_counts(
        self, name: str, lengths: np.ndarray, counts: dict[str, tuple[str, np.ndarray]]
    ) -> None:
        """Refuse two columns of one collection with different numbers of objects: they cannot share a counter."""
        counter = self._counter(name)
        first, expected = counts.setdefault(counter, (name, lengths))
        if not np.array_equal(expected, lengths):
            raise DataError(
                f"{first} and {name} differ in their number of objects, so {counter} cannot count both: "
                "rename one, or write Parquet"
            )

    def _check_explicit_counters(self, events: Events, counts: dict[str, tuple[str, np.ndarray]]) -> None:
        for counter, (name, lengths) in counts.items():
            if counter in events and not np.array_equal(ak.to_numpy(events.array[counter]), lengths):
                raise DataError(f"the column {counter} does not count the objects of {name}")

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def open_sink(
    path: Path, schema: tuple[Column, ...], facts: Mapping[str, str], counters: Mapping[str, str]
) -> RootSink:
    """Open a ROOT file for batches of one schema; facts become strings beside the tree."""
    return RootSink(path, schema, facts, counters)


def tree_holds(column: Column) -> bool:
    """Tell whether a ROOT tree can hold a column."""
    try:
        _branch_type(column)
    except DataError:
        return False
    return True


def _branch_type(column: Column) -> object:
    """Return what uproot wants to be told of a column; it writes numbers, rows of numbers and lists of numbers."""
    if column.type == "string":
        return "string"
    try:
        if match := _JAGGED.fullmatch(column.type):
            return ak.types.ListType(
                ak.types.NumpyType(str(np.dtype(match[1])))
            )  # uproot parses text anew each time
        if match := _PLAIN.fullmatch(column.type):
            kind = np.dtype(match[2])
            return np.dtype((kind, (int(match[1]),))) if match[1] else kind
    except TypeError:
        pass
    raise DataError(
        f"a ROOT tree cannot hold {column.name!r} of type {column.type}: drop the column, or write Parquet"
    )
