"""Single clusters of events, for minutes of data: Q and tau of each, from the distributions behind the sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import awkward as ak
import numpy as np

from tamis.simulate.lar.bursts import BurstEvents
from tamis.simulate.lar.clusters import HOT_Q, HOT_TAU_NS, ClusterKind
from tamis.simulate.lar.regions import Q_FULL, REGIONS, TAU_UNIT_NS

TAU_MOST = 32767  # in units of the column


@dataclass(frozen=True)
class EventClusters:
    """The clusters of events in one region, event after event."""

    number: np.ndarray  # of each event
    q: np.ndarray
    tau: np.ndarray  # in units of the column

    def sums(self) -> np.ndarray:
        """Return n, the sums of Q, Q^2, tau and tau^2, and the hot clusters of each event, (events, 6)."""
        hot = (self.q > HOT_Q * Q_FULL) & (np.abs(self.tau) > HOT_TAU_NS / TAU_UNIT_NS)
        each = np.stack([self.q, self.q**2, self.tau, self.tau**2, hot], axis=1)
        summed = np.concatenate([np.zeros((1, 5), np.int64), np.cumsum(each, axis=0)])
        ends = np.cumsum(self.number)
        return np.column_stack([self.number, summed[ends] - summed[ends - self.number]])


def draw_clusters(
    kinds: Sequence[ClusterKind],
    bursts: Sequence[tuple[BurstEvents, np.ndarray]],
    region: int,
    events: int,
    random: np.random.Generator,
) -> EventClusters:
    """Return the clusters of events in a region; of each burst also the rows of its events."""
    rows, q, tau = [], [], []
    for kind in kinds:
        own = np.repeat(np.arange(events), random.poisson(kind.rate[:, region]))
        rows.append(own)
        q.append(kind.q.draw(random, own, region))
        tau.append(kind.tau.draw(random, own, region))
    for burst, places in bursts:
        if burst.region == region:
            own = np.repeat(np.arange(len(places)), burst.sums[:, 0].astype(np.int64))
            rows.append(places[own])
            q.append(burst.clusters.q.draw(random, own, region))
            tau.append(burst.clusters.tau.draw(random, own, region))
    row = np.concatenate(rows)
    order = np.argsort(row, kind="stable")
    whole_q = np.clip(np.rint(np.concatenate(q)[order] * Q_FULL), 0, Q_FULL).astype(np.int64)
    whole_tau = np.clip(np.rint(np.concatenate(tau)[order] / TAU_UNIT_NS), -TAU_MOST, TAU_MOST)
    return EventClusters(np.bincount(row, minlength=events), whole_q, whole_tau.astype(np.int64))


def cluster_columns(clusters: Sequence[EventClusters]) -> dict[str, ak.Array]:
    """Return the lists of Q and tau of the events, by region."""
    columns = {}
    for region, own in zip(REGIONS, clusters, strict=True):
        columns[f"{region}_clusterQ"] = ak.unflatten(own.q.astype(np.uint16), own.number)
        columns[f"{region}_clusterTau"] = ak.unflatten(own.tau.astype(np.int16), own.number)
    return columns
