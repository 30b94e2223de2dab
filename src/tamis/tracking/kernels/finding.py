"""Track finding: a seed is followed outwards layer by layer with a Kalman filter that takes the hits that fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tamis.tracking.kernels.body import body, loop, routine
from tamis.tracking.kernels.grid import BARREL, PI
from tamis.tracking.kernels.helix import (
    COS,
    CURVATURE,
    SIN,
    SLOPE,
    X,
    Y,
    Z,
    advance,
    chi2_of,
    cross_matter,
    curvature_variance,
    project,
    step,
    to_cylinder,
    update,
)

NONE = -1
TWO_PI = np.float32(2 * math.pi)
LONGEST = 4000.0  # mm to the next layer
AT_HOME = 60.0  # mm from a layer to a module of it
FEW_HITS = 4  # up to here a track may have fewer holes: most seeds are of no particle, and end here
OVERLAPS = 4  # modules of a layer that one track may cross


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
def window_on_layer(p: Any, c: Any, layer: Any, spread: Any, grid: Any, cuts: Any) -> Any:
    """Return where on a layer hits of a track may be: z of a cylinder or r of a disk, its tolerance, the azimuth and its tolerance."""
    x, y = p[X], p[Y]
    r2 = x * x + y * y
    r = math.sqrt(r2)
    outward, sideways = (x * p[COS] + y * p[SIN]) / r, (x * p[SIN] - y * p[COS]) / r
    variance_phi = (c[0, 0] * y * y - 2 * c[0, 1] * x * y + c[1, 1] * x * x) / (r2 * r2)
    if grid.kind[layer] == BARREL:
        along, variance = p[Z], c[2, 2]
        depth = spread / max(outward, 0.1)  # how far the track may go to reach a module
        reach = depth * abs(p[SLOPE])
    else:
        along, variance = r, (c[0, 0] * x * x + 2 * c[0, 1] * x * y + c[1, 1] * y * y) / r2
        depth = spread / max(abs(p[SLOPE]), 0.1)
        reach = depth * abs(outward)
    turn = depth * abs(sideways) / r
    reach += cuts.window * math.sqrt(max(variance, 0.0) + grid.variance_z[layer]) + 0.1
    turn += cuts.window * math.sqrt(max(variance_phi, 0.0) + grid.variance_r[layer] / r2) + 0.1 / r
    return along, reach, math.atan2(y, x), turn


@body
def best_in_cells(
    p: Any,
    c: Any,
    first: Any,
    last: Any,
    window: Any,
    hits: Any,
    frames: Any,
    scratch: Any,
    begins: Any,
    way: Any,
    since: Any,
    steps: Any,
    best: Any,
    least: Any,
    fitting: Any,
) -> Any:
    """Return the hit that fits best among those of some cells side by side and the best before, its chi2, and how many fit."""
    along, reach, phi, turn, most = window
    for place in range(begins[np.uintp(first)], begins[np.uintp(last + 1)]):
        i = np.uintp(place)
        apart = abs(hits.phi[i] - phi)
        if abs(hits.along[i] - along) > reach or min(apart, TWO_PI - apart) > turn:
            continue
        taken = False
        for k in range(since, steps):
            taken = taken or hits.module[np.uintp(way[k])] == hits.module[i]
        if taken:
            continue
        ds = project(p, hits.position[i], frames[np.uintp(hits.module[i])], scratch.projection)
        if abs(ds) > AT_HOME:
            continue
        chi2 = chi2_of(c, hits.variance[i], scratch.projection)
        if chi2 >= most:
            continue
        fitting += 1
        if chi2 < least:
            best, least = place, chi2
            for k in range(13):
                scratch.best[k] = scratch.projection[k]
    return best, least, fitting


@routine
def search_layer(
    p: Any,
    c: Any,
    layer: Any,
    spread: Any,
    hits: Any,
    frames: Any,
    grid: Any,
    cuts: Any,
    scratch: Any,
    way: Any,
    since: Any,
    steps: Any,
) -> Any:
    """Return the hit of a layer that fits best (-1 if none does), its chi2 and how many fit, and write its projection.

    Modules of the way from `since` on are left out.
    """
    along, reach, phi, turn = window_on_layer(p, c, layer, spread, grid, cuts)
    window = np.float32(along), np.float32(reach), np.float32(phi), np.float32(turn), cuts.chi2_max
    row = max(int((along - reach - grid.first[layer]) * grid.scale[layer]), 0)
    last_row = min(int((along + reach - grid.first[layer]) * grid.scale[layer]), grid.rows - 1)
    begin = max(math.floor((phi - turn + PI) * grid.per_radian), -grid.columns)
    end = min(math.floor((phi + turn + PI) * grid.per_radian), 2 * grid.columns - 1)
    best, least, fitting = NONE, cuts.chi2_max, 0
    parts = 2 if begin < 0 or end >= grid.columns else 1  # the second one on the other side of azimuth pi
    while row <= last_row:
        cell = (layer * grid.rows + row) * grid.columns
        for part in range(parts):
            first, last = cell + max(begin, 0), cell + min(end, grid.columns - 1)
            if part == 1 and begin < 0:
                first, last = cell + begin + grid.columns, cell + grid.columns - 1
            elif part == 1:
                first, last = cell, cell + end - grid.columns
            best, least, fitting = best_in_cells(
                p, c, first, last, window, hits, frames, scratch, grid.begins, way, since, steps, best, least, fitting
            )  # fmt: skip
        row += 1
    return best, least, fitting


@routine
def take_hits(
    p: Any,
    c: Any,
    layer: Any,
    spread: Any,
    hits: Any,
    frames: Any,
    grid: Any,
    cuts: Any,
    scratch: Any,
    way: Any,
    begin: Any,
    steps: Any,
) -> Any:
    """Correct the state with the hits of a layer that fit, each on a module of its own; return the steps of the way and the chi2.

    The way has hits of this layer from `begin` on.
    """
    chi2 = 0.0
    while steps < len(way) and steps - begin < OVERLAPS:
        best, least, fitting = search_layer(
            p, c, layer, spread, hits, frames, grid, cuts, scratch, way, begin, steps
        )
        if best < 0:
            break
        update(p, c, scratch.best, scratch.gain)
        chi2 += least
        way[steps] = best
        steps += 1
        if fitting < 2:  # another module where tracks overlap would have had a hit
            break
    return steps, chi2


@body
def take_hit(p: Any, c: Any, hit: Any, hits: Any, frames: Any, scratch: Any) -> None:
    """Correct the state with a hit, whatever its chi2."""
    project(p, hits.position[hit], frames[np.uintp(hits.module[hit])], scratch.projection)
    chi2_of(c, hits.variance[hit], scratch.projection)
    update(p, c, scratch.projection, scratch.gain)


@body
def start(first: Any, state: Any, spread: Any, hits: Any, frames: Any, scratch: Any) -> None:
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
    take_hit(p, c, first, hits, frames, scratch)


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
    cuts: Any,
    scratch: Any,
    way: Any,
) -> Any:
    """Follow a seed of three hits outwards; write its way, and return the steps, the hits, the holes between them and the chi2.

    `second` is the other hit of a first point of strips, -1 without.
    """
    p, c = scratch.state, scratch.covariance
    first = np.uintp(seed[0])
    start(first, state, spread, hits, frames, scratch)
    way[0] = seed[0]
    layer = hits.layer[first]
    own = scratch.surface_of[layer]
    begun = 1
    if second >= 0 and hits.layer[np.uintp(second)] == layer:
        take_hit(p, c, np.uintp(second), hits, frames, scratch)
        way[1], begun = second, 2
    steps, chi2 = take_hits(
        p, c, layer, 2 * stack.spread[own], hits, frames, grid, cuts, scratch, way, 0, begun
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
        cylinder, to_next = next_cylinder(p, cylinder, stack)
        disk, to_disk = next_disk(p, disk, end, to_next if to_next >= 0 else LONGEST, stack)
        surface = cylinder
        if to_disk >= 0:
            surface, to_next = disk, to_disk
            disk += 1
        elif to_next >= 0:
            cylinder += 1
        else:
            break
        advance(p, c, to_next, scratch.work)
        layer = stack.layer[surface]
        if layer >= 0:
            before = steps
            steps, more = take_hits(
                p, c, layer, stack.spread[surface], hits, frames, grid, cuts, scratch, way, steps, steps
            )
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
        steps, count, holes, chi2 = follow(
            seeds[k],
            second[k],
            states[k],
            spread[k],
            hits,
            frames,
            grid,
            stack,
            cuts,
            scratch,
            tracks.way[n],
        )
        for i in range(steps):  # also of what is too short: its other seeds would end alike
            if tracks.way[n, i] < 0:
                continue
            hit = np.uintp(tracks.way[n, i])
            for j in range(owners.shape[1]):
                if owners[hit, j] < 0:
                    owners[hit, j] = followed
                    break
        if count < cuts.hits_min + holes:  # each hole asks for one more hit
            continue
        keep_track(n, order[q], steps, count, holes, chi2, scratch, tracks)
        n += 1
    return n
