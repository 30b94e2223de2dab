"""How many servers a rate takes, with which batching delay, at which p99 and cost, and what happens when one dies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, exp, log

import numpy as np

from tamis._base import Advance, DataError, host_facts, utc_timestamp
from tamis.farm.calibrate import Calibration, calibrate
from tamis.farm.formula import Workload
from tamis.farm.outcome import SimulationResult
from tamis.farm.published import study_knee
from tamis.farm.settings import Closed, Death, Farm, Network, Open, Patience
from tamis.farm.simulation import simulate
from tamis.records import (
    Assumptions,
    DeathEffect,
    DelayStudy,
    FarmCosts,
    FarmRecord,
    Knee,
    RatePoint,
    TrafficRecord,
)

DELAYS_MS = (0.0, 1.0, 2.0, 5.0, 10.0)
SHARES = (0.05, 0.25, 0.45, 0.6, 0.7, 0.8, 0.88, 0.95)  # of what a server can do at most
REQUESTS = 6_000  # of a point of a curve
CELL = 8  # servers that are simulated together when one of them dies
KNEE_SHARES = (0.02, 0.25, 0.5, 0.7, 0.85, 1.0, 1.15, 1.4, 1.8)
KNEE_CLIENTS_MOST = 400
DEFAULTS = Assumptions()
SECONDS_PER_YEAR = 365.25 * 86_400


@dataclass(frozen=True)
class FarmRequirements:
    """What a farm has to do."""

    rate_hz: float
    p99_s: float
    assumptions: Assumptions = DEFAULTS
    seed: int = 1
    requests: int = REQUESTS


def steps_of(question: FarmRequirements) -> int:
    """Return how many steps a study takes, for a bar of its progress."""
    return len(_delays(question)) * len(SHARES) + 3 + len(KNEE_SHARES)


def size_farm(
    records: Sequence[TrafficRecord], question: FarmRequirements, advance: Advance = lambda _: None
) -> FarmRecord:
    """Answer from records of loads."""
    points = [point for record in records for point in record.points]
    told = calibrate(points, records[-1].batching, seed=question.seed)
    farm = _farm_of(told, question.assumptions)
    delays = [_study_delay(farm, delay_ms, question, advance) for delay_ms in _delays(question, told)]
    best = _best(delays, question, farm)
    farm = _with_delay(farm, best.delay_ms)
    servers, at_work = _checked(farm, best, question)
    advance(1)
    assert best.rate_hz is not None  # noqa: S101 - the best has one
    spare = max(servers, ceil(question.rate_hz / min(best.rate_hz, question.rate_hz / servers)) + 1)
    deaths = [_die(farm, spare, silent, question, advance) for silent in (False, True)]
    mean_s = at_work.latency.mean_us / 1e6
    alone_s = farm.server.service.at(farm.rows)
    return FarmRecord(
        created=utc_timestamp(),
        host=host_facts(),
        measured_on=records[-1].host,
        measured=tuple(record.created for record in records),
        server=f"{records[-1].server} {records[-1].server_version}",
        model=records[-1].model,
        rows=told.rows,
        service_ms={
            rows: 1e3 * s
            for rows, s in zip(told.server.service.rows, told.server.service.seconds, strict=True)
        },
        loop_us=1e6 * (told.server.in_s + told.server.out_s),
        flight_us=1e6 * float(np.median(told.network.flight_s)),
        rows_most=told.server.policy.rows_most,
        capacity_hz=_capacity_hz(farm),
        rate_hz=question.rate_hz,
        p99_ms=1e3 * question.p99_s,
        seed=question.seed,
        assumptions=question.assumptions,
        delays=tuple(delays),
        delay_ms=best.delay_ms,
        servers=servers,
        servers_with_spare=spare,
        at_work=at_work,
        deaths=tuple(deaths),
        farm=_costs(spare, mean_s, question),
        in_process=_costs(0, alone_s, question),
        knee=_knee(farm, question, advance),
    )


def _farm_of(told: Calibration, assumed: Assumptions) -> Farm:
    network = Network(
        told.network.flight_s,
        assumed.travel_ms / 1e3,
        assumed.gbit_per_s * 1e9 / 8,
        told.network.request_bytes,
    )
    # A client that falls back computes as long as the server would have.
    patience = Patience(fallback_s=told.server.service.at(told.rows))
    return Farm(
        told.server, Open(1.0), network=network, patience=patience, rows=told.rows, clocks=told.clocks()
    )


def _delays(question: FarmRequirements, told: Calibration | None = None) -> list[float]:
    """Return the delays worth trying: none where the server does not batch."""
    if told is not None and told.server.policy.delay_s is None:
        return [0.0]
    return [delay for delay in DELAYS_MS if delay / 1e3 <= question.p99_s / 2]


def _with_delay(farm: Farm, delay_ms: float) -> Farm:
    policy = farm.server.policy
    if policy.delay_s is None:
        return farm
    return replace(
        farm, server=replace(farm.server, policy=replace(policy, delay_s=delay_ms / 1e3, preferred=()))
    )


def _capacity_hz(farm: Farm) -> float:
    """Return how many requests a server can do at most: batches of any size that it may make, whichever is best."""
    server = farm.server
    most = max(1, server.policy.rows_most // farm.rows) if server.policy.delay_s is not None else 1
    loop_s = server.in_s + server.out_s
    return max(
        n / (server.service.at(n * farm.rows) / server.instances + n * loop_s) for n in range(1, most + 1)
    )


def _point(rate_hz: float, outcome: SimulationResult) -> RatePoint:
    return RatePoint(
        rate_hz=rate_hz,
        answered_hz=outcome.requests_per_s,
        latency=outcome.latency,
        wait_us=outcome.wait_us,
        compute_us=outcome.compute_us,
        transport_us=outcome.transport_us,
        utilisation=outcome.utilisation,
        rows_per_batch=outcome.rows_per_batch,
    )


def _study_delay(farm: Farm, delay_ms: float, question: FarmRequirements, advance: Advance) -> DelayStudy:
    farm, capacity = _with_delay(farm, delay_ms), _capacity_hz(farm)
    points = []
    for share in SHARES:
        loaded = replace(farm, load=Open(share * capacity))
        points.append(
            _point(share * capacity, simulate(loaded, requests=question.requests, seed=question.seed))
        )
        advance(1)
    return DelayStudy(delay_ms=delay_ms, rate_hz=rate_within(points, question.p99_s), points=tuple(points))


def rate_within(points: Sequence[RatePoint], p99_s: float) -> float | None:
    """Return the rate up to which p99 stays within a bound, between the points on a straight line of its logarithm."""
    last: RatePoint | None = None
    for point in points:
        if point.latency.p99_us / 1e6 > p99_s:
            if last is None:
                return None
            low, high = log(last.latency.p99_us), log(point.latency.p99_us)
            share = (log(p99_s * 1e6) - low) / (high - low)
            return exp(log(last.rate_hz) + share * (log(point.rate_hz) - log(last.rate_hz)))
        last = point
    return points[-1].rate_hz


def servers_needed(
    delay: DelayStudy, rate_hz: float, targets_ms: Sequence[float]
) -> list[tuple[float, float]]:
    """Return how many servers each p99 takes; targets that none reaches are left out."""
    found = ((target, rate_within(delay.points, target / 1e3)) for target in targets_ms)
    return [(target, max(1.0, rate_hz / rate)) for target, rate in found if rate is not None]


def _best(delays: Sequence[DelayStudy], question: FarmRequirements, farm: Farm) -> DelayStudy:
    able = [delay for delay in delays if delay.rate_hz is not None]
    if not able:
        least = min(delay.points[0].latency.p99_us for delay in delays) / 1e3
        raise DataError(
            f"no number of servers reaches a p99 of {1e3 * question.p99_s:g} ms: a server that is nearly idle has {least:.3g} ms "
            f"for requests of {farm.rows} rows; allow more, or measure a quicker engine or smaller requests"
        )
    # A longer delay has to pay: 2 % is what chance gives.
    most = max(delay.rate_hz or 0.0 for delay in able)
    return next(delay for delay in able if (delay.rate_hz or 0.0) >= 0.98 * most)


def _checked(farm: Farm, best: DelayStudy, question: FarmRequirements) -> tuple[int, RatePoint]:
    """Return the servers that hold p99 in a longer simulation, and one of them at work."""
    assert best.rate_hz is not None  # noqa: S101 - the best has one
    servers = max(1, ceil(question.rate_hz / best.rate_hz))
    for _ in range(40):
        rate = question.rate_hz / servers
        outcome = simulate(
            replace(farm, load=Open(rate)), requests=5 * question.requests, seed=question.seed + 1
        )
        if outcome.latency.p99_us <= 1e6 * question.p99_s:
            break
        servers += max(1, servers // 50)
    return servers, _point(rate, outcome)


def _die(farm: Farm, servers: int, silent: bool, question: FarmRequirements, advance: Advance) -> DeathEffect:
    """Let one of the servers die: some of them stand for all, and the others bear more than they would in the whole farm."""
    cell = min(servers, CELL)
    rate = cell * question.rate_hz / servers
    requests = 2 * question.requests
    death = Death(requests / rate / 2, silent=silent)
    patience = replace(farm.patience, timeout_s=max(0.02, 2 * question.p99_s))
    several = replace(farm, load=Open(rate), servers=cell, patience=patience)
    before = simulate(several, requests=requests, seed=question.seed)
    around = simulate(replace(several, death=death), requests=requests, seed=question.seed, warm_up=0.0)
    left = max(1, servers - 1)
    after = simulate(
        replace(farm, load=Open(question.rate_hz / left)), requests=requests, seed=question.seed + 2
    )
    advance(1)
    return DeathEffect(
        simulated_servers=cell,
        silent=silent,
        p99_before_us=before.latency.p99_us,
        p99_around_us=around.latency.p99_us,
        p99_after_us=after.latency.p99_us,
        asked_again=around.retried,
        fell_back=around.fallbacks,
        lost=around.lost,
        requests=around.requests,
    )


def _costs(servers: int, away_s: float, question: FarmRequirements) -> FarmCosts:
    """Return what the farm costs; a client waits for its answer, and its core waits with it."""
    assumed = question.assumptions
    cores = ceil(question.rate_hz * (assumed.client_ms / 1e3 + away_s))
    cost = servers * assumed.server_cost + cores * assumed.client_cost
    power = servers * assumed.server_power_w + cores * assumed.client_power_w
    events = question.rate_hz * assumed.years * SECONDS_PER_YEAR
    return FarmCosts(
        servers=servers,
        client_cores=cores,
        cost=cost,
        cost_per_million_events=1e6 * cost / events,
        power_w=power,
        joules_per_event=power / question.rate_hz,
    )


def _knee(farm: Farm, question: FarmRequirements, advance: Advance) -> Knee:
    """Let clients share one server, as the formula has it: what a saturated server takes for an event, and the way there."""
    own_s, local_s = question.assumptions.client_ms / 1e3, farm.server.service.at(farm.rows)
    network = farm.network
    latency_s = (
        2 * network.travel_s
        + float(np.mean(network.flight_s))
        + network.request_bytes / network.bytes_per_s
        + max(0.0, local_s - 1.0 / _capacity_hz(farm))
    )
    workload = Workload(own_s + local_s, local_s / (own_s + local_s), 1.0 / _capacity_hz(farm), latency_s)
    most = min(workload.knee, KNEE_CLIENTS_MOST)
    clients = sorted({max(1, round(share * most)) for share in KNEE_SHARES})
    return study_knee(
        workload,
        replace(farm, load=Closed(1)),
        clients,
        None,
        question.seed,
        advance,
        events=max(10, question.requests // 60),
    )
