"""Events in a ROOT RNTuple, with the column names of the corresponding TTree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import awkward as ak
import numpy as np

from tamis.events.failures import reading
from tamis.events.table import probe

_CARDINALITY = re.compile(r"ROOT::RNTupleCardinality<(?:std::)?(u?int\d+)_t>")
_ANONYMOUS = re.compile(r"_collection\d+")  # ROOT's importer gives this name to the list of a collection
_SIMPLE = re.compile(r"(ROOT::VecOps::RVec<|std::vector<)?(?:std::)?(float|double|bool|u?int\d+_t)>?")
_FEW = 64  # fields that are read one by one
_CPP_NUMBERS = {"float": "float32", "double": "float64", "bool": "bool"}


class NtupleTable:
    """The fields of an RNTuple; the members of collections of records become `Collection_member`."""

    format = "ROOT RNTuple"

    def __init__(self, url: str, file: Any, name: str, errors: tuple[type[Exception], ...]) -> None:
        """Read the header, but no data."""
        self.url, self.name = url, name
        self._file, self._errors = file, errors
        self._ntuple = file[name]
        self.entries = int(self._ntuple.num_entries)
        self.opaque: dict[str, str] = {}
        self._fields = dict(_columns(self._ntuple))

    @cached_property
    def _types(self) -> tuple[dict[str, str], dict[str, str]]:
        columns: dict[str, str] = {}
        hidden: dict[str, str] = {}
        with reading(self.url, *self._errors):
            others = {}
            for name, path in self._fields.items():
                typename = self._ntuple[path[0]].typename
                if counter := _CARDINALITY.fullmatch(typename):
                    hidden[name] = counter[1]
                elif match := _SIMPLE.fullmatch(typename):  # a number or a list of numbers
                    number = _CPP_NUMBERS.get(match[2], match[2].removesuffix("_t"))
                    columns[name] = f"var * {number}" if match[1] else number
                else:
                    columns[name], others[name] = "", path
            if others:  # takes uproot milliseconds per field
                form, _ = self._ntuple.to_akform(
                    filter_field=_only([".".join(path) for path in others.values()])
                )
                columns.update({name: str(_descend_form(form, path).type) for name, path in others.items()})
        return columns, hidden

    @property
    def columns(self) -> dict[str, str]:
        """Return the columns that hold data."""
        return self._types[0]

    @property
    def hidden(self) -> dict[str, str]:
        """Return the columns that hold only list lengths, with their types."""
        return self._types[1]

    def unsupported(self, names: Sequence[str]) -> dict[str, str]:  # noqa: ARG002 - part of the interface
        """Return an empty dict: an RNTuple declares its types in full, so that none turns out to be unreadable later."""
        return {}

    def bytes_per_event(self, names: Sequence[str]) -> float:
        """Return the bytes per event of the first events."""
        return probe(self, names)

    def sizes(self, name: str) -> tuple[int | None, int | None]:  # noqa: ARG002 - part of the interface
        """Return None twice, since pages are shared between a column and its aliases."""
        return None, None

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read a range of events of some fields."""
        if not names:
            return {}
        paths = {name: self._fields[name] for name in names}
        with reading(self.url, *self._errors):
            if len(paths) <= _FEW and all(len(path) == 1 for path in paths.values()):
                # searching the fields of a NanoAOD takes uproot seconds; a few are faster one by one
                arrays = {
                    path[0]: self._ntuple[path[0]].array(entry_start=start, entry_stop=stop, array_cache=None)
                    for path in paths.values()
                }
                return {name: self._column(name, path, arrays) for name, path in paths.items()}
            arrays = self._ntuple.arrays(
                filter_field=_only([".".join(path) for path in paths.values()]),
                entry_start=start,
                entry_stop=stop,
                library="ak",
                how=dict,
                array_cache=None,
            )
            return {name: self._column(name, path, arrays) for name, path in paths.items()}

    def _column(self, name: str, path: tuple[str, ...], arrays: dict[str, ak.Array]) -> ak.Array:
        array = arrays[path[0]]
        for part in path[1:]:
            array = array[part]
        return ak.values_astype(array, np.dtype(self.hidden[name])) if name in self.hidden else array

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _only(paths: Sequence[str]) -> Any:
    requested = set(paths)
    return lambda field: field.path in requested


def _columns(ntuple: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (column, path of the field); ROOT forbids dots in field names, for which ATLAS writes colons."""
    fields = {field.name: field for field in ntuple.fields}
    for top, field in fields.items():
        plain = top.replace(":", ".")
        # a class, a vector or a number has a type name; a split record or list of records has not
        members = [] if field.typename else [member.name for member in field.fields]
        for member in members:
            name = member if _ANONYMOUS.fullmatch(top) else f"{plain}_{member}"
            if name not in fields:  # otherwise there is a projected field with the same data
                yield name, (top, member)
        if not members:
            yield plain, (top,)


def _descend_form(form: ak.forms.Form, path: tuple[str, ...]) -> ak.forms.Form:
    """Return the form of a column inside the form of the whole."""
    form = form.content(path[0])
    for part in path[1:]:
        if form.is_list:
            form = ak.forms.ListOffsetForm("i64", form.content.content(part))
        else:
            form = form.content(part)
    return form
