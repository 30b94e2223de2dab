"""The number of servers for a rate and a p99 target: batching delay, cost, power, and the effect of a server's death."""

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
LOAD_SHARES = (0.05, 0.25, 0.45, 0.6, 0.7, 0.8, 0.88, 0.95)  # of the capacity of a server
REQUESTS = 6_000  # simulated per point of a curve
CELL = 8  # most servers simulated together for the death of one of them
KNEE_SHARES = (0.02, 0.25, 0.5, 0.7, 0.85, 1.0, 1.15, 1.4, 1.8)
KNEE_CLIENTS_MOST = 400
DEFAULTS = Assumptions()
SECONDS_PER_YEAR = 365.25 * 86_400


@dataclass(frozen=True)
class FarmRequirements:
    """What a farm must achieve: a rate within a p99 latency."""

    rate_hz: float
    p99_s: float
    assumptions: Assumptions = DEFAULTS
    seed: int = 1
    requests: int = REQUESTS


def steps_of(requirements: FarmRequirements) -> int:
    """Return the number of steps of a study, for a progress bar."""
    return len(_delays(requirements)) * len(LOAD_SHARES) + 3 + len(KNEE_SHARES)


def size_farm(
    records: Sequence[TrafficRecord], requirements: FarmRequirements, advance: Advance = lambda _: None
) -> FarmRecord:
    """Size a farm from records of loads on one server."""
    points = [point for record in records for point in record.points]
    calibration = calibrate(points, records[-1].batching, seed=requirements.seed)
    farm = _farm_of(calibration, requirements.assumptions)
    delays = [
        _study_delay(farm, delay_ms, requirements, advance) for delay_ms in _delays(requirements, calibration)
    ]
    best = _best(delays, requirements, farm)
    farm = _with_delay(farm, best.delay_ms)
    servers, at_work = _checked(farm, best, requirements)
    advance(1)
    assert best.rate_hz is not None  # noqa: S101 - checked in _best
    spare = max(servers, ceil(requirements.rate_hz / min(best.rate_hz, requirements.rate_hz / servers)) + 1)
    deaths = [_die(farm, spare, silent, requirements, advance) for silent in (False, True)]
    mean_s = at_work.latency.mean_us / 1e6
    alone_s = farm.server.service.at(farm.rows)
    return FarmRecord(
        created=utc_timestamp(),
        host=host_facts(),
        measured_on=records[-1].host,
        measured=tuple(record.created for record in records),
        server=f"{records[-1].server} {records[-1].server_version}",
        model=records[-1].model,
        rows=calibration.rows,
        service_ms={
            rows: 1e3 * s
            for rows, s in zip(
                calibration.server.service.rows, calibration.server.service.seconds, strict=True
            )
        },
        loop_us=1e6 * (calibration.server.in_s + calibration.server.out_s),
        flight_us=1e6 * float(np.median(calibration.network.flight_s)),
        rows_most=calibration.server.policy.rows_most,
        capacity_hz=_capacity_hz(farm),
        rate_hz=requirements.rate_hz,
        p99_ms=1e3 * requirements.p99_s,
        seed=requirements.seed,
        assumptions=requirements.assumptions,
        delays=tuple(delays),
        delay_ms=best.delay_ms,
        servers=servers,
        servers_with_spare=spare,
        at_work=at_work,
        deaths=tuple(deaths),
        farm=_costs(spare, mean_s, requirements),
        in_process=_costs(0, alone_s, requirements),
        knee=_knee(farm, requirements, advance),
    )


def _farm_of(calibration: Calibration, assumed: Assumptions) -> Farm:
    network = Network(
        calibration.network.flight_s,
        assumed.travel_ms / 1e3,
        assumed.gbit_per_s * 1e9 / 8,
        calibration.network.request_bytes,
    )
    # On the client, the model takes as long as on the server.
    patience = Patience(fallback_s=calibration.server.service.at(calibration.rows))
    return Farm(
        calibration.server,
        Open(1.0),
        network=network,
        patience=patience,
        rows=calibration.rows,
        clocks=calibration.clocks(),
    )


def _delays(requirements: FarmRequirements, calibration: Calibration | None = None) -> list[float]:
    """Return the batching delays to try, in ms: only 0 if the server does not batch."""
    if calibration is not None and calibration.server.policy.delay_s is None:
        return [0.0]
    return [delay for delay in DELAYS_MS if delay / 1e3 <= requirements.p99_s / 2]


def _with_delay(farm: Farm, delay_ms: float) -> Farm:
    policy = farm.server.policy
    if policy.delay_s is None:
        return farm
    return replace(
        farm, server=replace(farm.server, policy=replace(policy, delay_s=delay_ms / 1e3, preferred=()))
    )


