"""Group the parts of a stream into files of one schema; columns that stages add may be missing in a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tamis.trigger.run.documents import PartNotes
from tamis.trigger.run.parts import notes_of, part_schema


@dataclass(frozen=True)
class Group:
    """Parts that share the columns of their input files, with their common schema and joined notes."""

    schema: pa.Schema
    notes: PartNotes
    parts: tuple[Path, ...]

    def without(self, names: Sequence[str]) -> Group:
        """Return the group without some columns, which are recorded as left out."""
        schema = pa.schema([field for field in self.schema if field.name not in set(names)])
        left_out = tuple(dict.fromkeys([*self.notes.left_out, *names]))
        return replace(self, schema=schema, notes=self.notes.model_copy(update={"left_out": left_out}))


def groups_of(paths: Sequence[Path]) -> list[Group]:
    """Group the parts of a stream by the columns of their input files, in order."""
    kinds: list[pa.Schema] = []  # there are many parts, but few schemas
    kind_of: dict[Path, int] = {}
    for path in paths:
        schema = part_schema(path)
        known = (i for i, kind in enumerate(kinds) if schema.equals(kind, check_metadata=True))
        kind_of[path] = next(known, len(kinds))
        if kind_of[path] == len(kinds):
            kinds.append(schema)
    notes = [notes_of(schema) for schema in kinds]
    alike: dict[frozenset[tuple[str, pa.DataType]], list[int]] = {}
    for kind, schema in enumerate(kinds):
        alike.setdefault(_own(schema, notes[kind]), []).append(kind)
    return [
        Group(
            _together([(kinds[kind], notes[kind]) for kind in same]),
            _all_notes([notes[kind] for kind in same]),
            tuple(path for path in paths if kind_of[path] in same),
        )
        for same in alike.values()
    ]


def _all_notes(notes: Sequence[PartNotes]) -> PartNotes:
    return PartNotes.model_validate(
        {
            name: tuple(dict.fromkeys(column for one in notes for column in getattr(one, name)))
            for name in PartNotes.model_fields
        }
    )


def _own(schema: pa.Schema, notes: PartNotes) -> frozenset[tuple[str, pa.DataType]]:
    """Return names and types of the columns that no stage added, regardless of whether values may be missing."""
    added = set(notes.added)
    return frozenset((field.name, _nullable(field).type) for field in schema if field.name not in added)


def _nullable(field: pa.Field) -> pa.Field:
    kind = field.type
    if pa.types.is_list(kind):
        return pa.field(field.name, pa.list_(_nullable(kind.value_field)))
    return field.with_nullable(True)


def _together(kinds: Sequence[tuple[pa.Schema, PartNotes]]) -> pa.Schema:
    """Return the common schema: a column is nullable if it is in any part, added columns have the widest type."""
    if len(kinds) == 1:
        return kinds[0][0].remove_metadata()
    added: dict[str, pa.Field] = {}
    own = []
    for schema, notes in kinds:
        names = set(notes.added)
        own.append(pa.schema([field for field in schema if field.name not in names]))
        for field in schema:
            if field.name in names:
                added[field.name] = _wider(added.get(field.name, field), field)
    return pa.schema([*pa.unify_schemas(own), *added.values()])


def _wider(one: pa.Field, other: pa.Field) -> pa.Field:
    if one.type == other.type:
        return one
    if pa.types.is_list(one.type) and pa.types.is_list(other.type):
        return one.with_type(pa.list_(_wider(one.type.value_field, other.type.value_field)))
    kinds = [np.dtype(field.type.to_pandas_dtype()) for field in (one, other)]
    return one.with_type(pa.from_numpy_dtype(np.result_type(*kinds)))


def filled(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Convert a part to the common schema; a missing added column becomes NaN, 0 or empty lists."""
    if table.schema.equals(schema):
        return table
    there: Mapping[str, pa.ChunkedArray] = dict(zip(table.column_names, table.columns, strict=True))
    columns = [
        there[field.name].cast(field.type, safe=False)
        if field.name in there
        else _filler(field.type, len(table))
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _filler(kind: pa.DataType, rows: int) -> pa.Array:
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(
            np.zeros(rows + 1, np.int32), pa.array([], kind.value_type), type=kind
        )
    dtype = np.dtype(kind.to_pandas_dtype())
    return pa.array(np.full(rows, np.nan if dtype.kind == "f" else 0, dtype))
