"""Events in a ROOT RNTuple, its columns named as those of the TTree that it stands for."""

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
_ANONYMOUS = re.compile(
    r"_collection\d+"
)  # what ROOT's importer calls the list under the columns of a collection
_SIMPLE = re.compile(r"(ROOT::VecOps::RVec<|std::vector<)?(?:std::)?(float|double|bool|u?int\d+_t)>?")
_FEW = 64
_NUMBERS = {"float": "float32", "double": "float64", "bool": "bool"}


class NtupleTable:
    """The fields of an RNTuple; collections of records are taken apart into `Collection_member`."""

    format = "ROOT RNTuple"

    def __init__(self, url: str, file: Any, name: str, errors: tuple[type[Exception], ...]) -> None:
        """Look at the fields; nothing is read yet."""
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
                else:
                    columns[name] = _simple(typename)
                    if not columns[name]:
                        others[name] = path
            if others:  # uproot takes milliseconds per field for this, so it is asked only where it must be
                form, _ = self._ntuple.to_akform(
                    filter_field=_only([".".join(path) for path in others.values()])
                )
                columns.update({name: str(_descend_form(form, path).type) for name, path in others.items()})
        return columns, hidden

    @property
    def columns(self) -> dict[str, str]:
        """Return what holds data."""
        return self._types[0]

    @property
    def hidden(self) -> dict[str, str]:
        """Return the counters."""
        return self._types[1]

    def unsupported(self, names: Sequence[str]) -> dict[str, str]:  # noqa: ARG002 - part of the interface
        """Return no column: an RNTuple describes its types completely."""
        return {}

    def bytes_per_event(self, names: Sequence[str]) -> float:
        """Return the bytes of the first events, per event."""
        return probe(self, names)

    def sizes(self, name: str) -> tuple[int | None, int | None]:  # noqa: ARG002 - pages of a field are not summed
        """Return nothing: pages are shared between a column and its aliases."""
        return None, None

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read a range of events of some fields."""
        if not names:
            return {}
        paths = {name: self._fields[name] for name in names}
        with reading(self.url, *self._errors):
            if len(paths) <= _FEW and all(len(path) == 1 for path in paths.values()):
                # going through all fields of a NanoAOD costs uproot seconds; a few are faster one by one
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


def _simple(typename: str) -> str:
    """Return the awkward type of a number or a list of numbers, or nothing."""
    match = _SIMPLE.fullmatch(typename)
    if not match:
        return ""
    number = _NUMBERS.get(match[2], match[2].removesuffix("_t"))
    return f"var * {number}" if match[1] else number


def _only(paths: Sequence[str]) -> Any:
    wanted = set(paths)
    return lambda field: field.path in wanted


def _columns(ntuple: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (column, path of the field); ROOT forbids dots in fields, and ATLAS writes a colon instead."""
    fields = {field.name: field for field in ntuple.fields}
    for top, field in fields.items():
        plain = top.replace(":", ".")
        members = _members(field)
        for member in members:
            name = member if _ANONYMOUS.fullmatch(top) else f"{plain}_{member}"
            if name not in fields:  # else a projected field of that name is there, and is the same
                yield name, (top, member)
        if not members:
            yield plain, (top,)


def _members(field: Any) -> list[str]:
    """Return the members of a record, or of a list of records, that is one level deep."""
    if field.typename:  # a class, a vector or a number; what ROOT takes apart has no type name
        return []
    return [member.name for member in field.fields]


def _descend_form(form: ak.forms.Form, path: tuple[str, ...]) -> ak.forms.Form:
    """Return the form of a column inside the form of the whole."""
    form = form.content(path[0])
    for part in path[1:]:
        if form.is_list:
            form = ak.forms.ListOffsetForm("i64", form.content.content(part))
        else:
            form = form.content(part)
    return form
