"""From measured loads to a simulated server: times per batch size, what its event loop does for each request, the host's moods.

What is taken from where:

- times by rows: the server's own counters per batch size, over all loads;
- the loop's time per request: what a request takes of a saturated server beyond its share of a batch;
- the host's clock: when a saturated server had done how many requests;
- the flight: how much longer one client at a time waits than its batch, the loop and the clock explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tamis._base import DataError
from tamis.measure.traffic import Batches, LoadPoint, Scenario
from tamis.plan.clock import Clock, MeasuredClock, SteadyClock
from tamis.plan.policy import Policy
from tamis.plan.settings import Closed, Farm, Network, Server, ServiceTimes
from tamis.plan.simulation import simulate
from tamis.serve.batching import COPIED_MOST

QUICK_S = 1e-3  # as the scheduler has it: what takes less is computed in the event loop
BUSY = 0.6  # of its time, a server computes that is called saturated
FLIGHTS = 200  # values that stand for all flights
TRACED_LEAST = 50
NEEDS = "a closed load by one stream and one by several: `tamis load ... --scenario closed --streams 1,4 -o records/`"


@dataclass(frozen=True)
class Calibration:
    """A server as loads have shown it."""

    server: Server
    network: Network
    rows: int  # of a request
    clock_s: tuple[float, ...]  # moments, and
    clock_work: tuple[float, ...]  # what was done by then; empty where no load was traced
    capacity_per_s: float  # requests of a saturated server

    def clocks(self, servers: int = 1) -> list[Clock]:
        """Return a clock for each server: the same host, seen from different moments on."""
        if not self.clock_s:
            return [SteadyClock()]
        return [
            MeasuredClock(self.clock_s, self.clock_work, offset=i / servers) for i in range(min(servers, 64))
        ]


def calibrate(points: Sequence[LoadPoint], batching: Batches | None, *, seed: int = 1) -> Calibration:
    """Fit a server to the loads on it; all of them have requests of the same size, or the most frequent one counts."""
    usable = [point for point in points if point.server is not None and point.server.batches]
    rows = _usual_rows(usable)
    alone = [p for p in usable if p.rows == rows and _clients(p) == 1]
    saturated = _saturated([p for p in usable if p.rows == rows and _clients(p) > 1])
    if not alone or not saturated:
        raise DataError(f"the records do not tell enough to size a farm; it takes {NEEDS}")
    service = _service(usable)
    instances = batching.instances if batching else 1
    quick = instances == 1 and service.at(1) < QUICK_S
    out_s = _loop_s(saturated, instances)
    in_loop = quick and service.at(rows) <= QUICK_S
    server = Server(
        service,
        _policy(batching, rows, usable),
        instances,
        in_s=out_s / 2 if in_loop else 0.0,  # else requests are read while another thread computes
        out_s=out_s / 2 if in_loop else out_s,
        quick_s=QUICK_S if quick else 0.0,
    )
    times, work = _clock(saturated, service, out_s)
    draft = Calibration(
        server, Network(request_bytes=alone[0].request_bytes), rows, times, work, _mean([p.requests_per_s for p in saturated])
    )  # fmt: skip
    flights = _flights(alone, draft, seed)
    return replace(draft, network=replace(draft.network, flight_s=flights))


def _usual_rows(points: Sequence[LoadPoint]) -> int:
    sizes = [point.rows for point in points]
    if not sizes:
        raise DataError(
            f"the records hold no load with the server's times per batch size; it takes {NEEDS}, and a server with statistics"
        )
    return max(set(sizes), key=sizes.count)


def _clients(point: LoadPoint) -> int:
    """Return how many clients wait for their answers; 0 for other loads."""
    traffic = point.traffic
    if traffic.scenario is Scenario.SINGLE_STREAM:
        return 1
    return traffic.streams if traffic.scenario in {Scenario.CLOSED, Scenario.OFFLINE} else 0


def _saturated(points: Sequence[LoadPoint]) -> list[LoadPoint]:
    """Return the loads that kept the server busy; clients that never pause do so where no load looks it."""
    return [p for p in points if _utilisation(p) > BUSY] or [p for p in points if not p.traffic.think_s]


def _execution_us(point: LoadPoint) -> tuple[float, float]:
    """Return what an execution takes on average, and how many requests are in it."""
    assert point.server is not None  # noqa: S101 - chosen for it
    batches = point.server.batches
    executions = sum(one.executions for one in batches)
    requests = sum(one.rows * one.executions for one in batches) / point.rows
    return sum(one.mean_us * one.executions for one in batches) / executions, requests / executions


def _utilisation(point: LoadPoint) -> float:
    mean_us, requests = _execution_us(point)
    return point.requests_per_s * mean_us / requests / 1e6


def _service(points: Sequence[LoadPoint]) -> ServiceTimes:
    """Return the mean time of each batch size; sizes that hardly occurred are left out, and no larger one is quicker."""
    count: dict[int, int] = {}
    spent: dict[int, float] = {}
    for point in points:
        for one in point.server.batches if point.server else ():
            count[one.rows] = count.get(one.rows, 0) + one.executions
            spent[one.rows] = spent.get(one.rows, 0.0) + one.executions * one.mean_us
    least = max(3, 0.005 * sum(count.values()))
    known = [rows for rows in sorted(count) if count[rows] >= least] or sorted(count)
    values = np.maximum.accumulate([spent[rows] / count[rows] / 1e6 for rows in known])
    return ServiceTimes(tuple(known), tuple(values.tolist()))


def _loop_s(points: Sequence[LoadPoint], instances: int) -> float:
    left = []
    for point in points:
        mean_us, requests = _execution_us(point)
        left.append(1.0 / point.requests_per_s - mean_us / requests / instances / 1e6)
    return max(0.0, float(np.median(left)))


def _policy(batching: Batches | None, rows: int, points: Sequence[LoadPoint]) -> Policy:
    if batching is None or batching.delay_us is None:
        return Policy(rows)
    seen = max(one.rows for p in points if p.server for one in p.server.batches)
    most = batching.merged_rows_most or batching.rows_most or seen
    sizes = [p.request_bytes for p in points if p.request_bytes]
    if sizes and not batching.preferred and not batching.delay_us:
        most = min(most, COPIED_MOST * rows // max(sizes))  # as far as the server finds that copying pays
    return Policy(max(most, rows), batching.delay_us / 1e6, batching.preferred)


def _clock(
    points: Sequence[LoadPoint], service: ServiceTimes, loop_s: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Lay the traces of saturated loads one behind the other: each batch that was answered is so much work done."""
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
    """Return how much longer requests took than a simulation without flights has them, share by share; of several loads, the middle one."""
    shares = (np.arange(FLIGHTS) + 0.5) / FLIGHTS
    traces = [point.traced_us()[:, 1] / 1e6 for point in alone]
    known = [np.quantile(one, shares) for one in traces if len(one) >= TRACED_LEAST]
    if known:
        measured = np.median(known, axis=0)
    else:
        measured = np.full(FLIGHTS, _mean([point.mean_us for point in alone]) / 1e6)
    farm = Farm(draft.server, Closed(1), rows=draft.rows, clocks=draft.clocks())
    explained = np.quantile(simulate(farm, requests=4000, seed=seed, warm_up=0.0).latency_s, shares)
    return tuple(np.maximum(measured - explained, 0.0).tolist())


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
