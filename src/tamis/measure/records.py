"""Records: frozen JSON documents of measurements. What ran, on which host, with which versions, the numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from tamis._base import DataError, Document, Host, UsageError, write_text
from tamis.measure.agreement import Agreement
from tamis.measure.evaluation import Evaluation
from tamis.measure.harness import Samples
from tamis.measure.rate_record import RateRecord
from tamis.measure.traffic_record import TrafficRecord
from tamis.trigger import RunSummary


class Spread(Document):
    """Times of single calls, in nanoseconds."""

    calls: int
    mean_ns: float
    p50_ns: float
    p95_ns: float
    p99_ns: float

    @classmethod
    def of(cls, samples: Samples) -> Spread:
        """Summarise what was seen."""
        wall = np.asarray(samples.wall_ns, np.float64)
        p50, p95, p99 = np.percentile(wall, [50, 95, 99])
        return cls(
            calls=len(wall),
            mean_ns=float(wall.mean()),
            p50_ns=float(p50),
            p95_ns=float(p95),
            p99_ns=float(p99),
        )


class Ratio(Document):
    """A contestant over the baseline, round by round: the median of the ratios and their quartiles."""

    baseline: str
    median: float
    low: float
    high: float
    rounds: int


class LatencyRow(Document):
    """One model on one engine at one batch size."""

    bundle: str
    engine: str
    version: str
    mode: Literal["call", "bound", "plain"] = Field(
        description="call: session(arrays); bound: buffers handed over once; plain: the engine alone on the batch at once, as a loop over its library"
    )
    batch: int
    chunk: int = Field(description="events per call of the engine")
    warm: Spread
    cpu_p50_ns: float
    cold: Spread | None = None
    ratio: Ratio | None = None
    floor_ns: float | None = None
    events_per_second: float


class Roofline(Document):
    """What one core of the host can do at most, as seen through numpy's BLAS."""

    flops_per_second: float
    bytes_per_second: dict[str, float] = Field(
        description="read bandwidth by the size of what is read, in bytes"
    )


class MemoryRow(Document):
    """Memory of a process of its own; the heap of a second one, since following it costs memory itself."""

    bundle: str
    engine: str
    batch: int
    events: int
    rss_before_bytes: int
    rss_open_bytes: int
    rss_after_bytes: int
    rss_peak_bytes: int
    allocated_peak_bytes: int | None = Field(default=None, description="high-water mark of the heap (memray)")
    curve: tuple[tuple[int, int], ...] = Field(default=(), description="(events done, RSS in bytes)")


class LoadRow(Document):
    """Getting ready, in a process of its own: medians over some processes."""

    bundle: str
    engine: str
    processes: int
    import_ns: float
    open_ns: float
    first_call_ns: float
    second_call_ns: float


class Record(Document):
    """One run of `bench`."""

    kind: Literal["bench"] = "bench"
    schema_version: Literal[1] = 1
    created: str
    host: Host
    options: dict[str, int | float | str | list[int] | list[str]]
    models: dict[str, str] = Field(description="SHA-256 of every bundle's model")
    agreement: tuple[Agreement, ...] = ()
    refused: tuple[str, ...] = ()
    roofline: Roofline | None = None
    latency: tuple[LatencyRow, ...] = ()
    memory: tuple[MemoryRow, ...] = ()
    load: tuple[LoadRow, ...] = ()
    harness_ns: float | None = Field(default=None, description="median time of a call of the null engine")


class TrainingCurves(Document):
    """The loss curves that a bundle carries."""

    kind: Literal["training"] = "training"
    bundle: str
    history: tuple[dict[str, float], ...]


AnyKind = Record | Evaluation | TrainingCurves | RunSummary | RateRecord | TrafficRecord
KINDS = ("bench", "evaluation", "training", "run", "rates", "traffic")
_ADAPTER: TypeAdapter[AnyKind] = TypeAdapter(Annotated[AnyKind, Field(discriminator="kind")])


def write_record(record: Document, path: Path) -> Path:
    """Write a record; records are never changed, so an existing one is refused."""
    if path.exists():
        raise UsageError(f"the record {path} exists, and records are never overwritten; name another")
    write_text(path, record.model_dump_json(indent=1) + "\n")
    return path


def read_records(places: Iterable[Path]) -> list[tuple[Path, AnyKind]]:
    """Read records from files and folders; files that are no records are refused by name, folders may hold other files."""
    found = []
    for place in places:
        if not place.exists():
            raise UsageError(f"there are no records at {place}; `tamis bench ... -o {place}` makes some")
        files = sorted(place.rglob("*.json")) if place.is_dir() else [place]
        for file in files:
            record = _read(file)
            if record is not None:
                found.append((file, record))
            elif not place.is_dir():
                raise DataError(f"{file} is no record of tamis")
    return found


def _read(file: Path) -> AnyKind | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"the record {file} cannot be read ({error}); remove it or measure again") from error
    if not isinstance(data, dict) or data.get("kind") not in KINDS:
        return None
    try:
        return _ADAPTER.validate_python(data)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise DataError(f"the record {file} is malformed: field {field}: {problem['msg']}") from error
