"""Helix states and their covariance: steps, matter, and updates with measurements on modules.

A state is (x, y, z, cosine and sine of the azimuth of its direction, dz / ds, curvature) with s the transverse path length in mm; its
covariance is 6 x 6 in (x, y, z, azimuth, dz / ds, curvature), without extent along the track.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tamis.tracking.kernels.body import body

X, Y, Z, COS, SIN, SLOPE, CURVATURE = range(7)
MASS = 0.13957  # of a pion, in GeV
ELECTRON_MASS, EXCITATION, PLASMA = 0.510999e-3, 173e-9, 31.05e-9  # GeV
BETHE = 0.307075e-3 * 14 / 28.0855 * 2.329 / 10  # K Z / A x density of silicon, GeV per mm
SILICON_X0 = 95.7
ENDS, RATE = (
    0.045,
    0.024,
)  # of a pitch: errors of clusters of several cells, constant and per cell; from simulated events of ACTS
STEEPEST = 0.02  # |cosine| between track and normal of a module below which it is taken as this


@body
def step(p: Any, s: Any) -> Any:
    """Return dx, dy, and the cosine and sine of the turn, after a transverse path length s (series, for turns below 1)."""
    d = p[CURVATURE] * s
    q = d * d
    sinc = 1 - q / 6 * (1 - q / 20 * (1 - q / 42 * (1 - q / 72)))
    cosc = d / 2 * (1 - q / 12 * (1 - q / 30 * (1 - q / 56)))
    return s * (p[COS] * sinc - p[SIN] * cosc), s * (p[SIN] * sinc + p[COS] * cosc), 1 - d * cosc, d * sinc


@body
def advance(p: Any, c: Any, s: Any, scratch: Any) -> None:
    """Move a state and its covariance by a transverse path length."""
    dx, dy, cosine, sine = step(p, s)
    d = p[CURVATURE] * s
    q = d * d
    sinc_rate = -d / 3 * (1 - q / 10 * (1 - q / 28))
    cosc_rate = 0.5 * (1 - q / 4 * (1 - q / 18 * (1 - q / 40)))
    xw = s * s * (p[COS] * sinc_rate - p[SIN] * cosc_rate)
    yw = s * s * (p[SIN] * sinc_rate + p[COS] * cosc_rate)
    p[X] += dx
    p[Y] += dy
    p[Z] += p[SLOPE] * s
    forward, sideways = p[COS], p[SIN]
    p[COS] = forward * cosine - sideways * sine
    p[SIN] = sideways * cosine + forward * sine
    for j in range(6):
        scratch[0, j] = c[0, j] - dy * c[3, j] + xw * c[5, j]
        scratch[1, j] = c[1, j] + dx * c[3, j] + yw * c[5, j]
        scratch[2, j] = c[2, j] + s * c[4, j]
        scratch[3, j] = c[3, j] + s * c[5, j]
        scratch[4, j] = c[4, j]
        scratch[5, j] = c[5, j]
    for i in range(6):
        phi, slope, curvature = scratch[i, 3], scratch[i, 4], scratch[i, 5]
        c[i, 0] = scratch[i, 0] - dy * phi + xw * curvature
        c[i, 1] = scratch[i, 1] + dx * phi + yw * curvature
        c[i, 2] = scratch[i, 2] + s * slope
        c[i, 3] = phi + s * curvature
        c[i, 4] = slope
        c[i, 5] = curvature


@body
def to_cylinder(p: Any, radius: Any) -> Any:
    """Return the transverse path length to a cylinder going outwards, -1 if it is not reached."""
    s = 0.0
    for _ in range(8):
        dx, dy, cosine, sine = step(p, s)
        x, y = p[X] + dx, p[Y] + dy
        rate = 2 * (x * (p[COS] * cosine - p[SIN] * sine) + y * (p[SIN] * cosine + p[COS] * sine))
        if rate < 1e-3 * radius:
            return -1.0
        change = (x * x + y * y - radius * radius) / rate
        s -= change
        if abs(change) < 1e-3:
            break
    if s < 0 or s * abs(p[CURVATURE]) > 1:
        return -1.0
    return s


@body
def cross_matter(p: Any, c: Any, thickness: Any, cuts: Any, direction: Any) -> Any:
    """Scatter in radiation lengths of silicon and lose energy (`direction` 1) or win it back (-1); return the momentum in GeV."""
    slope, curvature = p[SLOPE], p[CURVATURE]
    stretch = 1 + slope * slope
    momentum = cuts.field / max(abs(curvature), 1e-9) * math.sqrt(stretch)
    energy2 = momentum * momentum + MASS * MASS
    angle = 0.0136 / momentum * (1 + 0.038 * math.log(thickness))
    squared = angle * angle * thickness * energy2 / (momentum * momentum)
    c[3, 3] += squared * stretch
    c[4, 4] += squared * stretch * stretch
    c[5, 5] += squared * slope * slope * curvature * curvature
    mixed = squared * slope * stretch * curvature
    c[4, 5] += mixed
    c[5, 4] += mixed
    beta2 = momentum * momentum / energy2
    log = math.log(momentum / MASS)
    density = max(math.log(PLASMA / EXCITATION) + log - 0.5, 0.0)
    rate = BETHE / beta2 * (math.log(2 * ELECTRON_MASS / EXCITATION) + 2 * log - beta2 - density)
    loss = rate * thickness * SILICON_X0
    change = (
        cuts.energy_loss * direction * loss * math.sqrt(energy2) / (momentum * momentum)
    )  # of the momentum, relative
    p[CURVATURE] = curvature * (1 + change + change * change)
    spread = 0.3 * change  # of the energy loss: some 30 %
    c[5, 5] += spread * spread * curvature * curvature
    return momentum


@body
def project(p: Any, curvature: Any, position: Any, frame: Any, out: Any) -> Any:
    """Write the residual of a measurement on a module near by (0, 1), the rows that project positions on it (2 to 7) and how the track is inclined
    along u and v (11, 12); return the way to it.

    The track is followed to the plane of the module to second order, with the curvature where it is. `frame` are the unit vectors of u, v and of the normal.
    """
    cosine, sine, slope = p[COS], p[SIN], p[SLOPE]
    nx, ny, nz = frame[6], frame[7], frame[8]
    along = nx * cosine + ny * sine + nz * slope
    if abs(along) < STEEPEST:
        along = math.copysign(STEEPEST, along)
    dx, dy, dz = position[0] - p[X], position[1] - p[Y], position[2] - p[Z]
    ds = (nx * dx + ny * dy + nz * dz) / along
    bend = 0.5 * curvature * ds * ds
    dx -= cosine * ds - sine * bend
    dy -= sine * ds + cosine * bend
    dz -= slope * ds
    for axis in range(2):
        ax, ay, az = frame[3 * axis], frame[3 * axis + 1], frame[3 * axis + 2]
        out[axis] = ax * dx + ay * dy + az * dz
        tilt = (ax * cosine + ay * sine + az * slope) / along
        out[11 + axis] = tilt
        out[2 + 3 * axis] = ax - tilt * nx
        out[3 + 3 * axis] = ay - tilt * ny
        out[4 + 3 * axis] = az - tilt * nz
    return ds


@body
def chi2_of(c: Any, variance: Any, out: Any) -> Any:
    """Return the chi2 of a projected measurement, and write the inverse of its residual's covariance (8, 9, 10)."""
    a0, a1, a2, b0, b1, b2 = out[2], out[3], out[4], out[5], out[6], out[7]
    x0 = c[0, 0] * a0 + c[0, 1] * a1 + c[0, 2] * a2
    x1 = c[0, 1] * a0 + c[1, 1] * a1 + c[1, 2] * a2
    x2 = c[0, 2] * a0 + c[1, 2] * a1 + c[2, 2] * a2
    y0 = c[0, 0] * b0 + c[0, 1] * b1 + c[0, 2] * b2
    y1 = c[0, 1] * b0 + c[1, 1] * b1 + c[1, 2] * b2
    y2 = c[0, 2] * b0 + c[1, 2] * b1 + c[2, 2] * b2
    s00 = a0 * x0 + a1 * x1 + a2 * x2 + variance[0]
    s01 = b0 * x0 + b1 * x1 + b2 * x2
    s11 = b0 * y0 + b1 * y1 + b2 * y2 + variance[1]
    inverse = 1 / (s00 * s11 - s01 * s01)
    out[8], out[9], out[10] = s11 * inverse, -s01 * inverse, s00 * inverse
    return out[0] * out[0] * out[8] + 2 * out[0] * out[1] * out[9] + out[1] * out[1] * out[10]


