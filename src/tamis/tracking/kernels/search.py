"""The search for hits on a layer: those that fit a track best correct its state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tamis.tracking.kernels.body import NONE, ZERO64, body, routine
from tamis.tracking.kernels.field import local_curvature
from tamis.tracking.kernels.grid import BARREL, PI
from tamis.tracking.kernels.helix import COS, SIN, SLOPE, X, Y, Z, chi2_of, project, update

TWO_PI = np.float32(2 * math.pi)
AT_HOME = 60.0  # mm from a layer to a module of it
OVERLAPS = 4  # modules of a layer that one track may cross
ANYWHERE = np.int32(-1)  # for a module
GIVEN_STEP, GIVEN_HIT, RIVALS = range(3)  # of `TrackScratch.choice`


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
    curvature: Any,
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
    along, reach, phi, turn, most, above, only = window
    for place in range(begins[np.uintp(first)], begins[np.uintp(last + 1)]):
        i = np.uintp(place)
        apart = abs(hits.phi[i] - phi)
        if abs(hits.along[i] - along) > reach or min(apart, TWO_PI - apart) > turn:
            continue
        taken = only >= 0 and hits.module[i] != only
        for k in range(since, steps):
            taken = taken or hits.module[np.uintp(way[k])] == hits.module[i]
        if taken:
            continue
        ds = project(p, curvature, hits.position[i], frames[np.uintp(hits.module[i])], scratch.projection)
        if abs(ds) > AT_HOME:
            continue
        chi2 = chi2_of(c, hits.variance[i], scratch.projection)
        if chi2 >= most or chi2 <= above:
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
    field: Any,
    cuts: Any,
    scratch: Any,
    way: Any,
    since: Any,
    steps: Any,
    above: Any,
    only: Any,
) -> Any:
    """Return the hit of a layer that fits best (-1 if none does), its chi2 and how many fit, and write its projection.

    Modules of the way from `since` on are left out, as are hits with a chi2 of `above` or less, and those of other modules than `only`.
    """
    curvature = local_curvature(p, field)
    along, reach, phi, turn = window_on_layer(p, c, layer, spread, grid, cuts)
    window = (
        np.float32(along), np.float32(reach), np.float32(phi), np.float32(turn), cuts.chi2_max, above, only
    )  # fmt: skip
    row = max(int((along - reach - grid.first[layer]) * grid.scale[layer]), 0)
    last_row = min(int((along + reach - grid.first[layer]) * grid.scale[layer]), grid.rows - 1)
    begin = max(math.floor((phi - turn + PI) * grid.per_radian), -grid.columns)
    end = min(math.floor((phi + turn + PI) * grid.per_radian), 2 * grid.columns - 1)
    best, least, fitting = NONE, cuts.chi2_max, ZERO64
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
                p, c, curvature, first, last, window, hits, frames, scratch, grid.begins, way, since, steps, best, least, fitting
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
    field: Any,
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
        best, least, fitting = scratch.choice[GIVEN_HIT], 0.0, 2
        if steps == scratch.choice[GIVEN_STEP]:
            least = measure(p, c, np.uintp(best), hits, frames, field, scratch)
        else:
            best, least, fitting = search_layer(
                p,
                c,
                layer,
                spread,
                hits,
                frames,
                grid,
                field,
                cuts,
                scratch,
                way,
                begin,
                steps,
                -1.0,
                ANYWHERE,
            )
        if best < 0:
            break
        if fitting > 1 and scratch.choice[RIVALS] >= 0:
            module = hits.module[np.uintp(best)]
            rival, chi2_of_rival, _ = search_layer(
                p,
                c,
                layer,
                spread,
                hits,
                frames,
                grid,
                field,
                cuts,
                scratch,
                way,
                begin,
                steps,
                least,
                module,
            )
            if rival >= 0:
                remember_rival(steps, rival, chi2_of_rival - least, cuts.branches_max - 1, scratch)
                measure(p, c, np.uintp(best), hits, frames, field, scratch)
        update(p, c, scratch.best, scratch.gain)
        chi2 += least
        way[steps] = best
        steps += 1
        if fitting < 2:  # another module where tracks overlap would have had a hit
            break
    return steps, chi2


@body
def measure(p: Any, c: Any, hit: Any, hits: Any, frames: Any, field: Any, scratch: Any) -> Any:
    """Write the projection of a hit as the best one; return its chi2."""
    curvature = local_curvature(p, field)
    project(p, curvature, hits.position[hit], frames[np.uintp(hits.module[hit])], scratch.best)
    return chi2_of(c, hits.variance[hit], scratch.best)


@body
def remember_rival(at: Any, hit: Any, gap: Any, most: Any, scratch: Any) -> None:
    """Remember a hit that a track might take at a step instead of the best one; of more than `most` those that are nearest to the best."""
    slot = scratch.choice[RIVALS]
    if slot < most:
        scratch.choice[RIVALS] = slot + 1
    else:
        slot = 0
        for k in range(1, most):
            if scratch.gaps[k] > scratch.gaps[slot]:
                slot = k
        if gap >= scratch.gaps[slot]:
            return
    scratch.gaps[slot], scratch.rivals[slot, 0], scratch.rivals[slot, 1] = gap, at, hit
