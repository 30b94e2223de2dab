"""Placements of the stages on CPU and GPU: formulas against numbers by hand, knees, purchases, and the simulation against the formula."""

from __future__ import annotations

from itertools import product

import pytest

from tamis._base import DataError, UsageError, host_facts
from tamis.farm import (
    LINKS,
    PUBLISHED_GPU_TIMES,
    GpuTimesFile,
    PlacementRequest,
    PlacementResources,
    parse_gpu_times,
    parse_link,
    study_placements,
)
from tamis.farm.placement import knees, placements, purchases
from tamis.farm.placement_inputs import samples_of
from tamis.farm.placement_simulation import simulate_placement
from tamis.records import StageBoundary, StageTime, TrackingRecord

CPU_MS = {
    "clusters": 8.0, "space points": 2.0, "seeding": 40.0, "parameters": 4.0, "finding": 90.0, "ambiguity": 6.0, "fit": 20.0,
}  # fmt: skip
GPU_MS = {
    "clusters": 0.5, "space points": 0.25, "seeding": 2.0, "parameters": 0.25, "finding": 8.0, "ambiguity": 1.0, "fit": 3.0,
}  # fmt: skip
MEGABYTES = {
    "cells": (4.0, None, ["clusters"]),
    "clusters": (3.0, "clusters", ["space points", "parameters", "finding", "fit"]),
    "space points": (1.0, "space points", ["seeding", "parameters"]),
    "seeds": (0.5, "seeding", ["parameters", "finding"]),
    "parameters": (2.0, "parameters", ["finding"]),
    "found tracks": (5.0, "finding", ["ambiguity", "fit"]),
    "chosen tracks": (0.1, "ambiguity", ["fit"]),
    "tracks": (1.5, "fit", []),
}
SLOW = parse_link("1,100")  # 1 ms per MB and 0.1 ms per copy


def tracking_record(device="cpu", scale=1.0, **changes) -> TrackingRecord:
    times = CPU_MS if device == "cpu" else GPU_MS
    stages = [
        StageTime(stage=name, mean_ms=scale * ms, p50_ms=scale * ms, p99_ms=scale * ms, device=device)
        for name, ms in times.items()
    ]
    fields = {
        "created": "2026-11-30T00:00:00Z", "host": host_facts(), "source": "events.root", "detector": "generic", "events": 10, "broken": [],
        "tracks": 100, "cells_per_event": 1000.0 * scale, "pile_up": 100.0 * scale, "stages": stages,
        "together": StageTime(stage="together", mean_ms=170 * scale, p50_ms=170 * scale, p99_ms=170 * scale, device=device),
        "boundaries": [
            StageBoundary(name=name, written_by=writer, read_by=readers, count=1, bytes=1e6 * scale * size)
            for name, (size, writer, readers) in MEGABYTES.items()
        ],
    }  # fmt: skip
    return TrackingRecord(**fields | changes)


@pytest.fixture
def sample():
    (found,) = samples_of([tracking_record(), tracking_record("gpu")], [])
    return found


def by_letters(found):
    return {one.stages.replace(" ", ""): one for one in found}


def test_all_assignments_of_six_stages_are_there_in_order_of_throughput(sample):
    found = placements(sample, SLOW, PlacementResources(16, 1))
    assert {one.stages for one in found} == {" ".join(letters) for letters in product("CG", repeat=6)}
    rates = [one.events_per_second for one in found]
    assert rates == sorted(rates, reverse=True)
    for one in found:
        better = [
            other
            for other in found
            if other.events_per_second > one.events_per_second * (1 - 1e-9)
            and other.latency_ms < one.latency_ms
        ]
        assert one.on_front == (not better), one.stages