def _capacity_hz(farm: Farm) -> float:
    """Return the capacity of a server in requests per second, at its best batch size."""
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


def _study_delay(farm: Farm, delay_ms: float, requirements: FarmRequirements, advance: Advance) -> DelayStudy:
    farm, capacity = _with_delay(farm, delay_ms), _capacity_hz(farm)
    points = []
    for share in LOAD_SHARES:
        loaded = replace(farm, load=Open(share * capacity))
        points.append(
            _point(share * capacity, simulate(loaded, requests=requirements.requests, seed=requirements.seed))
        )
        advance(1)
    return DelayStudy(
        delay_ms=delay_ms, rate_hz=rate_within(points, requirements.p99_s), points=tuple(points)
    )


def rate_within(points: Sequence[RatePoint], p99_s: float) -> float | None:
    """Return the rate up to which p99 stays within a bound, by log-log interpolation between the points; None if it never does."""
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
    """Return (p99 target in ms, servers needed) for each target; targets that cannot be reached are left out."""
    found = ((target, rate_within(delay.points, target / 1e3)) for target in targets_ms)
    return [(target, max(1.0, rate_hz / rate)) for target, rate in found if rate is not None]


def _best(delays: Sequence[DelayStudy], requirements: FarmRequirements, farm: Farm) -> DelayStudy:
    able = [delay for delay in delays if delay.rate_hz is not None]
    if not able:
        least = min(delay.points[0].latency.p99_us for delay in delays) / 1e3
        raise DataError(
            f"no number of servers reaches a p99 of {1e3 * requirements.p99_s:g} ms: a nearly idle one has {least:.3g} ms "
            f"for requests of {farm.rows} rows; relax the target, or measure a faster engine or smaller requests"
        )
    # A longer delay must gain more than 2 %, the statistical error of the simulation.
    most = max(delay.rate_hz or 0.0 for delay in able)
    return next(delay for delay in able if (delay.rate_hz or 0.0) >= 0.98 * most)


def _checked(farm: Farm, best: DelayStudy, requirements: FarmRequirements) -> tuple[int, RatePoint]:
    """Return the number of servers that keeps p99 in a longer simulation, and the state of one of them."""
    assert best.rate_hz is not None  # noqa: S101 - checked in _best
    servers = max(1, ceil(requirements.rate_hz / best.rate_hz))
    for _ in range(40):
        rate = requirements.rate_hz / servers
        outcome = simulate(
            replace(farm, load=Open(rate)), requests=5 * requirements.requests, seed=requirements.seed + 1
        )
        if outcome.latency.p99_us <= 1e6 * requirements.p99_s:
            break
        servers += max(1, servers // 50)
    return servers, _point(rate, outcome)


def _die(
    farm: Farm, servers: int, silent: bool, requirements: FarmRequirements, advance: Advance
) -> DeathEffect:
    """Simulate the death of one server among a few; the others take over more load than they would in the whole farm."""
    cell = min(servers, CELL)
    rate = cell * requirements.rate_hz / servers
    requests = 2 * requirements.requests
    death = Death(requests / rate / 2, silent=silent)
    patience = replace(farm.patience, timeout_s=max(0.02, 2 * requirements.p99_s))
    several = replace(farm, load=Open(rate), servers=cell, patience=patience)
    before = simulate(several, requests=requests, seed=requirements.seed)
    around = simulate(replace(several, death=death), requests=requests, seed=requirements.seed, warm_up=0.0)
    remaining = max(1, servers - 1)
    after = simulate(
        replace(farm, load=Open(requirements.rate_hz / remaining)),
        requests=requests,
        seed=requirements.seed + 2,
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


def _costs(servers: int, away_s: float, requirements: FarmRequirements) -> FarmCosts:
    """Return the costs of a farm; a client's core is occupied while it waits `away_s` for the response."""
    assumed = requirements.assumptions
    cores = ceil(requirements.rate_hz * (assumed.client_ms / 1e3 + away_s))
    cost = servers * assumed.server_cost + cores * assumed.client_cost
    power = servers * assumed.server_power_w + cores * assumed.client_power_w
    events = requirements.rate_hz * assumed.years * SECONDS_PER_YEAR
    return FarmCosts(
        servers=servers,
        client_cores=cores,
        cost=cost,
        cost_per_million_events=1e6 * cost / events,
        power_w=power,
        joules_per_event=power / requirements.rate_hz,
    )


def _knee(farm: Farm, requirements: FarmRequirements, advance: Advance) -> Knee:
    """Return the knee for the measured server: its time per event when saturated, and the latency of the network."""
    own_s, local_s = requirements.assumptions.client_ms / 1e3, farm.server.service.at(farm.rows)
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
        requirements.seed,
        advance,
        events=max(10, requirements.requests // 60),
    )
