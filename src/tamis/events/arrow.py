"""Convert between events and Arrow: numbers and lists of numbers without a copy, other types by awkward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import awkward as ak
import numpy as np
import pyarrow as pa

from tamis.events.batch import Column, Events
from tamis.events.missing_values import MISSING

_MOST_OFFSET = np.iinfo(np.int32).max
_NUMBER_TYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    "float16",
    "float32",
    "float64",
)
_ARROW_NUMBERS = {pa.from_numpy_dtype(np.dtype(kind)): kind for kind in _NUMBER_TYPES}


def table_of(events: Events) -> pa.Table:
    """Return events as a table; a field is nullable if the type of its column is an option."""
    record = events.array.layout
    while record.is_indexed:
        record = record.project()
    return _table({name: record[name] for name in record.fields})


def with_columns(table: pa.Table, added: Mapping[str, object]) -> pa.Table:
    """Return a table with numpy or awkward columns added or replaced."""
    new = _table({name: ak.to_layout(column) for name, column in added.items()})
    columns = {**_named(table), **_named(new)}
    fields = [new.field(name) if name in added else table.field(name) for name in columns]
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))


def _named(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(table.column_names, table.columns, strict=True))


def _table(contents: Mapping[str, ak.contents.Content]) -> pa.Table:
    arrays, fields = [], []
    for name, content in contents.items():
        array = _numbers(content)
        nullable = False
        if array is None:
            array = ak.to_arrow(ak.to_packed(ak.Array(content)), extensionarray=False, list_to32=True)
            nullable = content.is_option or content.is_unknown
        arrays.append(array)
        fields.append(pa.field(name, array.type, nullable=nullable))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _numbers(content: ak.contents.Content) -> pa.Array | None:
    """Return a column of numbers or of lists of numbers, or None for any other type."""
    while content.is_indexed and not content.is_option:
        content = content.project()
    if content.parameters:
        return None
    if content.is_numpy:
        data = content.data
        plain = data.ndim == 1 and data.dtype.kind in "biuf"
        return array_of_numbers(data) if plain else None
    if content.is_list and not content.is_regular:
        packed = content.to_ListOffsetArray64(True)
        offsets = np.asarray(packed.offsets.data)
        inner = _numbers(packed.content[: offsets[-1]])
        if inner is None or offsets[-1] > _MOST_OFFSET:
            return None
        kind = pa.list_(pa.field("item", inner.type, nullable=False))
        return pa.ListArray.from_arrays(array_of_numbers(offsets.astype(np.int32)), inner, type=kind)
    return None


def array_of_numbers(values: np.ndarray) -> pa.Array:
    """Return numbers as an Arrow array without a copy; `pa.array` would import pandas, if it is installed, for 0.2 s."""
    values = np.ascontiguousarray(values)
    kind, count = pa.from_numpy_dtype(values.dtype), len(values)
    if values.dtype.kind == "b":
        values = np.packbits(values, bitorder="little")
    return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(values)])


def array_of_words(words: Sequence[str]) -> pa.Array:
    """Return texts as an Arrow array, for the same reason."""
    data = [word.encode() for word in words]
    offsets = np.append(0, np.cumsum([len(word) for word in data])).astype(np.int32)
    return pa.StringArray.from_buffers(len(data), pa.py_buffer(offsets), pa.py_buffer(b"".join(data)))


def numbers_of_array(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return an Arrow array of numbers without nulls as numpy, read-only; `to_numpy` would import pandas as well."""
    whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    data = whole.buffers()[1]
    count, start = len(whole), whole.offset
    if not count:
        return np.empty(0, whole.type.to_pandas_dtype())
    if pa.types.is_boolean(whole.type):
        bits = np.unpackbits(np.frombuffer(data, np.uint8), count=start + count, bitorder="little")
        return bits[start:].astype(bool)
    return np.frombuffer(data, whole.type.to_pandas_dtype())[start : start + count]


def array_of(column: pa.Array | pa.ChunkedArray, path: Sequence[str] = ()) -> ak.Array:
    """Return a column, or a member of its records; without an option type if no value is missing."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not path:
        content = content_of(whole)
        if content is not None:
            return ak.Array(content)
    array = ak.from_arrow(whole)
    for part in path:
        array = array[part]
    return ak.Array(_without_options(ak.to_packed(array).layout))


def content_of(array: pa.Array) -> ak.contents.Content | None:
    """Return a column of numbers, or of lists or rows of them; None for other types, or if a value is missing."""
    kind = array.type
    if array.null_count:
        return None
    if kind in _ARROW_NUMBERS:
        return ak.contents.NumpyArray(numbers_of_array(array))
    if _is_list(kind):
        offsets = numbers_of_array(array.offsets).astype(np.int64)
        inner = content_of(array.values.slice(offsets[0], offsets[-1] - offsets[0]))
        if inner is not None:
            return ak.contents.ListOffsetArray(ak.index.Index64(offsets - offsets[0]), inner)
    if pa.types.is_fixed_size_list(kind):
        inner = content_of(array.flatten())
        if inner is not None:
            return ak.contents.RegularArray(inner, kind.list_size, len(array))
    return None


def columns_of_schema(schema: pa.Schema) -> tuple[Column, ...]:
    """Return the columns of a table that was converted from events, with their original types."""
    return tuple(Column(field.name, _type(field, options=True)) for field in schema)


def type_of(kind: pa.DataType) -> str:
    """Return the awkward type of a column without missing values."""
    return _type(pa.field("", kind), options=False)


def _type(field: pa.Field, *, options: bool) -> str:
    kind = field.type
    if kind in _ARROW_NUMBERS:
        name = _ARROW_NUMBERS[kind]
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        name = "string"
    elif _is_list(kind) or pa.types.is_fixed_size_list(kind):
        size = "var" if _is_list(kind) else kind.list_size
        name = f"{size} * {_type(kind.value_field, options=options)}"
        return f"option[{name}]" if options and field.nullable else name
    else:
        return str(array_of(pa.array([], kind)).type.content)
    return f"?{name}" if options and field.nullable else name


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _without_options(layout: ak.contents.Content) -> ak.contents.Content:
    """Remove option types without missing values; missing floats get the missing value."""
    if layout.is_option:
        array = ak.Array(layout)
        if not ak.any(ak.is_none(array)):
            return _without_options(ak.to_packed(ak.drop_none(array, axis=0)).layout)
        content = layout.content
        if content.is_numpy and content.dtype.kind == "f":
            return ak.to_layout(ak.fill_none(array, content.dtype.type(MISSING)))
        return layout
    if layout.is_list and layout.parameter("__array__") is None:
        content = _without_options(layout.content)
        return layout.copy(content=content)
    if layout.is_record:
        return layout.copy(contents=[_without_options(content) for content in layout.contents])
    return layout