@pytest.mark.parametrize(
    ("letters", "cpu", "gpu", "to_gpu", "to_cpu", "copies"),
    [
        ("CCCCCC", 170, 0, 0, 0, 0),
        ("GGGGGG", 0, 15, 4, 1.5, 2),  # cells there, tracks back
        ("CCGCCC", 130, 2, 1, 0.5, 2),  # space points there, seeds back once for two readers
        ("CCCCGC", 80, 8, 3 + 0.5 + 2, 5, 4),
        ("CCCCCG", 144, 4, 3 + 5, 1.5, 3),
        ("GGGGCC", 116, 3, 4, 3 + 0.5 + 2, 4),  # the fit reads clusters too, which are copied once
        ("CGCCCC", 168, 0.25, 3, 1, 2),
    ],
)
def test_times_and_bytes_are_those_by_hand(sample, letters, cpu, gpu, to_gpu, to_cpu, copies):
    one = by_letters(placements(sample, SLOW, PlacementResources(16, 1)))[letters]
    assert (one.cpu_ms, one.gpu_ms, one.copies) == (pytest.approx(cpu), pytest.approx(gpu), copies)
    assert (one.to_gpu_bytes, one.to_cpu_bytes) == (pytest.approx(1e6 * to_gpu), pytest.approx(1e6 * to_cpu))
    link = to_gpu + to_cpu + 0.1 * copies
    assert one.link_ms == pytest.approx(link)
    assert one.latency_ms == pytest.approx(cpu + gpu + link)
    limits = {
        "cores": 16 / cpu if cpu else 1e9,
        "GPUs": 1 / gpu if gpu else 1e9,
        "links": 1 / link if link else 1e9,
    }
    assert one.bottleneck == min(limits, key=limits.get)
    assert one.events_per_second == pytest.approx(1e3 * min(limits.values()))


def test_a_slow_link_keeps_stages_on_the_cpu(sample):
    resources = PlacementResources(4, 1)
    assert placements(sample, parse_link("0.01,10"), resources)[0].stages == "C C C C C C"
    assert "G" in placements(sample, LINKS["pcie5"], resources)[0].stages


def test_the_knee_is_where_the_gpu_is_full(sample):
    found = placements(sample, LINKS["pcie5"], PlacementResources(16, 1))
    best = found[0]
    cores, gpus = knees(found, PlacementResources(16, 1))
    full = best.cpu_ms / max(best.gpu_ms, best.link_ms)  # cores that fill one GPU
    assert full - 1 <= cores.count <= full + 1
    points = {point.count: point.events_per_second for point in cores.points}
    assert points[cores.count] == pytest.approx(cores.events_per_second)
    assert max(points.values()) <= 1e3 / best.gpu_ms * 1.001
    assert all(point.best_events_per_second >= point.events_per_second for point in cores.points)
    assert gpus.points[0].count == 0
    assert gpus.points[0].best == "C C C C C C"


def test_without_a_gpu_every_core_brings_as_much(sample):
    found = placements(sample, LINKS["pcie5"], PlacementResources(16, 0))
    assert found[0].stages == "C C C C C C"
    assert by_letters(found)["GGGGGG"].events_per_second == 0
    cores, gpus = knees(found, PlacementResources(16, 0))
    assert (cores.count, gpus.count) == (None, 0)


def test_purchases_reach_the_rate_with_the_least(sample):
    found = placements(sample, LINKS["pcie5"], PlacementResources(16, 1))
    bought = purchases(found, 1000, 1.0)
    assert {(one.cores, one.gpus) for one in bought if one.stages == "C C C C C C"} == {(170, 0)}
    assert {(one.cores, one.gpus) for one in bought if one.stages == "G G G G G G"} == {(1, 15)}
    for one in bought:
        assert one.events_per_second >= 1000 * (1 - 1e-6)
        assert not [
            other
            for other in bought
            if other is not one and other.cores <= one.cores and other.gpus <= one.gpus
        ]
    assert purchases(found, 1000, 1.0, 1.0, 1e6)[0].gpus == 0
    assert purchases(found, 1000, 1.0, 1e6, 1.0)[0].cores == 1
    assert purchases(found, 1000, 0.5, 1.0, 1e6)[0].cores == 340


@pytest.mark.parametrize("letters", ["CCCCCC", "CCGGCC", "GGGGGG", "GGGGCC"])
@pytest.mark.parametrize("link", ["pcie5", "0.2,50"])
def test_the_simulation_agrees_with_the_formula(sample, letters, link):
    link = parse_link(link)
    resources = PlacementResources(6, 1)
    one = by_letters(placements(sample, link, resources))[letters]
    found = simulate_placement(sample, one, link, resources, load=0.8, events=1500, seed=3)
    assert found.saturated_events_per_second == pytest.approx(one.events_per_second, rel=0.03)
    busy = {"cores": found.cores_busy, "GPUs": found.gpus_busy, "links": found.links_busy}
    assert max(busy, key=busy.get) == one.bottleneck
    assert busy[one.bottleneck] == pytest.approx(0.8, abs=0.06)
    assert found.latency.p50_us >= 1e3 * one.latency_ms * 0.999
    assert found.latency.p99_us > found.latency.p50_us


