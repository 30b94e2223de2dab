"""Helix states in a mapped field: the curvature where a track is, and steps through a field that changes on the way.

The curvature of a state is that in the nominal field, so that it goes with q / p everywhere; what bends a track is the field where it is.
With s the transverse path length, k the curvature, A the azimuth of the direction minus that of the position, and Br and Bz relative to the
nominal field, the force q v x B turns the azimuth by k (Bz - slope Br cos A) ds, the slope by k (1 + slope^2) Br sin A ds and the
curvature by k^2 slope Br sin A ds.

A constant field is a tuple of one number, a map one of several (`ConstantField`, `MappedField`). Numba knows the length when it compiles, and
leaves out branches that depend on it: in the code for a constant field there is nothing of this.
"""

from __future__ import annotations

import math
from typing import Any

from tamis.tracking.kernels.body import body
from tamis.tracking.kernels.helix import (
    COS,
    CURVATURE,
    SIN,
    SLOPE,
    X,
    Y,
    Z,
    advance,
    start_from_points,
    step,
)

CONSTANT_NUMBERS = 1  # of a constant field
NEAR_AXIS = 1e-6  # mm
SHARE_MIN = (
    0.05  # of the nominal field: with less a circle through three points says little about the momentum
)


@body
def field_at(x: Any, y: Any, z: Any, field: Any) -> Any:
    """Return Br / r (per mm) and Bz at a point, relative to the nominal field; beyond the map those at its edge."""
    rows, columns = field.values.shape[0], field.values.shape[1]
    r = math.sqrt(x * x + y * y)
    at_r = min(r * field.per_r, rows - 1.0)
    at_z = min(max((z - field.z_first) * field.per_z, 0.0), columns - 1.0)
    i, j = min(int(at_r), rows - 2), min(int(at_z), columns - 2)
    u, v = at_r - i, at_z - j
    a, b, c, d = (1 - u) * (1 - v), (1 - u) * v, u * (1 - v), u * v
    values = field.values
    br = a * values[i, j, 0] + b * values[i, j + 1, 0] + c * values[i + 1, j, 0] + d * values[i + 1, j + 1, 0]
    bz = a * values[i, j, 1] + b * values[i, j + 1, 1] + c * values[i + 1, j, 1] + d * values[i + 1, j + 1, 1]
    return br / max(r, NEAR_AXIS), bz


@body
def bending(x: Any, y: Any, z: Any, cosine: Any, sine: Any, slope: Any, field: Any) -> Any:
    """Return Bz - slope Br cos A, Br cos A and Br sin A for a direction at a point."""
    radial, bz = field_at(x, y, z, field)
    along, across = radial * (x * cosine + y * sine), radial * (x * sine - y * cosine)
    return bz - slope * along, along, across


@body
def local_curvature(p: Any, field: Any) -> Any:
    """Return the curvature of a track where it is."""
    if len(field) > CONSTANT_NUMBERS:
        share, _, _ = bending(p[X], p[Y], p[Z], p[COS], p[SIN], p[SLOPE], field)
        return p[CURVATURE] * share
    return p[CURVATURE]


@body
def bend_locally(p: Any, field: Any) -> Any:
    """Give a state the curvature where it is, to look for surfaces ahead; return that of the state, for `unbend`."""
    nominal = p[CURVATURE]
    if len(field) > CONSTANT_NUMBERS:
        p[CURVATURE] = local_curvature(p, field)
    return nominal


@body
def unbend(p: Any, nominal: Any, field: Any) -> None:
    """Give a state its own curvature back."""
    if len(field) > CONSTANT_NUMBERS:
        p[CURVATURE] = nominal


@body
def move(p: Any, c: Any, s: Any, field: Any, scratch: Any) -> None:
    """Move a state and its covariance by a transverse path length."""
    if len(field) > CONSTANT_NUMBERS:
        move_in_map(p, c, s, field, scratch)
    else:
        advance(p, c, s, scratch)


