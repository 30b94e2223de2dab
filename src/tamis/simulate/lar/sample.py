"""The stream of the calorimeter's data quality: clusters, events or steps of a second, in pieces of a few blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from tamis._base import UsageError, did_you_mean
from tamis.events import Events
from tamis.simulate.lar.beam import BEAMS, EVENTS_PER_SECOND, MODES, Blocks, Mode, make_blocks
from tamis.simulate.lar.bursts import BurstEvents, burst_events
from tamis.simulate.lar.clusters import as_integers
from tamis.simulate.lar.faults import FAULT_SETS, KINDS, FaultKind, StreamFault, draw_faults
from tamis.simulate.lar.regions import MOST, REGIONS, SUMS
from tamis.simulate.lar.single import cluster_columns, draw_clusters
from tamis.simulate.lar.sums import SlowChanges, StreamRows, cluster_kinds, draw_rows, slow_changes
from tamis.simulate.parallel import check_simulation, in_order
from tamis.simulate.seeds import Seeds

Detail = Literal["clusters", "events", "steps"]
PIECE_BLOCKS: dict[Detail, int] = {"clusters": 1, "events": 5, "steps": 240}
CLUSTERS_S, CLUSTER_MINUTES = 2, 30  # in a piece with single clusters, and in a stream of them at most
EVENTS_IN_SECOND_MOST = 10_000  # in a second, for numbers of events that differ
PROCESS = 90  # of seeds
MODE_NUMBERS: dict[Mode, int] = {"pp": 1, "pbpb": 2}


@dataclass(frozen=True)
class LarStream:
    """What to simulate."""

    mode: Mode = "pp"
    hours: float = 1.0
    faults: str = "known"  # a set, or names of kinds
    fault_rate: float = 1.0
    detail: Detail = "events"
    seed: int = 1


@dataclass(frozen=True)
class StreamPlan:
    """Blocks, slow changes and faults of a whole stream, which are drawn before its rows."""

    stream: LarStream
    blocks: Blocks
    slow: SlowChanges
    faults: list[StreamFault] = field(default_factory=list)


def fault_kinds(text: str) -> tuple[FaultKind, ...]:
    """Return the kinds of a set, or of names with commas between."""
    if text in FAULT_SETS:
        return FAULT_SETS[text]
    kinds = []
    for name in text.split(","):
        if name not in KINDS:
            known = (*FAULT_SETS, *KINDS)
            raise UsageError(
                f"no fault is called {name!r}: {did_you_mean(name, known) or 'there are ' + ', '.join(known)}"
            )
        kinds.append(KINDS[name])
    return tuple(kinds)


def plan_stream(stream: LarStream) -> StreamPlan:
    """Return the plan of a stream."""
    if stream.mode not in MODES:
        raise UsageError(f"the mode is {stream.mode!r}: it can be {' or '.join(MODES)}")
    if stream.detail == "clusters" and stream.hours * 60 > CLUSTER_MINUTES:
        raise UsageError(
            f"{stream.hours:g} hours of single clusters are too many (3 million in a second): ask for at most {CLUSTER_MINUTES / 60:g} hours, or for events"
        )
    if not stream.hours > 0:
        raise UsageError(f"a stream of {stream.hours:g} hours has no blocks: ask for more than 0")
    seeds = Seeds(stream.seed, PROCESS + MODE_NUMBERS[stream.mode], 0)
    blocks = make_blocks(stream.mode, stream.hours, seeds.stream("blocks"))
    slow = slow_changes(blocks, seeds.stream("slow"))
    faults = draw_faults(fault_kinds(stream.faults), blocks, seeds.stream("faults"), stream.fault_rate)
    return StreamPlan(stream, blocks, slow, faults)


def simulate_lar(plan: StreamPlan, workers: int = 1) -> Iterator[Events]:
    """Yield the rows of a stream in pieces of whole blocks, which do not depend on the number of workers."""
    check_simulation(len(plan.blocks), "blocks", plan.stream.seed, workers, collisions=False)
    size = PIECE_BLOCKS[plan.stream.detail]
    edges = [*range(0, len(plan.blocks), size), len(plan.blocks)]
    tasks = (
        (plan, first, last, second)
        for first, last in pairwise(edges)
        for second in (
            range(0, int(plan.blocks.seconds[first]), CLUSTERS_S)
            if plan.stream.detail == "clusters"
            else (0,)
        )
    )
    return in_order(_make_piece, tasks, workers if len(edges) > 2 or plan.stream.detail == "clusters" else 1)


def _make_piece(task: tuple[StreamPlan, int, int, int]) -> Events:
    plan, first, last, second = task
    seeds = Seeds(plan.stream.seed, PROCESS + MODE_NUMBERS[plan.stream.mode], 1 + first)
    begin, end = plan.blocks.begin_s[first], plan.blocks.begin_s[last - 1] + plan.blocks.seconds[last - 1]
    if plan.stream.detail == "clusters":
        begin, end = begin + second, min(begin + second + CLUSTERS_S, end)
    bursts = [
        burst_events(fault, seeds.part(number).stream("burst"))
        for number, fault in enumerate(plan.faults)
        if fault.is_burst and begin <= fault.begin_s < end
    ]
    if plan.stream.detail == "clusters":
        random = seeds.part(second).stream("clusters")
        return Events.of(_clusters(plan, first, second, end - begin, bursts, random))
    make = _events if plan.stream.detail == "events" else _steps
    return Events.of(make(plan, np.arange(first, last), bursts, seeds.stream("rows")))


def _steps(
    plan: StreamPlan, numbers: np.ndarray, bursts: list[BurstEvents], random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return a row for each second."""
    blocks = plan.blocks
    seconds = blocks.seconds[numbers]
    block = np.repeat(numbers, seconds)
    step = np.arange(len(block)) - np.repeat(np.cumsum(seconds) - seconds, seconds)
    at_s = (blocks.begin_s[block] + step).astype(float)
    events = random.poisson(EVENTS_PER_SECOND, len(block))
    sums, most = draw_rows(StreamRows(block, at_s + 0.5, events), blocks, plan.slow, plan.faults, random)
    for burst in bursts:
        row = np.searchsorted(at_s, burst.at_s, side="right") - 1
        extra = as_integers(burst.sums)
        np.add.at(sums[:, burst.region], row, extra)
        np.add.at(events, row, 1)
        np.maximum.at(most[:, burst.region], row, extra[:, 5])
    return (
        _identity(plan, block)
        | {
            "event": step.astype(np.uint64) + 1,
            "second": step.astype(np.float64),
            "events": events.astype(np.uint32),
        }
        | _columns(sums)
        | {f"{region}_{MOST}": most[:, r].astype(np.uint32) for r, region in enumerate(REGIONS)}
    )


