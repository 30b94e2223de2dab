"""Parts of a stream with different columns are joined into one file."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from tamis._base import ConservationError
from tamis.trigger.run import parts
from tamis.trigger.run.documents import PartNotes
from tamis.trigger.run.merge import merge_stream


def part(folder, number, events, added=None, **own):
    """Write a part as a unit does: columns without missing values are not nullable."""
    identity = {
        name: pa.array([number] * events, pa.uint64()) for name in ("run", "luminosityBlock", "event")
    }
    columns = {**identity, **own, **(added or {})}
    fields = [pa.field(name, column.type, nullable=column.null_count > 0) for name, column in columns.items()]
    path = folder / f"{number}.arrow"
    table = pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))
    parts.write_part(path, table, PartNotes(added=tuple(added or ())))
    return path


def join(target, files, expected):
    moved = []
    made = merge_stream(target, files, expected, {"tamis.menu": "text"}, {"ids": "nids"}, moved.append)
    assert sum(moved) == expected
    return [joined.path for joined in made]


@pytest.fixture
def uneven(tmp_path):
    lists, gaps = pa.list_(pa.field("item", pa.int32(), nullable=False)), pa.list_(pa.int32())
    return [
        part(
            tmp_path,
            0,
            2,
            x=pa.array([1, 2], pa.int32()),
            y=pa.array([[1], []], lists),
            added={"score": pa.array([0.5, 1.5], pa.float32())},
        ),
        part(tmp_path, 1, 1, x=pa.array([3], pa.int32()), y=pa.array([[2]], lists)),
        part(
            tmp_path,
            2,
            2,
            x=pa.array([4, None], pa.int32()),
            y=pa.array([[3, None], [4]], gaps),
            added={
                "ids": pa.array([[7], [8, 9]], lists),
                "score": pa.array([2.1, 2.2], pa.float64()),
                "seen": pa.array([True, False]),
                "count": pa.array([5, 6], pa.int16()),
            },
        ),
    ]


def test_a_missing_added_column_is_nan_zero_or_empty(tmp_path, uneven):
    (made,) = join(tmp_path / "s.parquet", uneven, 5)
    table = pq.read_table(made)
    assert table["x"].to_pylist() == [1, 2, 3, 4, None]
    assert table["y"].to_pylist() == [[1], [], [2], [3, None], [4]]
    assert table["ids"].to_pylist() == [[], [], [], [7], [8, 9]]
    assert str(table["score"].to_pylist()) == "[0.5, 1.5, nan, 2.1, 2.2]"
    assert table["seen"].to_pylist() == [False, False, False, True, False]
    assert table["count"].to_pylist() == [0, 0, 0, 5, 6]
    kinds = {name: str(table.schema.field(name).type) for name in ("x", "score", "seen", "count")}
    assert kinds == {"x": "int32", "score": "double", "seen": "bool", "count": "int16"}
    assert table.schema.metadata[b"tamis.menu"] == b"text"
    assert parts.NOTES not in table.schema.metadata


def test_trees_leave_out_columns_with_missing_values(tmp_path, uneven):
    (made,) = join(tmp_path / "s.root", uneven, 5)
    with uproot.open(made) as file:
        tree = file["Events"]
        assert set(tree.keys()) == {
            "run", "luminosityBlock", "event", "score", "nids", "ids", "seen", "count",
        }  # fmt: skip
        assert tree["ids"].array().to_list() == [[], [], [], [7], [8, 9]]
        assert str(tree["score"].array().to_list()) == "[0.5, 1.5, nan, 2.1, 2.2]"
        assert file["tamis_menu"] == "text"


def test_a_column_of_another_type_goes_to_another_file(tmp_path):
    files = [
        part(tmp_path, 0, 2, x=pa.array([1, 2], pa.int32())),
        part(tmp_path, 1, 1, x=pa.array([3], pa.int64())),
        part(tmp_path, 2, 1, x=pa.array([4], pa.int32())),
    ]
    made = join(tmp_path / "s.parquet", files, 4)
    assert [path.name for path in made] == ["s.parquet", "s-2.parquet"]
    assert [pq.read_table(path)["x"].to_pylist() for path in made] == [[1, 2, 4], [3]]


def test_too_few_events_are_an_error(tmp_path, uneven):
    with pytest.raises(ConservationError, match="has 3 events, but its stream took 5"):
        join(tmp_path / "s.parquet", uneven[:2], 5)


def test_a_run_does_not_import_pandas(menu_file, event_file, tmp_path):
    """Where pandas is installed, importing it would take a run over a small file a fifth of its time."""
    script = (
        "import sys\nfrom tamis.trigger import load_menu, run_menu\n"
        f"run_menu(load_menu({str(menu_file)!r}), [{str(event_file('a.root', 60))!r}], {str(tmp_path / 'out')!r})\n"
        "assert 'pandas' not in sys.modules and 'tamis.zoo.data' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
