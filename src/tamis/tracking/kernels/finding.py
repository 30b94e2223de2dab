"""Track finding: a seed is followed outwards layer by layer with a Kalman filter that takes the hits that fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tamis.tracking.kernels.body import NONE, ZERO64, body, loop, routine
from tamis.tracking.kernels.field import bend_locally, move, unbend
from tamis.tracking.kernels.helix import (
    COS,
    CURVATURE,
    SIN,
    SLOPE,
    X,
    Y,
    Z,
    cross_matter,
    curvature_variance,
    step,
    to_cylinder,
    update,
)
from tamis.tracking.kernels.search import GIVEN_HIT, GIVEN_STEP, OVERLAPS, RIVALS, measure, take_hits

LONGEST = 4000.0  # mm to the next layer
FEW_HITS = 4  # up to here a track may have fewer holes: most seeds are of no particle, and end here
BRANCHES_MOST = 16  # of a seed


@body
def next_cylinder(p: Any, at: Any, stack: Any) -> Any:
    """Return the next cylinder from number `at` on that the track meets between its ends, and the way to it, -1 where it meets none."""
    while at < stack.ahead:
        s = to_cylinder(p, stack.position[at])
        if s < 0:
            return stack.ahead, -1.0
        z = p[Z] + p[SLOPE] * s
        if stack.low[at] <= z <= stack.high[at]:
            return at, s
        at += 1
    return at, -1.0


@body
def next_disk(p: Any, at: Any, end: Any, limit: Any, stack: Any) -> Any:
    """Return the next disk before `end` that the track meets within `limit`, and the way to it, -1 where it meets none."""
    while at < end:
        s = (stack.position[at] - p[Z]) / p[SLOPE]
        if s > limit or s * abs(p[CURVATURE]) > 1:
            return at, -1.0
        if s >= 0:
            dx, dy, _, _ = step(p, s)
            x, y = p[X] + dx, p[Y] + dy
            r2 = x * x + y * y
            if stack.low[at] * stack.low[at] <= r2 <= stack.high[at] * stack.high[at]:
                return at, s
        at += 1
    return at, -1.0


@body
def take_hit(p: Any, c: Any, hit: Any, hits: Any, frames: Any, field: Any, scratch: Any) -> None:
    """Correct the state with a hit, whatever its chi2."""
    measure(p, c, hit, hits, frames, field, scratch)
    update(p, c, scratch.best, scratch.gain)


@body
def start(first: Any, state: Any, spread: Any, hits: Any, frames: Any, field: Any, scratch: Any) -> None:
    """Begin a track at the first hit of a seed with the parameters of the seed; `spread` are further variances of r, z and dz / ds."""
    p, c = scratch.state, scratch.covariance
    for i in range(7):
        p[i] = state[i]
    stretch = 1 + p[SLOPE] * p[SLOPE]
    for i in range(6):
        for j in range(6):
            c[i, j] = 0.0
    c[0, 0], c[1, 1], c[2, 2] = 0.04, 0.04, 0.25
    squared = p[CURVATURE] * p[CURVATURE]
    c[3, 3] = 4e-6 + 36.0 * squared
    c[4, 4] = c[3, 3] * stretch * stretch
    c[5, 5] = curvature_variance(p[CURVATURE])
    r2 = p[X] * p[X] + p[Y] * p[Y]
    c[0, 0] += spread[0] * p[X] * p[X] / r2
    c[1, 1] += spread[0] * p[Y] * p[Y] / r2
    c[0, 1] = spread[0] * p[X] * p[Y] / r2
    c[1, 0] = c[0, 1]
    c[2, 2] += spread[1]
    c[4, 4] += spread[2]
    take_hit(p, c, first, hits, frames, field, scratch)


@routine
def follow(
    seed: Any,
    second: Any,
    state: Any,
    spread: Any,
    hits: Any,
    frames: Any,
    grid: Any,
    stack: Any,
    field: Any,
    cuts: Any,
    scratch: Any,
    way: Any,
) -> Any:
    """Follow a seed of three hits outwards; write its way, and return the steps, the hits, the holes between them and the chi2.

    `second` is the other hit of a first point of strips, -1 without.
    """
    p, c = scratch.state, scratch.covariance
    first = np.uintp(seed[0])
    start(first, state, spread, hits, frames, field, scratch)
    way[0] = seed[0]
    layer = hits.layer[first]
    own, begun = scratch.surface_of[layer], ZERO64 + 1
    if second >= 0 and hits.layer[np.uintp(second)] == layer:
        take_hit(p, c, np.uintp(second), hits, frames, field, scratch)
        way[1], begun = second, 2
    steps, chi2 = take_hits(
        p, c, layer, 2 * stack.spread[own], hits, frames, grid, field, cuts, scratch, way, ZERO64, begun
    )
    count, holes, trailing = steps, 0, 0
    way[steps] = -1 - own
    steps += 1
    cross_matter(p, c, stack.material[own] / facing(p, own < stack.ahead), cuts, 1.0)
    r = math.sqrt(p[X] * p[X] + p[Y] * p[Y])
    cylinder = 0
    while cylinder < stack.ahead and (stack.position[cylinder] < r or cylinder == own):
        cylinder += 1
    forward = p[SLOPE] > 0
    disk, end = (stack.ahead, stack.behind) if forward else (stack.behind, len(stack.position))
    sign = 1.0 if forward else -1.0
    while disk < end and (sign * stack.position[disk] < sign * p[Z] or disk == own):
        disk += 1
    while steps < len(way) - OVERLAPS - 1:
        nominal = bend_locally(p, field)
        cylinder, to_next = next_cylinder(p, cylinder, stack)
        disk, to_disk = next_disk(p, disk, end, to_next if to_next >= 0 else LONGEST, stack)
        unbend(p, nominal, field)
        surface = cylinder
        if to_disk >= 0:
            surface, to_next = disk, to_disk
            disk += 1
        elif to_next >= 0:
            cylinder += 1
        else:
            break
        move(p, c, to_next, field, scratch.work)
        layer = stack.layer[surface]
        if layer >= 0:
            before = steps
            steps, more = take_hits(
                p, c, layer, stack.spread[surface], hits, frames, grid, field, cuts, scratch, way, steps, steps
            )  # fmt: skip
            chi2 += more
            count += steps - before
            if steps > before:
                trailing = 0
            else:
                holes += 1
                trailing += 1
                if holes > (cuts.holes_max if count > FEW_HITS else cuts.early_holes_max):
                    break
        way[steps] = -1 - surface
        steps += 1
        momentum = cross_matter(p, c, stack.material[surface] / facing(p, surface < stack.ahead), cuts, 1.0)
        if momentum < cuts.pt_min:
            break
    while way[steps - 1] < 0:  # what comes after the last hit
        steps -= 1
    return steps, count, holes - trailing, chi2


@body
def facing(p: Any, barrel: Any) -> Any:
    """Return the cosine of the angle between a track and the normal of a layer."""
    if barrel:
        cosine = (p[X] * p[COS] + p[Y] * p[SIN]) / math.sqrt(p[X] * p[X] + p[Y] * p[Y])
    else:
        cosine = abs(p[SLOPE])
    return max(cosine / math.sqrt(1 + p[SLOPE] * p[SLOPE]), 0.1)


@body
def keep_track(
    n: Any, seed: Any, steps: Any, count: Any, holes: Any, chi2: Any, scratch: Any, tracks: Any
) -> None:
    """Write what a seed was followed to as track `n`; its way is there already."""
    tracks.steps[n], tracks.size[n], tracks.holes[n] = steps, count, holes
    tracks.chi2[n], tracks.seed[n] = chi2, seed
    for i in range(7):
        tracks.state[n, i] = scratch.state[i]
    for i in range(6):
        for j in range(6):
            tracks.covariance[n, i, j] = scratch.covariance[i, j]


@routine
def follow_branches(
    n: Any,
    number: Any,
    seed: Any,
    second: Any,
    state: Any,
    spread: Any,
    hits: Any,
    frames: Any,
    grid: Any,
    stack: Any,
    field: Any,
    cuts: Any,
    scratch: Any,
    spare: Any,
    tracks: Any,
) -> None:
    """Follow a seed, then once more with each rival of a hit in its place; write the way with the most hits, less holes, as track `n`.

    Of ways with as many the one with the least chi2 is taken. `spare` is room for another way.
    """
    choice = scratch.choice
    choice[GIVEN_STEP], choice[GIVEN_HIT], choice[RIVALS] = NONE, NONE, 0 if cuts.branches_max > 1 else NONE
    branch, rivals = 0, 0
    while branch <= rivals:
        way = tracks.way[n] if branch == 0 else spare
        steps, count, holes, chi2 = follow(
            seed, second, state, spread, hits, frames, grid, stack, field, cuts, scratch, way
        )
        better = branch == 0
        if better:
            rivals = choice[RIVALS]
            choice[RIVALS] = NONE
        else:
            gain = count - holes - tracks.size[n] + tracks.holes[n]
            better = gain > 0 or (gain == 0 and chi2 < tracks.chi2[n])
            for i in range(steps if better else 0):
                tracks.way[n, i] = spare[i]
        if better:
            keep_track(n, number, steps, count, holes, chi2, scratch, tracks)
        if branch < rivals:
            choice[GIVEN_STEP], choice[GIVEN_HIT] = scratch.rivals[branch, 0], scratch.rivals[branch, 1]
        branch += 1


@body
def is_used(seed: Any, owners: Any) -> Any:
    """Return whether all hits of a seed are on one track already."""
    for k in range(owners.shape[1]):
        owner = owners[np.uintp(seed[0]), k]
        if owner < 0:
            return False
        same = 0
        for j in range(owners.shape[1]):
            same += owners[np.uintp(seed[1]), j] == owner
            same += 16 * (owners[np.uintp(seed[2]), j] == owner)
        if same > 16 and same % 16 > 0:
            return True
    return False


@loop
def follow_seeds(
    order: Any,
    seeds: Any,
    second: Any,
    states: Any,
    spread: Any,
    hits: Any,
    frames: Any,
    grid: Any,
    stack: Any,
    field: Any,
    cuts: Any,
    owners: Any,
    scratch: Any,
    tracks: Any,
) -> Any:
    """Follow seeds, the best first, unless their hits are on one track already; return how many tracks there are."""
    n, followed = 0, 0
    for q in range(len(order)):
        k = np.uintp(order[q])
        if is_used(seeds[k], owners):
            continue
        followed += 1
        follow_branches(
            n, order[q], seeds[k], second[k], states[k], spread[k], hits, frames, grid, stack, field, cuts, scratch, tracks.way[n + 1], tracks
        )  # fmt: skip
        for i in range(tracks.steps[n]):  # also of what is too short: its other seeds would end alike
            if tracks.way[n, i] < 0:
                continue
            hit = np.uintp(tracks.way[n, i])
            for j in range(owners.shape[1]):
                if owners[hit, j] < 0:
                    owners[hit, j] = followed
                    break
        if tracks.size[n] >= cuts.hits_min + tracks.holes[n]:  # each hole asks for one more hit
            n += 1
    return n
