"""Reading records from files and folders."""

from __future__ import annotations

import pytest

from tamis._base import DataError, UsageError
from tamis.measure import read_records
from tamis.records import Record


def test_malformed_records_are_rejected_with_the_reason(tmp_path):
    with pytest.raises(UsageError, match="there are no records at"):
        read_records([tmp_path / "absent"])
    (tmp_path / "other.json").write_text('{"kind": "recipe"}')
    assert read_records([tmp_path]) == []
    with pytest.raises(DataError, match="is not a record of"):
        read_records([tmp_path / "other.json"])
    (tmp_path / "bad.json").write_text('{"kind": "bench", "created": 3}')
    with pytest.raises(DataError, match=r"the record .*bad.json is malformed: field bench.created"):
        read_records([tmp_path])
    (tmp_path / "bad.json").write_text('{"kind": "ben')
    with pytest.raises(DataError, match=r"bad.json cannot be read .*remove it or measure again"):
        read_records([tmp_path])
    assert Record.model_fields["kind"].default == "bench"
