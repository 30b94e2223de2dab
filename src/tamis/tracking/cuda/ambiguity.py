"""Ambiguities by many threads: in each round every track goes that is the worst of all those that share a hit with it.

A track becomes better only when one goes that shares a hit with it, and none of those is worse: so the rounds drop the same tracks as the
serial loop that drops the worst of all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tamis.tracking.cuda.device import KernelArray, kernel
from tamis.tracking.cuda.streams import cuda
from tamis.tracking.kernels.ambiguity import score
from tamis.tracking.kernels.types import TrackArrays


class OwnerArrays(NamedTuple):
    """The tracks of each hit, and how many of them are left."""

    owners: Any
    begins: Any
    lists: Any


class TrackStanding(NamedTuple):
    """Which tracks are left, how many hits each shares, how bad that makes it, and which ones go in this round."""

    alive: Any
    shared: Any
    score: Any
    goes: Any


@kernel
def count_tracks(count: int, tracks: TrackArrays, owners: KernelArray) -> None:
    """Count the tracks of each hit."""
    t = cuda.grid(1)
    if t < count:
        for k in range(tracks.steps[t]):
            if tracks.way[t, k] >= 0:
                cuda.atomic.add(owners.values, tracks.way[t, k], 1)


@kernel
def list_tracks(
    count: int, tracks: TrackArrays, begins: KernelArray, filled_so_far: KernelArray, lists: KernelArray
) -> None:
    """Write the tracks of each hit, in any order."""
    t = cuda.grid(1)
    if t < count:
        for k in range(tracks.steps[t]):
            hit = tracks.way[t, k]
            if hit >= 0:
                at = begins.values[hit] + cuda.atomic.add(filled_so_far.values, hit, 1)
                lists.values[at] = t


@kernel
def count_shared(count: int, tracks: TrackArrays, hits: OwnerArrays, standing: TrackStanding) -> None:
    """Count the hits that each track shares, and how bad that is."""
    t = cuda.grid(1)
    if t < count:
        shared = 0
        if standing.alive[t] != 0:
            for k in range(tracks.steps[t]):
                if tracks.way[t, k] >= 0 and hits.owners[tracks.way[t, k]] > 1:
                    shared += 1
        standing.shared[t] = shared
        standing.score[t] = score(shared, tracks.size[t], tracks.chi2[t])


@kernel
def mark_worst(
    count: int,
    tracks: TrackArrays,
    hits: OwnerArrays,
    most: int,
    standing: TrackStanding,
    marked: KernelArray,
) -> None:
    """Mark the tracks that share too much and are worse than all that share a hit with them; count them."""
    t = cuda.grid(1)
    if t < count:
        standing.goes[t] = 0
        if standing.shared[t] > most:
            mine = standing.score[t]
            worst = True
            for k in range(tracks.steps[t]):
                hit = tracks.way[t, k]
                if hit < 0 or not worst:
                    continue
                for j in range(hits.begins[hit], hits.begins[hit + 1]):
                    u = hits.lists[j]
                    if u == t or standing.shared[u] <= most:
                        continue
                    other = standing.score[u]
                    if other > mine or (other == mine and u > t):
                        worst = False
            if worst:
                standing.goes[t] = 1
                cuda.atomic.add(marked.values, 0, 1)


@kernel
def drop_marked(count: int, tracks: TrackArrays, hits: OwnerArrays, standing: TrackStanding) -> None:
    """Take the marked tracks away."""
    t = cuda.grid(1)
    if t < count and standing.goes[t] != 0:
        standing.alive[t] = 0
        for k in range(tracks.steps[t]):
            if tracks.way[t, k] >= 0:
                cuda.atomic.add(hits.owners, tracks.way[t, k], -1)