def test_gpu_times_come_from_options_before_records():
    records = [tracking_record(), tracking_record("gpu")]
    (sample,) = samples_of(records, [parse_gpu_times(["finding=5", "space-points=0.125"])])
    found = {stage.name: (stage.gpu_ms, stage.gpu_source) for stage in sample.stages}
    assert found["finding"] == (5.0, "--gpu-time")
    assert found["space points"] == (0.125, "--gpu-time")
    assert found["seeding"] == (2.0, "measured")
    assert found["ambiguity + fit"] == (4.0, "measured")


def test_times_of_the_simulator_are_not_those_of_a_gpu():
    with pytest.raises(DataError, match=r"no GPU time .*clusters, space points.* --stages all=cuda"):
        samples_of([tracking_record(), tracking_record("gpu", simulated_gpu=True)], [])
    record = study_placements(
        [tracking_record(), tracking_record("gpu", simulated_gpu=True)],
        [parse_gpu_times(["seeding=2"])],
        PlacementRequest(PlacementResources(4, 1), SLOW, simulated=0),
    )
    assert len(record.studies[0].placements) == 2
    assert any("simulator" in note for note in record.notes)
    assert any("stay on the CPU" in note for note in record.notes)


def test_published_times_are_of_large_events_and_of_two_stages_together():
    with pytest.raises(DataError, match="368478 cells"):
        samples_of([tracking_record()], [PUBLISHED_GPU_TIMES])
    (sample,) = samples_of([tracking_record(cells_per_event=360_000.0)], [PUBLISHED_GPU_TIMES])
    assert [stage.name for stage in sample.stages] == [
        "clusters + space points", "seeding", "parameters", "finding", "ambiguity + fit"
    ]  # fmt: skip
    assert [stage.gpu_ms is None for stage in sample.stages] == [False, False, False, True, True]
    assert sample.stages[0].cpu_ms == 10.0
    assert len(placements(sample, SLOW, PlacementResources(16, 1))) == 8


def test_the_best_placement_changes_with_the_size_of_the_events():
    times = {name: {0: 4.0, 100: ms} for name, ms in GPU_MS.items()}  # small events do not fill a GPU
    record = study_placements(
        [tracking_record(scale=scale) for scale in (0.05, 1.0)],
        [GpuTimesFile(source="a guess", times=times)],
        PlacementRequest(PlacementResources(16, 1), LINKS["pcie5"], simulated=0),
    )
    small, large = record.studies
    assert (small.pile_up, large.pile_up) == (5.0, 100.0)
    assert small.placements[0].stages == "C C C C C C"
    assert "G" in large.placements[0].stages
    assert large.stages[2].gpu_ms == 2.0
    assert small.stages[2].gpu_ms == pytest.approx(4 - 2 * 0.05)


def test_measured_runs_are_compared_with_the_formula():
    runs = [tracking_record(workers=workers, events_per_second=5.0 * workers) for workers in (1, 2)]
    record = study_placements(
        runs,
        [parse_gpu_times(["seeding=2"])],
        PlacementRequest(PlacementResources(4, 1), SLOW, host_ms=30.0, simulated=0),
    )
    assert [(one.workers, one.predicted_events_per_second) for one in record.studies[0].runs] == [
        (1, pytest.approx(5)), (2, pytest.approx(10))
    ]  # fmt: skip
    assert [one.outside_ms for one in record.studies[0].runs] == [pytest.approx(30), pytest.approx(30)]


@pytest.mark.parametrize("text", ["pcie6", "25", "25,x", "0,1", "-1,2", "nan,1"])
def test_unknown_links_are_rejected(text):
    with pytest.raises(UsageError, match=r"pcie3|25,8"):
        parse_link(text)


@pytest.mark.parametrize("option", ["seeding", "seeding=fast", "sedding=2", "seeding=0", "seeding=-1"])
def test_wrong_gpu_times_are_rejected(option):
    with pytest.raises(UsageError, match="gpu-time"):
        samples_of([tracking_record()], [parse_gpu_times([option])])
