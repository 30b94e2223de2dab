"""The inward pass: a Kalman filter over the hits of a track from outside in, to the point nearest to the beam."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tamis.tracking.kernels.body import NONE, ZERO64, body, loop, routine
from tamis.tracking.kernels.field import CONSTANT_NUMBERS, bend_locally, local_curvature, move, unbend
from tamis.tracking.kernels.finding import facing
from tamis.tracking.kernels.helix import (
    COS,
    CURVATURE,
    SIN,
    SLOPE,
    X,
    Y,
    Z,
    chi2_of,
    cross_matter,
    project,
    resolve_cells,
    step,
    update,
)
from tamis.tracking.kernels.search import GIVEN_STEP, RIVALS, take_hits

INFLATION = 1000.0  # of the covariance, at the beginning: what the outward pass learnt must not count twice


@body
def to_beam(p: Any) -> Any:
    """Return the transverse path length to the point nearest to the beam."""
    along = p[X] * p[COS] + p[Y] * p[SIN]
    across = p[Y] * p[COS] - p[X] * p[SIN]
    w = p[CURVATURE]
    turn = math.atan2(-w * along, 1 + w * across)
    if abs(w) < 1e-9:
        return -along
    return turn / w


@body
def back_to_cylinder(p: Any, radius: Any) -> Any:
    """Return the transverse path length (negative) back to a cylinder that the track has come through, 0 where it has not."""
    r = math.sqrt(p[X] * p[X] + p[Y] * p[Y])
    along = p[X] * p[COS] + p[Y] * p[SIN]
    if along <= 0 or r <= radius:
        return 0.0
    s = radius - r
    for _ in range(8):
        dx, dy, cosine, sine = step(p, s)
        x, y = p[X] + dx, p[Y] + dy
        missing = x * x + y * y - radius * radius
        rate = 2 * (x * (p[COS] * cosine - p[SIN] * sine) + y * (p[SIN] * cosine + p[COS] * sine))
        if rate < 1e-2 * radius or s * p[CURVATURE] > 1 or s * p[CURVATURE] < -1:
            return 0.0
        if abs(missing) < 2e-3 * radius:
            return min(s, 0.0)
        s -= missing / rate
    return 0.0


@body
def way_inwards(p: Any, surface: Any, stack: Any) -> Any:
    """Return the transverse path length (negative) back to a surface; 0 where it is not met."""
    if surface < stack.ahead:
        return back_to_cylinder(p, stack.position[surface])
    return min((stack.position[surface] - p[Z]) / p[SLOPE], 0.0)


@routine
def fit_inwards(
    way: Any,
    steps: Any,
    p: Any,
    c: Any,
    hits: Any,
    frames: Any,
    cells: Any,
    stack: Any,
    field: Any,
    cuts: Any,
    scratch: Any,
) -> Any:
    """Filter the hits from the last to the first; return the chi2."""
    for i in range(6):
        for j in range(6):
            c[i, j] *= INFLATION
    chi2 = 0.0
    pending = -1
    for k in range(steps):
        code = way[steps - 1 - k]
        if code < 0:
            pending = -1 - code
            hit_follows = stack.layer[pending] >= 0 and k + 1 < steps and way[steps - 2 - k] >= 0
            if not hit_follows:
                nominal = bend_locally(p, field)
                s = way_inwards(p, pending, stack)
                unbend(p, nominal, field)
                if s != 0:
                    move(p, c, s, field, scratch.work)
                cross_matter(p, c, stack.material[pending] / facing(p, pending < stack.ahead), cuts, -1.0)
                pending = -1
            continue
        hit = np.uintp(code)
        frame = frames[np.uintp(hits.module[hit])]
        for _ in range(2):
            s = project(p, local_curvature(p, field), hits.position[hit], frame, scratch.projection)
            if abs(s) > 1e-4:
                move(p, c, s, field, scratch.work)
        if pending >= 0:
            cross_matter(p, c, stack.material[pending] / facing(p, pending < stack.ahead), cuts, -1.0)
            pending = -1
        project(p, local_curvature(p, field), hits.position[hit], frame, scratch.projection)
        resolve_cells(scratch.projection, cells[np.uintp(hits.module[hit])], scratch.variance)
        chi2 += chi2_of(c, scratch.variance, scratch.projection)
        update(p, c, scratch.projection, scratch.gain)
    return chi2


@body
def finish_at_beam(p: Any, c: Any, field: Any, scratch: Any) -> None:
    """Move a state near the point nearest to the beam to that point: a mapped field has changed on the way there."""
    if len(field) > CONSTANT_NUMBERS:
        move(p, c, to_beam(p), field, scratch.work)


@routine
def go_to_beam(
    p: Any,
    c: Any,
    own: Any,
    hits: Any,
    frames: Any,
    grid: Any,
    stack: Any,
    field: Any,
    cuts: Any,
    scratch: Any,
    more: Any,
) -> Any:
    """Go from the first hit to the point nearest to the beam and take hits on the way; return how many and their chi2."""
    r = math.sqrt(p[X] * p[X] + p[Y] * p[Y])
    cylinder = stack.ahead - 1
    while cylinder >= 0 and (stack.position[cylinder] > r or cylinder == own):
        cylinder -= 1
    first, last = (stack.ahead, stack.behind) if p[SLOPE] > 0 else (stack.behind, len(stack.position))
    disk = last - 1
    while disk >= first and (abs(stack.position[disk]) > abs(p[Z]) or disk == own):
        disk -= 1
    steps, chi2 = ZERO64, 0.0
    while True:
        nominal = bend_locally(p, field)
        to_beam_now = to_beam(p)
        surface, s = -1, to_beam_now
        while cylinder >= 0:
            t = way_inwards(p, cylinder, stack)
            z = p[Z] + p[SLOPE] * t
            if t < 0 and stack.low[cylinder] <= z <= stack.high[cylinder]:
                surface, s = cylinder, t
                break
            cylinder -= 1
        while disk >= first:
            t = way_inwards(p, disk, stack)
            if t < s:
                break
            dx, dy, _, _ = step(p, t)
            x, y = p[X] + dx, p[Y] + dy
            r2 = x * x + y * y
            if t < 0 and stack.low[disk] * stack.low[disk] <= r2 <= stack.high[disk] * stack.high[disk]:
                surface, s = disk, t
                break
            disk -= 1
        unbend(p, nominal, field)
        move(p, c, s, field, scratch.work)
        if surface < 0:
            finish_at_beam(p, c, field, scratch)
            return steps, chi2
        if surface == cylinder:
            cylinder -= 1
        else:
            disk -= 1
        cross_matter(p, c, stack.material[surface] / facing(p, surface < stack.ahead), cuts, -1.0)
        if stack.layer[surface] >= 0:
            steps, extra = take_hits(
                p,
                c,
                stack.layer[surface],
                stack.spread[surface],
                hits,
                frames,
                grid,
                field,
                cuts,
                scratch,
                more,
                steps,
                steps,
            )
            chi2 += extra


@body
def perigee(
    p: Any, c: Any, curvature: Any, field: Any, rates: Any, row: Any, out: Any, covariance: Any
) -> None:
    """Write d0, z0, azimuth, polar angle, q / p and their covariance (5 x 5) of a state at the point nearest to the beam, as ACTS defines them.

    `curvature` is that at this point, `field` is in GeV per mm of the radius that the curvature of the state means. `rates` is room for the derivatives of the five parameters by the six components of the state, `row` for six numbers.
    """
    cosine, sine, slope, w = p[COS], p[SIN], p[SLOPE], p[CURVATURE]
    stretch = math.sqrt(1 + slope * slope)
    out[0] = p[Y] * cosine - p[X] * sine
    out[1] = p[Z]
    out[2] = math.atan2(sine, cosine)
    out[3] = math.atan2(1.0, slope)
    out[4] = -w / (field * stretch)
    for a in range(5):
        for i in range(6):
            rates[a, i] = 0.0
    rates[0, 0], rates[0, 1] = -sine, cosine
    moved = 1 / (1 + curvature * out[0])  # a change of the state also moves the nearest point along the track
    rates[1, 0], rates[1, 1], rates[1, 2] = -slope * cosine * moved, -slope * sine * moved, 1.0
    rates[1, 3] = -slope * out[0] * moved
    rates[2, 0], rates[2, 1] = -curvature * cosine * moved, -curvature * sine * moved
    rates[2, 3] = moved
    rates[3, 4] = -1 / (stretch * stretch)
    rates[4, 4], rates[4, 5] = w * slope / (field * stretch * stretch * stretch), -1 / (field * stretch)
    for a in range(5):
        for j in range(6):
            row[j] = 0.0
            for i in range(6):
                row[j] += rates[a, i] * c[i, j]
        for b in range(5):
            total = 0.0
            for j in range(6):
                total += row[j] * rates[b, j]
            covariance[a, b] = total


@routine
def fit_track(
    n: Any,
    k: Any,
    tracks: Any,
    hits: Any,
    frames: Any,
    cells: Any,
    grid: Any,
    stack: Any,
    field: Any,
    cuts: Any,
    scratch: Any,
    fits: Any,
) -> None:
    """Fit track `k` inwards, and write its parameters at the perigee and the hits that were found further in to row `n`."""
    p, c = tracks.state[k], tracks.covariance[k]
    scratch.choice[GIVEN_STEP], scratch.choice[RIVALS] = NONE, NONE
    chi2 = fit_inwards(tracks.way[k], tracks.steps[k], p, c, hits, frames, cells, stack, field, cuts, scratch)
    own = scratch.surface_of[hits.layer[np.uintp(tracks.way[k, 0])]]
    fits.inner_count[n], more = go_to_beam(
        p, c, own, hits, frames, grid, stack, field, cuts, scratch, fits.inner[n]
    )
    fits.chi2[n] = chi2 + more
    bend = local_curvature(p, field)
    perigee(p, c, bend, cuts.field, scratch.work, scratch.projection, fits.parameters[n], fits.covariance[n])


@loop
def fit_tracks(
    chosen: Any,
    tracks: Any,
    hits: Any,
    frames: Any,
    cells: Any,
    grid: Any,
    stack: Any,
    field: Any,
    cuts: Any,
    scratch: Any,
    fits: Any,
) -> None:
    """Fit some of the tracks."""
    for n in range(len(chosen)):
        fit_track(
            n, np.uintp(chosen[n]), tracks, hits, frames, cells, grid, stack, field, cuts, scratch, fits
        )
