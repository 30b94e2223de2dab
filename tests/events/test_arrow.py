from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pytest

from tamis.events import Events
from tamis.events.arrow import array_of, columns_of_schema, table_of, type_of, with_columns

N = 12
COUNTS = np.arange(N) % 3
KINDS = [
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
]


def lists(kind: str) -> ak.Array:
    return ak.unflatten(np.arange(COUNTS.sum()).astype(kind), COUNTS)


COLUMNS: dict[str, Any] = {
    **{f"flat {kind}": np.arange(N).astype(kind) for kind in KINDS},
    **{f"lists {kind}": lists(kind) for kind in KINDS if kind != "float16"},
    "text": ak.Array([str(i) for i in range(N)]),
    "texts": ak.Array([["a", "é"], []] * (N // 2)),
    "rows": np.arange(2 * N, dtype="f4").reshape(N, 2),
    "matrices": np.arange(6 * N, dtype="f8").reshape(N, 3, 2),
    "nested": ak.Array([[[1], [2, 3]], []] * (N // 2)),
    "records": ak.Array([[{"x": 1, "y": 2.5}], []] * (N // 2)),
    "missing": ak.Array([1, None] * (N // 2)),
    "lists missing": ak.Array([[1], None] * (N // 2)),
    "missing in lists": ak.Array([[1, None], []] * (N // 2)),
    "no type": ak.Array([[]] * N),
    "every second": np.arange(2 * N)[::2],
}


def events(name: str) -> Events:
    identity = {part: np.arange(N) for part in ("run", "luminosityBlock", "event")}
    return Events.of({**identity, name: COLUMNS[name]})


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("rows", [slice(None), slice(3, 9), slice(0, 0), np.array([7, 1, 1, 10])], ids=str)
def test_any_rows_of_a_column_survive_the_round_trip(name, rows):
    chosen = events(name).select(rows)
    table = table_of(chosen)
    assert columns_of_schema(table.schema) == chosen.schema or name == "records"
    back = array_of(table[name])
    assert back.to_list() == chosen[name].to_list()
    if len(chosen):  # without rows, no value is missing
        expected = str(chosen[name].type.content)
        assert str(back.type.content) == expected
    part = table.slice(1, 2) if len(table) else table
    assert array_of(part[name]).to_list() == chosen[name][1:3].to_list()


@pytest.mark.parametrize("name", COLUMNS)
def test_the_type_of_a_column_needs_no_values(name):
    column = COLUMNS[name]
    expected = str(ak.Array(column).type.content).replace("?", "")
    expected = expected.removeprefix("option[").removesuffix("]")
    assert type_of(table_of(events(name)).schema.field(name).type) == expected


def test_a_view_of_a_large_array_is_not_written_as_a_whole():
    column = lists("float64")
    few = Events.of(
        {**{part: np.arange(N)[:2] for part in ("run", "luminosityBlock", "event")}, "x": column[4:6]}
    )
    assert table_of(few).nbytes < 200


def test_columns_are_added_and_replaced():
    table = with_columns(table_of(events("missing")), {"missing": np.arange(N), "more": lists("int32")})
    assert table.column_names == ["run", "luminosityBlock", "event", "missing", "more"]
    assert table["missing"].to_pylist() == list(range(N))
    assert not table.schema.field("missing").nullable
    assert table["more"].to_pylist() == lists("int32").to_list()


def test_files_of_other_writers_with_missing_values_are_read():
    gaps = pa.array([[1.5, None], None, []], pa.large_list(pa.float32()))
    assert str(array_of(gaps).type.content).startswith("option[var")
    assert np.isnan(array_of(pa.array([1.0, None]))[1])
    assert array_of(pa.chunked_array([pa.array([1, 2]), pa.array([3])])).to_list() == [1, 2, 3]
    assert str(array_of(pa.chunked_array([], pa.list_(pa.int8()))).type.content) == "var * int8"