@body
def resolve_cells(out: Any, cells: Any, variance: Any) -> None:
    """Write the variances of a cluster on a module that `project` has looked at, from the way of the track through its cells.

    A way of w < 1 pitches leaves the position free within 1 - w, whether it crosses the border of two cells or not; a longer one is
    measured by its ends. `cells` are the pitches, and the thickness divided by them.
    """
    for axis in range(2):
        way = abs(out[11 + axis]) * cells[2 + axis]
        free = max(1 - way, 0.0)
        variance[axis] = (
            cells[axis] * cells[axis] * (free * free / 12 + ENDS * ENDS + RATE * RATE * way * way)
        )


@body
def update(p: Any, c: Any, out: Any, gain: Any) -> None:
    """Correct a state with a measurement that `project` and `chi2_of` have looked at."""
    for j in range(6):
        g0 = c[j, 0] * out[2] + c[j, 1] * out[3] + c[j, 2] * out[4]
        g1 = c[j, 0] * out[5] + c[j, 1] * out[6] + c[j, 2] * out[7]
        gain[2, j], gain[3, j] = g0, g1
        gain[0, j] = g0 * out[8] + g1 * out[9]
        gain[1, j] = g0 * out[9] + g1 * out[10]
    r0, r1 = out[0], out[1]
    p[X] += gain[0, 0] * r0 + gain[1, 0] * r1
    p[Y] += gain[0, 1] * r0 + gain[1, 1] * r1
    p[Z] += gain[0, 2] * r0 + gain[1, 2] * r1
    turn = gain[0, 3] * r0 + gain[1, 3] * r1
    norm = 1 / math.sqrt(1 + turn * turn)
    cosine, sine = p[COS], p[SIN]
    p[COS] = (cosine - sine * turn) * norm
    p[SIN] = (sine + cosine * turn) * norm
    p[SLOPE] += gain[0, 4] * r0 + gain[1, 4] * r1
    p[CURVATURE] += gain[0, 5] * r0 + gain[1, 5] * r1
    for i in range(6):
        for j in range(6):
            c[i, j] -= gain[0, i] * gain[2, j] + gain[1, i] * gain[3, j]


