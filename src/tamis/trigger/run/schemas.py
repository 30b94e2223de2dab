"""Group the parts of a stream into files of one schema; columns that stages add may be missing in a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tamis.events import is_missing
from tamis.events.arrow import array_of_numbers, numbers_of_array
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
        added = set(notes[kind].added)
        own = frozenset((field.name, _nullable(field).type) for field in schema if field.name not in added)
        alike.setdefault(own, []).append(kind)
    groups = []
    for same in alike.values():
        joined = {
            name: tuple(dict.fromkeys(column for kind in same for column in getattr(notes[kind], name)))
            for name in PartNotes.model_fields
        }
        groups.append(
            Group(
                _together([(kinds[kind], notes[kind]) for kind in same]),
                PartNotes.model_validate(joined),
                tuple(path for path in paths if kind_of[path] in same),
            )
        )
    return groups


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


def with_nulls(schema: pa.Schema, added: Sequence[str]) -> pa.Schema:
    """Return a schema in which the floating-point columns that stages add can have nulls, for missing values."""
    fields = []
    for field in schema:
        kind = field.type
        if field.name in added and pa.types.is_floating(kind):
            field = field.with_nullable(True)  # noqa: PLW2901
        elif field.name in added and pa.types.is_list(kind) and pa.types.is_floating(kind.value_type):
            field = field.with_type(pa.list_(kind.value_field.with_nullable(True)))  # noqa: PLW2901
        fields.append(field)
    return pa.schema(fields, schema.metadata)


def _missing_as_null(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    """Return a column with nulls for missing values, if its field can have them."""
    kind = field.type
    numbers = kind.value_field if pa.types.is_list(kind) else field
    if not numbers.nullable or not pa.types.is_floating(numbers.type) or column.null_count:
        return column
    whole = column.combine_chunks()
    if not pa.types.is_list(kind):
        return _numbers_or_null(whole)
    offsets = numbers_of_array(whole.offsets)
    return pa.ListArray.from_arrays(
        array_of_numbers(offsets - offsets[0]), _numbers_or_null(whole.flatten()), type=kind
    )


def _numbers_or_null(array: pa.Array) -> pa.Array:
    if array.null_count:
        return array
    numbers = numbers_of_array(array)
    mask = is_missing(numbers)
    return pa.array(numbers, array.type, mask=mask) if mask.any() else array


def filled(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Convert a part to the common schema; an added column that it lacks becomes NaN, 0 or empty lists."""
    if table.schema.equals(schema):
        return table
    there: Mapping[str, pa.ChunkedArray] = dict(zip(table.column_names, table.columns, strict=True))
    columns = []
    for field in schema:
        kind = field.type
        if field.name in there:
            column = _missing_as_null(there[field.name], field)
            if column.type != kind:
                column = column.cast(kind, safe=False)
        elif pa.types.is_list(kind):
            offsets = np.zeros(len(table) + 1, np.int32)
            column = pa.ListArray.from_arrays(offsets, pa.array([], kind.value_type), type=kind)
        else:
            dtype = np.dtype(kind.to_pandas_dtype())
            column = array_of_numbers(np.full(len(table), np.nan if dtype.kind == "f" else 0, dtype))
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)
