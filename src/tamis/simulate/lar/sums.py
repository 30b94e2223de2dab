"""Sums over the clusters of events or of steps of a second, from what the beam, slow changes and faults make of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.simulate.lar.beam import Blocks, clusters_per_event, draw_centrality, mean_centrality
from tamis.simulate.lar.clusters import (
    EXPONENTIAL_Q,
    HOT_Q,
    HOT_TAU_NS,
    NOISY_Q,
    SPREAD_Q,
    ClusterKind,
    as_integers,
    draw_sums,
    exponential_q,
    normal,
    tail_q,
    tail_share,
)
from tamis.simulate.lar.faults import StreamFault, disturb
from tamis.simulate.lar.regions import REGIONS

HOT_MOST = 200  # clusters of an event without a burst
TRIPPED_Q, TRIPPED_TAU, TRIPPED_LOST = 1.8, 1.6, 0.3
LATE_NS = 25.0
LOW_GAIN_Q = 8.0
TRAIN_SHARE, TRAIN_NS = 0.1, 0.15  # of clusters at the begin of a bunch train, and their shift


@dataclass(frozen=True)
class SlowChanges:
    """What changes from run to run, block to block and day to day; (blocks, regions)."""

    q: np.ndarray  # factor of Q
    tau_ns: np.ndarray


def slow_changes(blocks: Blocks, random: np.random.Generator) -> SlowChanges:
    """Draw an offset for each run, noise that is correlated from block to block, and a drift."""
    shape = len(blocks), len(REGIONS)
    _, of_run = np.unique(blocks.run, return_inverse=True)
    runs = of_run.max() + 1
    offset = random.choice([-1, 1], (runs, shape[1])) * random.uniform(0.005, 0.01, (runs, shape[1]))
    noise, steps = np.empty(shape), random.standard_normal(shape)
    noise[0] = 0.004 * steps[0]
    for block in range(1, len(blocks)):
        noise[block] = 0.95 * noise[block - 1] + 0.004 * np.sqrt(1 - 0.95**2) * steps[block]
    days = blocks.begin_s[:, None] / 86_400
    drift = random.choice([-1, 1], shape[1]) * random.uniform(0.001, 0.01, shape[1])
    tau_drift = random.choice([-1, 1], shape[1]) * random.uniform(0.005, 0.020, shape[1])
    return SlowChanges(1 + offset[of_run] + noise + drift * days, tau_drift * days)


@dataclass(frozen=True)
class StreamRows:
    """What is summed up: an event, or all events of a second."""

    block: np.ndarray  # of `Blocks`
    at_s: np.ndarray
    events: np.ndarray


def draw_rows(
    rows: StreamRows,
    blocks: Blocks,
    slow: SlowChanges,
    faults: list[StreamFault],
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of rows, (rows, regions, 6) integers, and the most hot clusters of one of the events of each, (rows, regions)."""
    total = np.zeros((len(rows.at_s), len(REGIONS), 6))
    hot = np.zeros(total.shape[:2])
    for kind in cluster_kinds(rows, blocks, slow, faults, random):
        total += draw_sums(kind, rows.events, random)
        hot += kind.rate * kind.hot
    whole = as_integers(total)
    if (rows.events == 1).all():
        return whole, whole[..., 5]
    return whole, _most_of_poisson(hot, rows.events[:, None], random)


def _most_of_poisson(mean: np.ndarray, events: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the largest of as many numbers of a Poisson distribution as there are events."""
    wanted = random.random(mean.shape) ** (1 / np.maximum(events, 1))
    chance = np.exp(-mean)
    below, largest = chance.copy(), np.zeros(mean.shape, np.int64)
    for k in range(1, HOT_MOST):
        more = below < wanted
        if not more.any():
            break
        largest += more
        chance = chance * mean / k
        below += chance
    return np.where(events > 0, largest, 0)


def cluster_kinds(
    rows: StreamRows,
    blocks: Blocks,
    slow: SlowChanges,
    faults: list[StreamFault],
    random: np.random.Generator,
) -> list[ClusterKind]:
    """Return the kinds of clusters that rows have."""
    lasting = [
        one
        for one in faults
        if not one.is_burst and one.end_s > rows.at_s.min() and one.begin_s <= rows.at_s.max()
    ]
    effect = disturb(lasting, rows.at_s)
    mu, ions = blocks.mu[rows.block], blocks.mode == "pbpb"
    rate = clusters_per_event(blocks.mode, mu)
    if ions:
        rate = rate * (draw_centrality(rows.events, random) / (rows.events * mean_centrality()))[:, None]
    rate = rate * effect.rate
    q = slow.q[rows.block] * effect.q
    mean_ns, width_ns = (0.0, 2.2) if ions else (-0.05 - 0.004 * mu[:, None], 3 + 0.05 * mu[:, None])
    middle = slow.tau_ns[rows.block] + effect.tau_shift + mean_ns
    sigma = width_ns * effect.tau_width
    tail = tail_share(mu, ions=ions)
    usual = rate * (1 - tail) * np.clip(1 - effect.tripped - effect.late - effect.low_gain, 0, 1)
    core = exponential_q(EXPONENTIAL_Q * q)
    kinds = [
        ClusterKind(usual * (1 - TRAIN_SHARE), core, normal(middle, sigma, HOT_TAU_NS)),
        ClusterKind(usual * TRAIN_SHARE, core, normal(middle + TRAIN_NS, sigma, HOT_TAU_NS)),
        ClusterKind(rate * tail, tail_q(q), normal(middle, sigma, HOT_TAU_NS)),
    ]
    if effect.tripped.any():
        lost = rate * effect.tripped * (1 - TRIPPED_LOST)
        kinds.append(
            ClusterKind(
                lost,
                exponential_q(TRIPPED_Q * EXPONENTIAL_Q * q),
                normal(middle, TRIPPED_TAU * sigma, HOT_TAU_NS),
            )
        )
    if effect.late.any():
        kinds.append(ClusterKind(rate * effect.late, core, normal(middle + LATE_NS, sigma, HOT_TAU_NS)))
    if effect.low_gain.any():
        kinds.append(
            ClusterKind(
                rate * effect.low_gain,
                exponential_q(LOW_GAIN_Q * EXPONENTIAL_Q * q),
                normal(middle, sigma, HOT_TAU_NS),
            )
        )
    if effect.noisy.any():
        kinds.append(
            ClusterKind(
                rate * effect.noisy, normal(NOISY_Q, SPREAD_Q, HOT_Q), normal(middle, 3 * sigma, HOT_TAU_NS)
            )
        )
    return kinds
