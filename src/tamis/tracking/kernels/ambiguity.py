"""Ambiguities: tracks that share too many hits are dropped, the worst first, until none is left."""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.tracking.kernels.body import body, loop

CHI2_MOST = 99.0  # per hit, in a score: shared hits come first


@body
def score(shared: Any, count: Any, chi2: Any) -> Any:
    """Return how bad a track is: by the fraction of its hits that others share, then by its chi2."""
    return 1000.0 * shared / count + min(chi2 / count, CHI2_MOST)


@body
def is_worse(a: Any, b: Any, scores: Any) -> Any:
    """Return whether a track goes before another; of equal ones the later."""
    return scores[a] > scores[b] or (scores[a] == scores[b] and a > b)


@body
def sift_up(heap: Any, at: Any, scores: Any) -> None:
    """Move an entry of a heap up to where it belongs; the largest score is first."""
    track = heap[at]
    while at > 0:
        parent = (at - 1) >> 1
        if is_worse(heap[parent], track, scores):
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = track


@body
def sift_down(heap: Any, size: Any, scores: Any) -> None:
    """Move the first entry of a heap down to where it belongs."""
    track = heap[0]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and is_worse(heap[child + 1], heap[child], scores):
            child += 1
        if is_worse(track, heap[child], scores):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = track


@loop
def count_owners(tracks: Any, total: Any, owners: Any, begins: Any) -> None:
    """Write how many tracks have each hit, and where a list of them would begin."""
    for t in range(total):
        for k in range(tracks.steps[t]):
            if tracks.way[t, k] >= 0:
                owners[np.uintp(tracks.way[t, k])] += 1
    for i in range(len(owners)):
        begins[i + 1] = begins[i] + owners[i]


@loop
def list_owners(
    tracks: Any, total: Any, owners: Any, begins: Any, lists: Any, fill: Any, shared: Any
) -> None:
    """Write the tracks of each hit, and how many hits each track shares."""
    for t in range(total):
        for k in range(tracks.steps[t]):
            if tracks.way[t, k] < 0:
                continue
            i = np.uintp(tracks.way[t, k])
            lists[begins[i] + fill[i]] = t
            fill[i] += 1
            shared[t] += owners[i] > 1


@body
def drop(t: Any, tracks: Any, owners: Any, begins: Any, lists: Any, shared: Any, alive: Any) -> None:
    """Take a track away: a hit that one track is left with is shared no longer."""
    alive[t] = False
    for k in range(tracks.steps[t]):
        if tracks.way[t, k] < 0:
            continue
        i = np.uintp(tracks.way[t, k])
        owners[i] -= 1
        if owners[i] != 1:
            continue
        for j in range(begins[i], begins[i + 1]):
            if alive[lists[j]]:
                shared[lists[j]] -= 1


@loop
def drop_sharing(
    tracks: Any,
    total: Any,
    most: Any,
    owners: Any,
    begins: Any,
    lists: Any,
    shared: Any,
    heap: Any,
    scores: Any,
    alive: Any,
) -> None:
    """Clear `alive` for the worst of the tracks that share more than `most` hits with others, until none does.

    The shared hits of a track only become fewer, so that its place in the heap is corrected when it comes first.
    """
    size = 0
    for t in range(total):
        alive[t] = True
        if shared[t] > most:
            scores[t] = score(shared[t], tracks.size[t], tracks.chi2[t])
            heap[size] = t
            size += 1
            sift_up(heap, size - 1, scores)
    while size > 0:
        t = heap[0]
        now = score(shared[t], tracks.size[t], tracks.chi2[t])
        if shared[t] > most and now < scores[t]:
            scores[t] = now
            sift_down(heap, size, scores)
            continue
        size -= 1
        heap[0] = heap[size]
        if size > 0:
            sift_down(heap, size, scores)
        if shared[t] > most:
            drop(t, tracks, owners, begins, lists, shared, alive)
