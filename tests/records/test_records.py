"""The schemas of records: kinds are unique, and the records committed with the benchmarks stay readable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tamis.records
from tamis._base import Document, UsageError
from tamis.records import TrainingCurves, write_record

COMMITTED = Path(__file__).parents[2] / "benchmarks" / "records"
SCHEMAS = [
    schema
    for schema in vars(tamis.records).values()
    if isinstance(schema, type) and issubclass(schema, Document) and "kind" in schema.model_fields
]
BY_KIND = {schema.model_fields["kind"].default: schema for schema in SCHEMAS}


def test_every_kind_has_one_schema():
    assert len(BY_KIND) == len(SCHEMAS) >= 10


@pytest.mark.parametrize("kind", ["arrays", "bench", "traffic"])
def test_committed_records_are_readable_and_round_trip(kind):
    texts = [path.read_text(encoding="utf-8") for path in COMMITTED.rglob("*.json")]
    records = [
        BY_KIND[kind].model_validate_json(text) for text in texts if json.loads(text).get("kind") == kind
    ]
    assert records
    for record in records:
        assert BY_KIND[kind].model_validate_json(record.model_dump_json()) == record


def test_existing_record_is_not_overwritten(tmp_path):
    path = write_record(TrainingCurves(bundle="m", history=({"epoch": 1.0},)), tmp_path / "curves.json")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="records are never overwritten"):
        write_record(TrainingCurves(bundle="other", history=()), path)
    assert path.read_bytes() == before
