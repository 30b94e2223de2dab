"""Write events to a ROOT TTree in the style of NanoAOD: flat branches, one counter `nFatJet` for all `FatJet_*`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import awkward as ak
import numpy as np
import uproot

from tamis._base import DataError
from tamis.events.arrow import array_of, columns_of_schema, numbers_of_array
from tamis.events.batch import Column, collection_of
from tamis.events.root_header import linear_headers

if TYPE_CHECKING:
    import pyarrow as pa

TREE = "Events"
TITLE = "Events"
BASKETS = 4
_COLUMN_TYPE = re.compile(r"(?:(?P<list>var \* )|(?P<sizes>(?:\d+ \* )*))(?P<number>\w+)")
_ROOT_TYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    "float32",
    "float64",
)
_WRITTEN_AS = {kind: kind for kind in _ROOT_TYPES} | {"float16": "float32"}


# LZ4 has a checksum, which detects flipped bits, and is several times faster to read; the levels are those of ROOT's users
_COMPRESSIONS = {
    "lz4": ("LZ4", 4),
    "zstd": ("ZSTD", 5),
    "zlib": ("ZLIB", 1),
    "lzma": ("LZMA", 7),
}


def counter_name(column: str) -> str:
    """Return the branch that counts the objects of a jagged column: `nFatJet` for `FatJet_pt`."""
    return f"n{collection_of(column)}"


class RootSink:
    """An open TTree; each batch becomes one basket per branch."""

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        facts: Mapping[str, str],
        counters: Mapping[str, str],
        compression: str,
    ) -> None:
        """Create the file and the tree."""
        columns = columns_of_schema(schema)
        self._named = dict(counters)
        self._counters = {self._counter(c.name) for c in columns if c.type.startswith("var")}
        branches = {c.name: _branch_type(c) for c in columns if c.name not in self._counters}
        algorithm, level = _COMPRESSIONS[compression]
        self._file = uproot.recreate(path, compression=getattr(uproot, algorithm)(level))
        try:
            for name, text in facts.items():
                self._file[name.replace(".", "_")] = text
            # the header has room for a number of baskets; when full, it is rewritten with twice the room
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

    def append(self, table: pa.Table) -> None:
        """Write one batch."""
        if not len(table):
            return
        data, counters = {}, {}
        counts: dict[str, tuple[str, np.ndarray]] = {}
        for name, column in zip(table.column_names, table.columns, strict=True):
            if name in self._counters:
                counters[name] = numbers_of_array(column)
                continue
            array = array_of(column)
            data[name] = array.layout.data if array.layout.is_numpy else array
            if (
                array.layout.is_list
                and not array.layout.is_regular
                and array.layout.parameter("__array__") is None
            ):
                self._check_counts(name, np.diff(array.layout.offsets.data), counts)
        for counter, (name, lengths) in counts.items():
            if counter in counters and not np.array_equal(counters[counter], lengths):
                raise DataError(f"the column {counter} does not count the objects of {name}")
        self._tree.extend(data)

    def _check_counts(
        self, name: str, lengths: np.ndarray, counts: dict[str, tuple[str, np.ndarray]]
    ) -> None:
        """Raise if two columns of a collection have different numbers of objects, as they share a counter."""
        counter = self._counter(name)
        first, expected = counts.setdefault(counter, (name, lengths))
        if not np.array_equal(expected, lengths):
            raise DataError(
                f"{first} and {name} differ in their number of objects, so {counter} cannot count both: "
                "rename one, or write Parquet"
            )

    def add_tree(self, path: Path, name: str, table: pa.Table) -> None:  # noqa: ARG002 - for formats of one table per file
        """Write a further tree beside the events."""
        branches = {column.name: _branch_type(column) for column in columns_of_schema(table.schema)}
        tree = self._file.mktree(name, branches, counter_name=lambda column: f"n{column}")
        data = {c: array_of(table.column(c)) for c in branches}
        tree.extend({c: a.layout.data if a.layout.is_numpy else a for c, a in data.items()})

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def open_sink(
    path: Path,
    schema: pa.Schema,
    facts: Mapping[str, str],
    counters: Mapping[str, str],
    compression: str | None = None,
) -> RootSink:
    """Open a ROOT file for batches of one schema; facts become strings next to the tree."""
    return RootSink(path, schema, facts, counters, compression or "lz4")


def tree_holds(column: Column) -> bool:
    """Return whether a ROOT tree can hold a column."""
    try:
        _branch_type(column)
    except DataError:
        return False
    return True


def _branch_type(column: Column) -> object:
    """Return the type of a column for `mktree`: numbers, fixed-size rows of numbers, lists of numbers, or strings."""
    if column.type == "string":
        return "string"
    match = _COLUMN_TYPE.fullmatch(column.type)
    if match is None or match["number"] not in _WRITTEN_AS:
        raise DataError(
            f"a ROOT tree cannot hold {column.name!r} of type {column.type}: drop the column, or write Parquet"
        )
    number = np.dtype(_WRITTEN_AS[match["number"]])
    if match["list"]:  # not as text, which uproot would parse every time
        return ak.types.ListType(ak.types.NumpyType(str(number)))
    return np.dtype((number, tuple(int(size) for size in match["sizes"].split(" * ")[:-1])))
