"""Arrays with a common number of rows are written completely or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from tamis._base import DataError, UsageError
from tamis.events import open_array_writer, read_arrays


def test_written_arrays_are_read_back(tmp_path):
    rng = np.random.default_rng(1)
    parts = [{"x": rng.normal(size=(n, 2, 3)).astype("f4"), "label": np.arange(n)} for n in (5, 0, 7)]
    with open_array_writer(tmp_path / "some.h5") as writer:
        for part in parts:
            writer.write(part)
    assert writer.rows_written == 12
    for name in ("x", "label"):
        found = np.concatenate([chunk.array for chunk in read_arrays(tmp_path / "some.h5", dataset=name)])
        np.testing.assert_array_equal(found, np.concatenate([part[name] for part in parts]))
        assert found.dtype == parts[0][name].dtype


def write(path, *batches):
    with open_array_writer(path) as writer:
        for batch in batches:
            writer.write(batch)


@pytest.mark.parametrize("second", [{"y": np.zeros(3)}, {"x": np.zeros(3), "y": np.zeros(3)}])
def test_rows_of_other_arrays_are_rejected_and_leave_no_file(tmp_path, second):
    with pytest.raises(DataError, match="but the first had x"):
        write(tmp_path / "some.h5", {"x": np.zeros(3)}, second)
    assert not list(tmp_path.iterdir())


def test_arrays_of_different_length_are_rejected(tmp_path):
    with pytest.raises(DataError, match="differ in length"), open_array_writer(tmp_path / "a.h5") as writer:
        writer.write({"x": np.zeros(3), "y": np.zeros(4)})


def test_another_format_is_rejected_before_writing(tmp_path):
    with (
        pytest.raises(UsageError, match=r"name the file some\.h5"),
        open_array_writer(tmp_path / "some.root"),
    ):
        pass
