"""Calibration of a simulated server from measured loads.

- Time of a batch by rows: the server's own counters per batch size, over all loads.
- Time of the event loop per request: time per request of a saturated server minus its share of a batch.
- Clock of the host: requests completed by a saturated server against time.
- Flight: the latency of a single client that batch, event loop and clock do not explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tamis._base import DataError
from tamis.farm.clock import Clock, MeasuredClock, SteadyClock
from tamis.farm.settings import Closed, Farm, Network, Policy, ServerSpec, ServiceTimes
from tamis.farm.simulation import simulate
from tamis.records import Batches, LoadPoint, Scenario
from tamis.serve.batching import COPIED_MOST

QUICK_S = 1e-3  # as in the scheduler: faster batches are computed in the event loop
SATURATED_UTILISATION = 0.6  # a server that computes more than this is saturated
FLIGHTS = 200  # quantiles that represent the distribution of flights
TRACED_LEAST = 50  # requests that a trace must have to be used
CALIBRATION_NEEDS = "a closed load by one stream and one by several: `tamis load ... --scenario closed --streams 1,4 -o records/`"


@dataclass(frozen=True)
class Calibration:
    """A server calibrated from loads."""

    server: ServerSpec
    network: Network
    rows: int  # per request
    clock_s: tuple[float, ...]  # times; empty if no load was traced
    clock_work: tuple[float, ...]  # work completed by these times
    capacity_per_s: float  # requests per second of a saturated server

    def clocks(self, servers: int = 1) -> list[Clock]:
        """Return a clock for each server: those of the same host, starting at different times."""
        if not self.clock_s:
            return [SteadyClock()]
        return [
            MeasuredClock(self.clock_s, self.clock_work, offset=i / servers) for i in range(min(servers, 64))
        ]


def calibrate(points: Sequence[LoadPoint], batching: Batches | None, *, seed: int = 1) -> Calibration:
    """Fit a server to the loads on it; only loads of the most frequent request size are used."""
    usable = [point for point in points if point.server is not None and point.server.batches]
    sizes = [point.rows for point in usable]
    if not sizes:
        raise DataError(
            f"the records hold no load with the server's times per batch size; calibration needs {CALIBRATION_NEEDS}, and a server with statistics"
        )
    rows = max(set(sizes), key=sizes.count)
    alone = [p for p in usable if p.rows == rows and _clients(p) == 1]
    together = [p for p in usable if p.rows == rows and _clients(p) > 1]
    # if no load saturated the server by its counters, those of clients that never pause
    saturated = [p for p in together if _utilisation(p) > SATURATED_UTILISATION] or [
        p for p in together if not p.traffic.think_s
    ]
    if not alone or not saturated:
        raise DataError(
            f"the records are not enough to calibrate a server; calibration needs {CALIBRATION_NEEDS}"
        )
    service = _service(usable)
    instances = batching.instances if batching else 1
    quick = instances == 1 and service.at(1) < QUICK_S
    loop_s = []
    for point in saturated:
        mean_us, requests = _execution_us(point)
        loop_s.append(1.0 / point.requests_per_s - mean_us / requests / instances / 1e6)
    out_s = max(0.0, float(np.median(loop_s)))
    in_loop = quick and service.at(rows) <= QUICK_S
    server = ServerSpec(
        service,
        _policy(batching, rows, usable),
        instances,
        in_s=out_s / 2 if in_loop else 0.0,  # otherwise requests are read while another thread computes
        out_s=out_s / 2 if in_loop else out_s,
        quick_s=QUICK_S if quick else 0.0,
    )
    times, work = _clock(saturated, service, out_s)
    draft = Calibration(
        server, Network(request_bytes=alone[0].request_bytes), rows, times, work, _mean([p.requests_per_s for p in saturated])
    )  # fmt: skip
    flights = _flights(alone, draft, seed)
    return replace(draft, network=replace(draft.network, flight_s=flights))


def _clients(point: LoadPoint) -> int:
    """Return the number of clients of a closed load; 0 for other loads."""
    traffic = point.traffic
    if traffic.scenario is Scenario.SINGLE_STREAM:
        return 1
    return traffic.streams if traffic.scenario in {Scenario.CLOSED, Scenario.OFFLINE} else 0


def _execution_us(point: LoadPoint) -> tuple[float, float]:
    """Return the mean time of an execution in microseconds, and the mean number of requests in it."""
    assert point.server is not None  # noqa: S101 - points without it were left out
    batches = point.server.batches
    executions = sum(batch.executions for batch in batches)
    requests = sum(batch.rows * batch.executions for batch in batches) / point.rows
    return sum(batch.mean_us * batch.executions for batch in batches) / executions, requests / executions


def _utilisation(point: LoadPoint) -> float:
    mean_us, requests = _execution_us(point)
    return point.requests_per_s * mean_us / requests / 1e6


def _service(points: Sequence[LoadPoint]) -> ServiceTimes:
    """Return the mean time of each batch size, without rare sizes, and made non-decreasing."""
    count: dict[int, int] = {}
    spent: dict[int, float] = {}
    for point in points:
        for batch in point.server.batches if point.server else ():
            count[batch.rows] = count.get(batch.rows, 0) + batch.executions
            spent[batch.rows] = spent.get(batch.rows, 0.0) + batch.executions * batch.mean_us
    least = max(3, 0.005 * sum(count.values()))
    known = [rows for rows in sorted(count) if count[rows] >= least] or sorted(count)
    values = np.maximum.accumulate([spent[rows] / count[rows] / 1e6 for rows in known])
    return ServiceTimes(tuple(known), tuple(values.tolist()))


def _policy(batching: Batches | None, rows: int, points: Sequence[LoadPoint]) -> Policy:
    if batching is None or batching.delay_us is None:
        return Policy(rows)
    observed = max(batch.rows for p in points if p.server for batch in p.server.batches)
    most = batching.merged_rows_most or batching.rows_most or observed
    sizes = [p.request_bytes for p in points if p.request_bytes]
    if sizes and not batching.preferred and not batching.delay_us:
        most = min(
            most, COPIED_MOST * rows // max(sizes)
        )  # larger batches are not copied together by the server
    return Policy(max(most, rows), batching.delay_us / 1e6, batching.preferred)


def _clock(
    points: Sequence[LoadPoint], service: ServiceTimes, loop_s: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Concatenate the traces of saturated loads: each answered batch adds its time to the completed work."""
    times, work = [0.0], [0.0]
    for point in points:
        traced = point.traced_us()
        if len(traced) < TRACED_LEAST:
            continue
        requests = _execution_us(point)[1]
        step = max(1, round(requests))
        ends = np.sort(traced.sum(1))[::step] / 1e6
        unit = service.at(step * point.rows) + step * loop_s
        times += (times[-1] + np.maximum(ends[1:] - ends[0], 1e-9)).tolist()
        work += (work[-1] + unit * np.arange(1, len(ends))).tolist()
    return (tuple(times), tuple(work)) if len(times) > 1 else ((), ())


def _flights(alone: Sequence[LoadPoint], draft: Calibration, seed: int) -> tuple[float, ...]:
    """Return quantiles of the flight: measured latency minus that of a simulation without flights, quantile by quantile."""
    shares = (np.arange(FLIGHTS) + 0.5) / FLIGHTS
    traces = [point.traced_us()[:, 1] / 1e6 for point in alone]
    known = [np.quantile(trace, shares) for trace in traces if len(trace) >= TRACED_LEAST]
    if known:
        measured = np.median(known, axis=0)
    else:
        measured = np.full(FLIGHTS, _mean([point.mean_us for point in alone]) / 1e6)
    farm = Farm(draft.server, Closed(1), rows=draft.rows, clocks=draft.clocks())
    explained = np.quantile(simulate(farm, requests=4000, seed=seed, warm_up=0.0).latency_s, shares)
    return tuple(np.maximum(measured - explained, 0.0).tolist())


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