def _events(
    plan: StreamPlan, numbers: np.ndarray, bursts: list[BurstEvents], random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return a row for each event, by time."""
    blocks = plan.blocks
    counts = random.poisson(EVENTS_PER_SECOND * blocks.seconds[numbers])
    block = np.repeat(numbers, counts)
    at_s = blocks.begin_s[block] + random.random(len(block)) * blocks.seconds[block]
    own = np.concatenate([at_s, *(burst.at_s for burst in bursts)])
    ends = blocks.begin_s[numbers] + blocks.seconds[numbers]
    of_burst = [
        numbers[np.searchsorted(ends, burst.at_s, side="right").clip(0, len(numbers) - 1)] for burst in bursts
    ]
    block = np.concatenate([block, *of_burst])
    order = np.argsort(own, kind="stable")
    block, at_s = block[order], own[order]
    sums, _ = draw_rows(StreamRows(block, at_s, np.ones(len(block))), blocks, plan.slow, plan.faults, random)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    taken = len(order) - sum(len(burst.at_s) for burst in bursts)
    for burst in bursts:
        sums[place[taken : taken + len(burst.at_s)], burst.region] += as_integers(burst.sums)
        taken += len(burst.at_s)
    first = np.searchsorted(block, block)  # of the block
    event = np.arange(len(block)) - first + 1
    begin = blocks.begin_s[block]
    return (
        _identity(plan, block)
        | {"event": event.astype(np.uint64), "second": (at_s - begin).astype(np.float64)}
        | _columns(sums)
    )


def _clusters(
    plan: StreamPlan,
    number: int,
    second: int,
    seconds: float,
    bursts: list[BurstEvents],
    random: np.random.Generator,
) -> dict[str, object]:
    """Return a row for each event of some seconds of a block, with its clusters and their sums."""
    blocks = plan.blocks
    begin = float(blocks.begin_s[number])
    count = int(random.poisson(EVENTS_PER_SECOND * seconds))
    own = np.concatenate([begin + second + seconds * random.random(count), *(burst.at_s for burst in bursts)])
    order = np.argsort(own, kind="stable")
    at_s, block = own[order], np.full(len(own), number)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    ends = np.cumsum([count, *(len(burst.at_s) for burst in bursts)]).tolist()
    of_bursts = [(burst, place[a:b]) for burst, a, b in zip(bursts, ends[:-1], ends[1:], strict=True)]
    kinds = cluster_kinds(StreamRows(block, at_s, np.ones(len(own))), blocks, plan.slow, plan.faults, random)
    clusters = [draw_clusters(kinds, of_bursts, region, len(own), random) for region in range(len(REGIONS))]
    event = second * EVENTS_IN_SECOND_MOST + np.arange(len(own)) + 1
    return (
        _identity(plan, block)
        | {"event": event.astype(np.uint64), "second": (at_s - begin).astype(np.float64)}
        | _columns(np.stack([one.sums() for one in clusters], axis=1))
        | cluster_columns(clusters)
    )


def _identity(plan: StreamPlan, block: np.ndarray) -> dict[str, np.ndarray]:
    blocks, mode = plan.blocks, plan.stream.mode
    return {
        "run": blocks.run[block], "luminosityBlock": blocks.number[block],
        "luminosity": (blocks.luminosity[block] / BEAMS[mode].luminosity).astype(np.float32),
        "pileup": blocks.mu[block].astype(np.float32), "beamMode": np.full(len(block), MODE_NUMBERS[mode], np.uint8),
    }  # fmt: skip


def _columns(sums: np.ndarray) -> dict[str, np.ndarray]:
    types = dict(zip(SUMS, (np.uint32, np.int64, np.int64, np.int64, np.int64, np.uint32), strict=True))
    return {
        f"{region}_{name}": sums[:, r, k].astype(types[name])
        for r, region in enumerate(REGIONS)
        for k, name in enumerate(SUMS)
    }
