"""The times of stages on CPU and GPU, and the bytes between them, from records of reconstructions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Literal

from tamis._base import DataError, parse_document
from tamis.farm.gpu_times import JOINED, GivenTimes, GpuTimesFile
from tamis.records import PlacedStage, StageBoundary, StageTime, TrackingRecord, json_files

RECORD_EXAMPLE = "`tamis track EVENTS --record records/cpu.json` writes one"
TOGETHER = ("ambiguity", "fit")
SAME_SIZE = 5e-3  # relative difference of cells per event up to which records are of one sample
MEASURED_SOURCE = "measured"  # of GPU times in records
P99_SIGMAS = 2.326  # of a normal distribution


@dataclass(frozen=True)
class StageSample:
    """Records of one sample of events: times of its stages, and bytes between them."""

    records: tuple[TrackingRecord, ...]
    stages: tuple[PlacedStage, ...]
    boundaries: tuple[StageBoundary, ...]
    host_ms: float = 0.0  # CPU time per event besides the stages

    @property
    def first(self) -> TrackingRecord:
        """Return the record that represents the sample."""
        return self.records[0]


def read_tracking(places: Iterable[Path]) -> list[TrackingRecord]:
    """Read the records of track reconstructions at some places."""
    places = list(places)
    records = [
        parse_document(file.read_text(encoding="utf-8"), TrackingRecord, str(file))
        for file, _ in json_files(places, ("tracking",), RECORD_EXAMPLE)
    ]
    if not records:
        raise DataError(
            f"no record of a track reconstruction was found in {', '.join(map(str, places))}; {RECORD_EXAMPLE}"
        )
    detectors = sorted({record.detector for record in records})
    if len(detectors) > 1:
        raise DataError(
            f"the records are of several detectors ({', '.join(detectors)}), which cannot be compared: name records of one"
        )
    return records


def samples_of(
    records: Sequence[TrackingRecord], given: Sequence[GpuTimesFile], host_ms: float = 0.0
) -> list[StageSample]:
    """Return the samples in order of size; GPU times that are `given` come before those of records, the first ones first."""
    names = tuple(one.stage for one in records[0].stages)
    times = [GivenTimes(file, names) for file in given]
    samples = [_sample(group, names, times, host_ms) for group in _by_size(records)]
    if not any(stage.gpu_ms is not None for sample in samples for stage in sample.stages):
        missing = ", ".join(stage.name for stage in samples[0].stages)
        raise DataError(
            f"no GPU time is known of any stage ({missing}): run `tamis track EVENTS --stages all=cuda --record gpu.json` on a host with a GPU, or give --gpu-time STAGE=MS"
        )
    return samples


def _by_size(records: Sequence[TrackingRecord]) -> Iterator[list[TrackingRecord]]:
    """Yield records of the same sample: their events have as many cells."""
    group: list[TrackingRecord] = []
    for record in sorted(records, key=lambda one: (one.cells_per_event, one.created)):
        if group and record.cells_per_event > group[0].cells_per_event * (1 + SAME_SIZE):
            yield group
            group = []
        group.append(record)
    yield group


def _sample(
    records: list[TrackingRecord], names: tuple[str, ...], given: Sequence[GivenTimes], host_ms: float
) -> StageSample:
    on_cpu = [
        record
        for record in records
        if record.boundaries and all(one.device == "cpu" for one in record.stages)
    ]
    if not on_cpu:
        raise DataError(
            f"no record of {records[0].source} ({records[0].cells_per_event:.0f} cells per event) has all stages on the CPU and the bytes between them; {RECORD_EXAMPLE}"
        )
    fewest = min(record.workers for record in on_cpu)  # several processes disturb each other
    timed = [record for record in on_cpu if record.workers == fewest]
    size, pile_up = records[0].cells_per_event, timed[0].pile_up
    for times in given:
        times.check_size(size)
    gpu = [record for record in records if not record.simulated_gpu]
    stages = tuple(
        _placed(unit, [_mean(timed, name, "cpu") for name in unit], _gpu_time(unit, pile_up, gpu, given))
        for unit in _units(names, gpu, given)
    )
    ordered = tuple(timed) + tuple(record for record in records if record not in timed)
    return StageSample(ordered, stages, tuple(timed[0].boundaries), host_ms)


def _units(
    names: tuple[str, ...], gpu: Sequence[TrackingRecord], given: Sequence[GivenTimes]
) -> list[tuple[str, ...]]:
    """Return the stages that move as one: ambiguity and fit, and those of which only one GPU time together is known."""
    units: list[tuple[str, ...]] = [(name,) for name in names]
    joint = [
        unit for times in given for unit in times.times if not all(_alone(name, gpu, given) for name in unit)
    ]
    for unit in [TOGETHER, *joint]:
        merged = [one for one in units if set(one) & set(unit)]
        if merged:
            place = units.index(merged[0])
            units = [one for one in units if one not in merged]
            units.insert(place, tuple(name for one in merged for name in one))
    return units


def _alone(name: str, gpu: Sequence[TrackingRecord], given: Sequence[GivenTimes]) -> bool:
    return any((name,) in times.times for times in given) or any(
        one.stage == name and one.device == "gpu" for record in gpu for one in record.stages
    )


def _gpu_time(
    unit: tuple[str, ...],
    pile_up: float | None,
    gpu: Sequence[TrackingRecord],
    given: Sequence[GivenTimes],
) -> tuple[float, str] | None:
    """Return the GPU time of stages and its source: of all together, or the sum of their own."""
    for times in given:
        value = times.at(unit, pile_up)
        if value is not None:
            return value, times.source
    if len(unit) > 1:
        parts = [_gpu_time((name,), pile_up, gpu, given) for name in unit]
        found = [part for part in parts if part is not None]
        if len(found) < len(unit):
            return None
        return sum(value for value, _ in found), "; ".join(dict.fromkeys(source for _, source in found))
    measured = _mean(gpu, unit[0], "gpu")
    return None if measured is None else (measured.mean_ms, MEASURED_SOURCE)


def _mean(records: Sequence[TrackingRecord], stage: str, device: Literal["cpu", "gpu"]) -> StageTime | None:
    """Return the time of a stage on a device, averaged over the events of all records."""
    found = [
        (one, record.events)
        for record in records
        for one in record.stages
        if one.stage == stage and one.device == device and record.events
    ]
    if not found:
        return None
    events = sum(count for _, count in found)
    mean_ms, p50_ms, p99_ms = (
        sum(value * count for value, count in values) / events
        for values in (
            [(one.mean_ms, count) for one, count in found],
            [(one.p50_ms, count) for one, count in found],
            [(one.p99_ms, count) for one, count in found],
        )
    )
    return StageTime(stage=stage, mean_ms=mean_ms, p50_ms=p50_ms, p99_ms=p99_ms, device=device)


def _placed(
    unit: tuple[str, ...], times: Sequence[StageTime | None], gpu: tuple[float, str] | None
) -> PlacedStage:
    known = [one for one in times if one is not None]
    if len(known) < len(unit):
        raise DataError(
            f"a record has no CPU time of {JOINED.join(unit)}, or no event was reconstructed: measure again; {RECORD_EXAMPLE}"
        )
    p50, p99 = sum(one.p50_ms for one in known), sum(one.p99_ms for one in known)
    return PlacedStage(
        name=JOINED.join(unit),
        stages=list(unit),
        cpu_ms=sum(one.mean_ms for one in known),
        cpu_spread=log(p99 / p50) / P99_SIGMAS if p99 > p50 > 0 else 0.0,
        gpu_ms=None if gpu is None else gpu[0],
        gpu_source="" if gpu is None else gpu[1],
    )
