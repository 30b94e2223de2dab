"""The published ProtoDUNE chain, by the formula and simulated: at how many clients one GPU server saturates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tamis._base import Advance, host_facts, utc_timestamp
from tamis.farm.clock import Clock, SteadyClock
from tamis.farm.formula import PUBLISHED, PUBLISHED_CLIENTS, TRANSMISSION_S, Workload, readings
from tamis.farm.settings import Closed, Farm, Network, ServerSpec, ServiceTimes
from tamis.farm.simulation import simulate
from tamis.records import Knee, KneePoint, PublishedRecord

STUDIED_CLIENTS = (1, 10, 20, 30, 40, 50, 55, 60, 64, 66, 68, 70, 72, 76, 80, 90, 100, 120, 140)
EVENTS = 100  # simulated per client
LEAST_CLIENTS = 20  # with fewer clients, as many events in total as with this number
STEADY: Sequence[Clock] = (SteadyClock(),)


def published_steps() -> int:
    """Return the number of steps of the study, for a progress bar."""
    return len(STUDIED_CLIENTS)


def study_published(
    seed: int = 1, advance: Advance = lambda _: None, *, clients: Sequence[int] = STUDIED_CLIENTS
) -> PublishedRecord:
    """Reproduce the published study."""
    server = ServerSpec(ServiceTimes((1,), (PUBLISHED.server_s,)))
    own = Network((PUBLISHED.latency_s,))
    shared = Network(
        (PUBLISHED.latency_s - TRANSMISSION_S,), bytes_per_s=1.0 / TRANSMISSION_S, request_bytes=1
    )
    return PublishedRecord(
        created=utc_timestamp(),
        host=host_facts(),
        published_clients=PUBLISHED_CLIENTS,
        readings={name: workload.knee for name, workload in readings().items()},
        shared_line_knee=PUBLISHED.ideal_s / TRANSMISSION_S,
        seed=seed,
        knee=study_knee(PUBLISHED, Farm(server, Closed(1), network=own), clients, shared, seed, advance),
    )


def study_knee(
    workload: Workload,
    farm: Farm,
    clients: Sequence[int],
    shared: Network | None = None,
    seed: int = 1,
    advance: Advance = lambda _: None,
    *,
    events: int = EVENTS,
) -> Knee:
    """Return the time per event for increasing numbers of clients on one server, by the formula and simulated."""
    points = []
    for count in clients:
        fixed = replace(farm, load=Closed(count, workload.own_s, "fixed"))
        random = replace(farm, load=Closed(count, workload.own_s))
        points.append(
            KneePoint(
                clients=count,
                formula_s=workload.time_per_event_s(count),
                fixed_s=_time_per_event_s(fixed, count, events, seed),
                random_s=_time_per_event_s(random, count, events, seed),
                shared_s=_time_per_event_s(replace(fixed, network=shared), count, events, seed)
                if shared
                else None,
            )
        )
        advance(1)
    return Knee(
        cpu_s=workload.cpu_s,
        moved=workload.moved,
        server_s=workload.server_s,
        latency_s=workload.latency_s,
        knee=workload.knee,
        gain=workload.gain,
        points=tuple(points),
    )


def _time_per_event_s(farm: Farm, clients: int, events: int, seed: int) -> float:
    return (
        clients
        / simulate(farm, requests=events * max(LEAST_CLIENTS, clients), seed=seed, warm_up=0.3).requests_per_s
    )
