"""Bursts of noise: events within milliseconds that have further clusters with large Q in one region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.simulate.lar.beam import EVENTS_PER_SECOND
from tamis.simulate.lar.clusters import (
    BURST_Q,
    BURST_TAU_NS,
    HOT_Q,
    SPREAD_Q,
    ClusterKind,
    draw_sums,
    normal,
    uniform_tau,
)
from tamis.simulate.lar.faults import StreamFault
from tamis.simulate.lar.regions import REGIONS


@dataclass(frozen=True)
class BurstEvents:
    """The events that a burst triggers itself."""

    region: int
    at_s: np.ndarray
    sums: np.ndarray  # (events, 6), not rounded: of the further clusters
    clusters: ClusterKind


def burst_events(fault: StreamFault, random: np.random.Generator) -> BurstEvents:
    """Draw the events of a burst: a noise burst has at least two, a mini-burst one, each with about `strength` clusters."""
    least = 2 if fault.kind == "noise-burst" else 1
    count = least + int(random.poisson(EVENTS_PER_SECOND * (fault.end_s - fault.begin_s)))
    at_s = np.sort(random.uniform(fault.begin_s, fault.end_s, count))
    rate = np.zeros((count, len(REGIONS)))
    rate[:, fault.region] = fault.strength
    kind = ClusterKind(rate, normal(BURST_Q, SPREAD_Q, HOT_Q), uniform_tau(BURST_TAU_NS))
    sums = draw_sums(kind, np.ones(count), random)[:, fault.region]
    return BurstEvents(fault.region, at_s, sums, kind)
