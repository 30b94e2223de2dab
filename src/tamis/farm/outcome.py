"""The result of a simulation: throughput, latency up to p99.9 and its parts, utilisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tamis.farm.server import RunningServer, SimulatedRequest
from tamis.farm.settings import Farm
from tamis.records import Latency


@dataclass(frozen=True)
class SimulationResult:
    """The result of a simulation."""

    requests: int
    requests_per_s: float
    latency_s: np.ndarray  # per request
    latency: Latency
    wait_us: float  # mean, in the server before the model starts
    compute_us: float  # mean
    transport_us: float  # mean of the rest of the latency
    utilisation: float  # of the instances
    loop_utilisation: float  # of the event loops, without the computing in them
    rows_per_batch: float
    retried: int
    fallbacks: int
    lost: int  # sent, and never answered

    def typical_p99_us(self, seconds: float) -> float:
        """Return the median p99 of loads of some seconds: the p99 that a measurement of that length is likely to show."""
        size = max(2, round(self.requests_per_s * seconds))
        if size >= len(self.latency_s):
            return self.latency.p99_us
        pieces = np.array_split(self.latency_s, max(1, len(self.latency_s) // size))
        return 1e6 * float(np.median([np.percentile(piece, 99) for piece in pieces]))


def summarise(
    farm: Farm,
    done: Sequence[SimulatedRequest],
    skipped: int,
    servers: Sequence[RunningServer],
    *,
    retried: int,
    lost: int,
) -> SimulationResult:
    """Summarise the requests answered after the first `skipped` ones."""
    counted = done[skipped:]
    due, arrived, began, computed, end = np.array(
        [(r.due_s, r.arrived_s, r.began_s, r.computed_s, r.done_s) for r in counted]
    ).T
    latency = end - due
    seconds = end[-1] - (done[skipped - 1].done_s if skipped else 0.0)
    wait, compute = began - arrived, computed - began
    whole = float(end[-1]) * len(servers)
    batches = sum(server.batches for server in servers)
    return SimulationResult(
        requests=len(counted),
        requests_per_s=len(counted) / seconds,
        latency_s=latency,
        latency=Latency.of(latency),
        wait_us=1e6 * float(wait.mean()),
        compute_us=1e6 * float(compute.mean()),
        transport_us=1e6 * float((latency - wait - compute).mean()),
        utilisation=sum(server.busy_s for server in servers) / whole / farm.server.instances,
        loop_utilisation=sum(server.loop_s for server in servers) / whole,
        rows_per_batch=sum(server.rows for server in servers) / max(1, batches),
        retried=retried,
        fallbacks=sum(request.fell_back for request in counted),
        lost=lost,
    )