@body
def curvature_variance(w: Any) -> Any:
    """Return the variance of the curvature of a circle through three points near each other."""
    return 0.01 * (w * w) + 3e-9


@body
def start_from_points(p: Any, first: Any, second: Any, third: Any) -> None:
    """Write the state at the first of three points, on the circle through them."""
    ax, ay, bx, by = second[0] - first[0], second[1] - first[1], third[0] - first[0], third[1] - first[1]
    a2, b2 = ax * ax + ay * ay, bx * bx + by * by
    chord2 = (bx - ax) * (bx - ax) + (by - ay) * (by - ay)
    curvature = 2 * (ax * by - ay * bx) / math.sqrt(a2 * b2 * chord2)
    length = math.sqrt(b2)
    half = 0.5 * curvature * length  # sine of half the turn
    cosine = math.sqrt(max(1 - half * half, 0.0))
    p[COS] = (bx * cosine + by * half) / length
    p[SIN] = (by * cosine - bx * half) / length
    arc = length * (1 + half * half / 6 + 3 * half * half * half * half / 40)
    p[X], p[Y], p[Z] = first[0], first[1], first[2]
    p[SLOPE] = (third[2] - first[2]) / arc
    p[CURVATURE] = curvature


@body
def azimuth(x: Any, y: Any) -> Any:
    """Return the azimuth in float32."""
    return np.float32(math.atan2(y, x))