@body
def move_in_map(p: Any, c: Any, s: Any, field: Any, scratch: Any) -> None:
    """Move a state with the field at the begin, in the middle and at the end of the way (Simpson's rule), and the covariance with the mean one."""
    k, slope, half = p[CURVATURE], p[SLOPE], 0.5 * s
    stretch = 1 + slope * slope
    share, _, across = bending(p[X], p[Y], p[Z], p[COS], p[SIN], slope, field)
    bend, rise, growth = k * share, k * stretch * across, k * k * slope * across
    p[CURVATURE] = bend
    dx, dy, cosine, sine = step(p, half)
    middle_cosine, middle_sine = p[COS] * cosine - p[SIN] * sine, p[SIN] * cosine + p[COS] * sine
    middle_slope, middle_k = slope + half * rise, k + half * growth
    middle_z = p[Z] + half * (slope + 0.5 * half * rise)
    middle_share, middle_along, across = bending(
        p[X] + dx, p[Y] + dy, middle_z, middle_cosine, middle_sine, middle_slope, field
    )
    middle_bend = middle_k * middle_share
    middle_rise = middle_k * (1 + middle_slope * middle_slope) * across
    middle_growth = middle_k * middle_k * middle_slope * across
    p[CURVATURE] = middle_bend
    dx, dy, cosine, sine = step(p, s)
    last_slope, last_k = slope + s * middle_rise, k + s * middle_growth
    last_share, _, across = bending(
        p[X] + dx, p[Y] + dy, p[Z] + s * (slope + half * middle_rise), p[COS] * cosine - p[SIN] * sine, p[SIN] * cosine + p[COS] * sine,
        last_slope, field,
    )  # fmt: skip
    last_bend = last_k * last_share
    p[CURVATURE] = (bend + 4 * middle_bend + last_bend) / 6
    dx, dy, xw, yw = turn(p, s)
    shift = (bend - last_bend) * s * s / 12  # to the left: it matters where on the way the track bends
    p[X] -= middle_sine * shift
    p[Y] += middle_cosine * shift
    p[Z] += s * (slope + s * (rise + 2 * middle_rise) / 6)
    last_rise = last_k * (1 + last_slope * last_slope) * across
    p[SLOPE] = slope + s * (rise + 4 * middle_rise + last_rise) / 6
    p[CURVATURE] = k + s * (growth + 4 * middle_growth + last_k * last_k * last_slope * across) / 6
    carry(
        c, s, dx, dy, xw, yw, (share + 4 * middle_share + last_share) / 6, -middle_k * middle_along, scratch
    )


# `advance` has the formulas of these two in one piece: in two it rounds differently, and tracks in a constant field would change in the last bits.
@body
def turn(p: Any, s: Any) -> Any:
    """Move a state in the transverse plane, as `advance` does; return dx, dy, and their derivatives by the curvature."""
    dx, dy, cosine, sine = step(p, s)
    d = p[CURVATURE] * s
    q = d * d
    sinc_rate = -d / 3 * (1 - q / 10 * (1 - q / 28))
    cosc_rate = 0.5 * (1 - q / 4 * (1 - q / 18 * (1 - q / 40)))
    xw = s * s * (p[COS] * sinc_rate - p[SIN] * cosc_rate)
    yw = s * s * (p[SIN] * sinc_rate + p[COS] * cosc_rate)
    p[X] += dx
    p[Y] += dy
    forward, sideways = p[COS], p[SIN]
    p[COS] = forward * cosine - sideways * sine
    p[SIN] = sideways * cosine + forward * sine
    return dx, dy, xw, yw


@body
def carry(c: Any, s: Any, dx: Any, dy: Any, xw: Any, yw: Any, share: Any, tilt: Any, scratch: Any) -> None:
    """Move a covariance by a transverse path length, with what `turn` returns.

    The curvature on the way changes by `share` with that of the state, and by `tilt` with dz / ds: 1 and 0 in the nominal field.
    """
    for j in range(6):
        bend = share * c[5, j] + tilt * c[4, j]
        scratch[0, j] = c[0, j] - dy * c[3, j] + xw * bend
        scratch[1, j] = c[1, j] + dx * c[3, j] + yw * bend
        scratch[2, j] = c[2, j] + s * c[4, j]
        scratch[3, j] = c[3, j] + s * bend
        scratch[4, j] = c[4, j]
        scratch[5, j] = c[5, j]
    for i in range(6):
        phi, slope, curvature = scratch[i, 3], scratch[i, 4], scratch[i, 5]
        bend = share * curvature + tilt * slope
        c[i, 0] = scratch[i, 0] - dy * phi + xw * bend
        c[i, 1] = scratch[i, 1] + dx * phi + yw * bend
        c[i, 2] = scratch[i, 2] + s * slope
        c[i, 3] = phi + s * bend
        c[i, 4] = slope
        c[i, 5] = curvature


@body
def start_in_field(p: Any, first: Any, second: Any, third: Any, field: Any) -> None:
    """Write the state at the first of three points, on the circle through them; its curvature is divided by the mean field at the points."""
    start_from_points(p, first, second, third)
    if len(field) > CONSTANT_NUMBERS:
        dx, dy = third[0] - first[0], third[1] - first[1]
        inverse = 1 / math.sqrt(dx * dx + dy * dy)
        cosine, sine = dx * inverse, dy * inverse
        a, _, _ = bending(first[0], first[1], first[2], cosine, sine, p[SLOPE], field)
        b, _, _ = bending(second[0], second[1], second[2], cosine, sine, p[SLOPE], field)
        c, _, _ = bending(third[0], third[1], third[2], cosine, sine, p[SLOPE], field)
        share = (a + b + c) / 3
        p[CURVATURE] /= math.copysign(max(abs(share), SHARE_MIN), share)
