"""Discrete-event simulation of placements, with simpy: cores, GPUs and links with a queue each, which events pass from stage to stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp
from typing import Any

import numpy as np

from tamis._base import require
from tamis.farm.placement import ACCELERATOR, HOST, PlacementResources, copies, copy_ms
from tamis.farm.placement_inputs import StageSample
from tamis.farm.server import Process
from tamis.farm.simulation import WARM_UP_FRACTION
from tamis.records import Latency, Placement, PlacementLink, SimulatedPlacement

SATURATING_EVENTS = 8  # events per core and GPU that saturate everything
LINK_POOL = "L"


@dataclass(frozen=True)
class _Visit:
    """One occupation of a core, a GPU or a link; `spread` is the sigma of a log-normal time."""

    at: str
    seconds: float
    spread: float = 0.0


@dataclass
class _Flow:
    """Events that pass through their visits one after the other."""

    env: Any
    pools: dict[str, Any]
    visits: list[_Visit]
    rng: np.random.Generator
    done_s: list[float] = field(default_factory=list)
    latency_s: list[float] = field(default_factory=list)
    busy_s: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys((HOST, ACCELERATOR, LINK_POOL), 0.0)
    )

    def event(self) -> Process:
        """Pass one event through; a large event is large in all of its stages."""
        began, size = self.env.now, float(self.rng.standard_normal())
        for visit in self.visits:
            seconds = visit.seconds * exp(size * visit.spread - visit.spread**2 / 2)
            with self.pools[visit.at].request() as turn:
                yield turn
                yield self.env.timeout(seconds)
            self.busy_s[visit.at] += seconds
        self.done_s.append(self.env.now)
        self.latency_s.append(self.env.now - began)

    def client(self, events: int) -> Process:
        """Send events one after the other until enough are done."""
        while len(self.done_s) < events:
            yield from self.event()

    def arrivals(self, events: int, rate_hz: float) -> Process:
        """Let events arrive at random."""
        for _ in range(events):
            yield self.env.timeout(self.rng.exponential(1 / rate_hz))
            self.env.process(self.event())


def simulate_placement(
    sample: StageSample,
    placement: Placement,
    link: PlacementLink,
    resources: PlacementResources,
    *,
    load: float,
    events: int,
    seed: int = 1,
) -> SimulatedPlacement:
    """Simulate a placement when saturated, and with random arrivals at a fraction `load` of its throughput by the formula."""
    visits = _visits(sample, placement.stages.split(), link)
    warm_up = round(WARM_UP_FRACTION * events)
    full = _flow(visits, resources, seed)
    for _ in range(SATURATING_EVENTS * (resources.cores + resources.gpus)):
        full.env.process(full.client(events))
    full.env.run()
    saturated = (events - 1 - warm_up) / (full.done_s[events - 1] - full.done_s[warm_up])
    offered = load * placement.events_per_second
    loaded = _flow(visits, resources, seed + 1)
    loaded.env.process(loaded.arrivals(events, offered))
    loaded.env.run()
    seconds = float(loaded.env.now)
    counts = {HOST: resources.cores, ACCELERATOR: resources.gpus, LINK_POOL: resources.gpus}
    cores_busy, gpus_busy, links_busy = (
        loaded.busy_s[pool] / seconds / max(count, 1) for pool, count in counts.items()
    )
    return SimulatedPlacement(
        stages=placement.stages, formula_events_per_second=placement.events_per_second, saturated_events_per_second=saturated,
        offered_events_per_second=offered, latency=Latency.of(np.array(loaded.latency_s[warm_up:])),
        cores_busy=cores_busy, gpus_busy=gpus_busy, links_busy=links_busy,
    )  # fmt: skip


def _flow(visits: list[_Visit], resources: PlacementResources, seed: int) -> _Flow:
    simpy = require("simpy", extra="farm", purpose="simulating placements")
    env = simpy.Environment()
    counts = {HOST: resources.cores, ACCELERATOR: resources.gpus, LINK_POOL: resources.gpus}
    pools = {name: simpy.Resource(env, max(count, 1)) for name, count in counts.items()}
    return _Flow(env, pools, visits, np.random.default_rng(seed))


def _visits(sample: StageSample, letters: list[str], link: PlacementLink) -> list[_Visit]:
    """Return the visits of an event: each copy comes after the stage that writes it."""
    copied: dict[str | None, list[_Visit]] = {}
    for boundary, _ in copies(sample, letters):
        copied.setdefault(boundary.written_by, []).append(_Visit(LINK_POOL, copy_ms(boundary, link) / 1e3))
    visits = [_Visit(HOST, sample.host_ms / 1e3)] if sample.host_ms else []
    visits += copied.get(None, [])
    for stage, letter in zip(sample.stages, letters, strict=True):
        on_cpu = letter == HOST
        time_ms = stage.cpu_ms if on_cpu else stage.gpu_ms or 0.0
        visits.append(_Visit(letter, time_ms / 1e3, stage.cpu_spread if on_cpu else 0.0))
        for name in stage.stages:
            visits += copied.get(name, [])
    return visits
