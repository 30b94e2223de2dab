"""The study of placements: every sample with its placements, knees, purchases, simulations and measured runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tamis._base import Advance, UsageError, host_facts, utc_timestamp
from tamis.farm.gpu_times import GpuTimesFile
from tamis.farm.placement import HOST, PlacementResources, knees, placements, purchases
from tamis.farm.placement_inputs import MEASURED_SOURCE, StageSample, samples_of
from tamis.farm.placement_simulation import simulate_placement
from tamis.records import (
    MeasuredPlacement,
    Placement,
    PlacementLink,
    PlacementRecord,
    PlacementStudy,
    TrackingRecord,
)


@dataclass(frozen=True)
class PlacementRequest:
    """The resources, the link, and the options of a study."""

    resources: PlacementResources
    link: PlacementLink
    host_ms: float = 0.0  # CPU time per event besides the stages
    load: float = 0.8
    rate_hz: float | None = None
    core_price: float | None = None
    gpu_price: float | None = None
    simulated: int = 3  # of the best placements
    events: int = 3000  # per simulation
    seed: int = 1

    def __post_init__(self) -> None:
        """Check that prices are complete."""
        if (self.core_price is None) != (self.gpu_price is None):
            raise UsageError(
                "--core-price and --gpu-price are compared with each other: give both, in one currency, or neither"
            )


def study_placements(
    records: Sequence[TrackingRecord],
    given: Sequence[GpuTimesFile],
    request: PlacementRequest,
    advance: Advance = lambda _: None,
) -> PlacementRecord:
    """Return all placements for each size of the events in the records."""
    samples = samples_of(records, given, request.host_ms)
    resources = request.resources
    return PlacementRecord(
        created=utc_timestamp(), host=host_facts(), measured_on=samples[0].first.host, detector=records[0].detector, cores=resources.cores,
        gpus=resources.gpus, link=request.link, host_ms=request.host_ms, load=request.load, rate_hz=request.rate_hz, core_price=request.core_price,
        gpu_price=request.gpu_price, seed=request.seed, notes=_notes(samples, records),
        studies=[_study(sample, request, advance) for sample in samples],
    )  # fmt: skip


def _study(sample: StageSample, request: PlacementRequest, advance: Advance) -> PlacementStudy:
    found = placements(sample, request.link, request.resources)
    chosen = [one for one in found if one.events_per_second > 0][: request.simulated]
    on_cpu = next(one for one in found if set(one.stages.split()) == {HOST})
    if request.simulated and on_cpu not in chosen:
        chosen.append(on_cpu)
    simulated = []
    for one in chosen:
        simulated.append(
            simulate_placement(
                sample, one, request.link, request.resources, load=request.load, events=request.events, seed=request.seed
            )
        )  # fmt: skip
        advance(1)
    first = sample.first
    return PlacementStudy(
        name=Path(first.source).name, pile_up=first.pile_up, cells_per_event=first.cells_per_event, events=first.events,
        measured=[record.created for record in sample.records], stages=list(sample.stages), boundaries=list(sample.boundaries),
        placements=found, knees=knees(found, request.resources),
        purchases=[] if request.rate_hz is None else purchases(
            found, request.rate_hz, request.load, request.core_price, request.gpu_price
        ),
        simulated=simulated, runs=_runs(sample, on_cpu),
    )  # fmt: skip


def _runs(sample: StageSample, on_cpu: Placement) -> list[MeasuredPlacement]:
    """Return the measured rates of runs on the CPU against cores / CPU time."""
    return [
        MeasuredPlacement(
            source=record.source, workers=record.workers,
            outside_ms=1e3 * record.workers / record.events_per_second - record.together.mean_ms, predicted_events_per_second=1e3 * record.workers / on_cpu.cpu_ms,
            measured_events_per_second=record.events_per_second,
        )
        for record in sample.records
        if record.events_per_second is not None and all(one.device == "cpu" for one in record.stages)
    ]  # fmt: skip


def _notes(samples: Sequence[StageSample], records: Sequence[TrackingRecord]) -> list[str]:
    notes = []
    fixed = list(dict.fromkeys(stage.name for one in samples for stage in one.stages if stage.gpu_ms is None))
    if fixed:
        notes.append(
            f"no GPU time is known of {', '.join(fixed)}, so they stay on the CPU; run `tamis track EVENTS --stages all=cuda --record gpu.json` "
            "on a host with a GPU, or give --gpu-time STAGE=MS"
        )
    given = [
        stage.gpu_source
        for one in samples
        for stage in one.stages
        if stage.gpu_source not in ("", MEASURED_SOURCE)
    ]
    notes += [f"GPU times that were not measured by tamis: {source}" for source in dict.fromkeys(given)]
    times = [
        {stage.name: stage.gpu_ms for stage in one.stages if stage.gpu_ms is not None} for one in samples
    ]
    constant = [name for name in times[0] if len({one.get(name) for one in times}) == 1]
    if len(samples) > 1 and constant:
        notes.append(
            f"the GPU time of {', '.join(constant)} is the same for events of every size, so the comparison of sizes is not reliable: "
            "give it by pile-up in a file (--gpu-times)"
        )
    if any(record.simulated_gpu for record in records):
        notes.append("times of Numba's CUDA simulator were left out: they are not those of a GPU")
    hosts = sorted({one.first.host.cpu for one in samples})
    if len(hosts) > 1:
        notes.append(f"the CPU times are of different hosts: {', '.join(hosts)}")
    return notes
