"""Reading records of all kinds, and the records of loads on one model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from tamis._base import DataError, UsageError, did_you_mean, parse_document
from tamis.records import (
    DemoRecord,
    Evaluation,
    FillRecord,
    FrontRecord,
    MonitorComparison,
    MonitorEvaluation,
    PlacementRecord,
    RateRecord,
    Record,
    TrackingRecord,
    TrafficRecord,
    TrainingCurves,
    json_files,
)
from tamis.trigger import RunSummary

AnyRecord = (
    Record
    | Evaluation
    | TrainingCurves
    | RunSummary
    | RateRecord
    | TrafficRecord
    | DemoRecord
    | FrontRecord
    | TrackingRecord
    | PlacementRecord
    | MonitorEvaluation
    | MonitorComparison
    | FillRecord
)
RECORD_KINDS = (
    "bench", "evaluation", "training", "run", "rates", "traffic", "demo", "front", "tracking", "placement",
    "monitor-evaluation", "monitor-comparison", "monitor-fill",
)  # fmt: skip
_ADAPTER: TypeAdapter[AnyRecord] = TypeAdapter(Annotated[AnyRecord, Field(discriminator="kind")])
LOAD_EXAMPLE = "`tamis load grpc://HOST:PORT MODEL --scenario closed --streams 1,4 -o records/` writes some"


def read_records(places: Iterable[Path]) -> list[tuple[Path, AnyRecord]]:
    """Read the records in files and folders; other JSON files in folders are ignored."""
    records = []
    for file, data in json_files(places, RECORD_KINDS, "`tamis bench ... -o records/` writes some"):
        try:
            records.append((file, _ADAPTER.validate_python(data)))
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(str(part) for part in problem["loc"])
            raise DataError(f"the record {file} is malformed: field {field}: {problem['msg']}") from error
    return records


def read_traffic(places: Iterable[Path], model: str | None = None) -> list[TrafficRecord]:
    """Read the load records of a single model: `model`, or the only one that `places` have records of."""
    places = list(places)
    records = [
        parse_document(file.read_text(encoding="utf-8"), TrafficRecord, str(file))
        for file, _ in json_files(places, ("traffic",), LOAD_EXAMPLE)
    ]
    alone = [record for record in records if not record.together]
    if records and not alone:
        names = ", ".join(sorted({record.model for record in records}))
        raise DataError(
            f"all records are of loads on several models in turn ({names}), none of one model alone; {LOAD_EXAMPLE}"
        )
    if not alone:
        raise DataError(f"no load record was found in {', '.join(map(str, places))}; {LOAD_EXAMPLE}")
    models = sorted({record.model for record in alone})
    if model is None and len(models) > 1:
        raise UsageError(f"the records are of several models: {', '.join(models)}; choose one with --model")
    chosen = [record for record in alone if model in (None, record.model)]
    if not chosen:
        raise UsageError(
            f"no record is of the model {model!r}; {did_you_mean(str(model), models) or 'there are: ' + ', '.join(models)}"
        )
    return chosen
