"""Which parts of a stream go into one file, and with which columns: what stages added may be missing in a part."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from quickbeam.trigger.run.parts import ADDED, part_schema


@dataclass(frozen=True)
class Group:
    """Parts whose events have the same columns of their own, and the columns of all of them."""

    schema: pa.Schema
    parts: tuple[Path, ...]


def groups_of(paths: Sequence[Path]) -> list[Group]:
    """Group the parts of a stream, in their order."""
    kinds: list[pa.Schema] = []  # parts are many, their schemas few
    members: dict[int, list[Path]] = {}
    for path in paths:
        schema = part_schema(path)
        kind = next(
            (i for i, known in enumerate(kinds) if schema.equals(known, check_metadata=True)), len(kinds)
        )
        if kind == len(kinds):
            kinds.append(schema)
        members.setdefault(kind, []).append(path)
    alike: dict[frozenset[tuple[str, pa.DataType]], list[int]] = {}
    for kind, schema in enumerate(kinds):
        alike.setdefault(_own(schema), []).append(kind)
    order = {path: number for number, path in enumerate(paths)}
    return [
        Group(
            _together([kinds[kind] for kind in same]),
            tuple(sorted((path for kind in same for path in members[kind]), key=order.__getitem__)),
        )
        for same in alike.values()
    ]


def _added(schema: pa.Schema) -> set[str]:
    return set(json.loads((schema.metadata or {}).get(ADDED, b"[]")))


def _own(schema: pa.Schema) -> frozenset[tuple[str, pa.DataType]]:
    """Return the columns that no stage added; whether values may be missing in them makes no difference."""
    added = _added(schema)
    return frozenset((field.name, _nullable(field).type) for field in schema if field.name not in added)


def _nullable(field: pa.Field) -> pa.Field:
    kind = field.type
    if pa.types.is_list(kind):
        return pa.field(field.name, pa.list_(_nullable(kind.value_field)))
    return field.with_nullable(True)


def _together(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Return the columns of all: own ones may lack values where they do in any, added ones are of the widest type."""
    if len(schemas) == 1:
        return schemas[0].remove_metadata()
    added: dict[str, pa.Field] = {}
    own = []
    for schema in schemas:
        names = _added(schema)
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
    """Give a part the columns and types of all: NaN, 0 or an empty list where no stage came so far."""
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
