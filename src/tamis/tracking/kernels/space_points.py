"""Space points: pixels, or two strips that cross as seen from the beam spot, with their variance along r and z."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tamis.tracking.kernels.body import body, loop, routine

LEAST_VARIANCE = 1e-4  # mm^2
BEYOND_MM = 3.0  # a strip may be crossed this far beyond its end: tracks come from all along the beam spot
PARALLEL_SINE = 1e-6


@body
def spread_of(position: Any, variance: Any, axes: Any) -> Any:
    """Return the variances along r and z of a point on a module.

    Clusters of many cells are not as good as their weights say, above all in long ones on inclined ways: without the least variance the
    cuts of the seeding would lose one straight track in 200.
    """
    scale = 1 / math.sqrt(position[0] * position[0] + position[1] * position[1])
    u_r = scale * (position[0] * axes[0] + position[1] * axes[1])
    v_r = scale * (position[0] * axes[3] + position[1] * axes[4])
    u, v = variance[0] + LEAST_VARIANCE, variance[1] + LEAST_VARIANCE
    return u_r * u_r * u + v_r * v_r * v, axes[2] * axes[2] * u + axes[5] * axes[5] * v


@body
def make_point(k: Any, i: Any, layer: Any, clusters: Any, frames: Any, points: Any) -> None:
    """Write the space point of cluster `k` to row `i`."""
    position = clusters.position[k]
    points.x[i], points.y[i], points.z[i] = position[0], position[1], position[2]
    axes = frames.axes[np.uintp(clusters.module[k])]
    points.variance_r[i], points.variance_z[i] = spread_of(position, clusters.variance[k], axes)
    points.layer[i] = layer
    points.cluster[i], points.second[i] = k, -1


@body
def strip_of(k: Any, clusters: Any, frames: Any) -> Any:
    """Return the middle of the strip of a cluster, its direction, half its length, and the variance across it."""
    module = np.uintp(clusters.module[k])
    axes = frames.axes[module]
    x, y, z = clusters.position[k, 0], clusters.position[k, 1], clusters.position[k, 2]
    if frames.grid[module, 3] > frames.grid[module, 2]:
        half, variance = 0.5 * frames.grid[module, 3], clusters.variance[k, 0]
        return x, y, z, axes[3], axes[4], axes[5], half, variance + LEAST_VARIANCE
    half, variance = 0.5 * frames.grid[module, 2], clusters.variance[k, 1]
    return x, y, z, axes[0], axes[1], axes[2], half, variance + LEAST_VARIANCE


@body
def first_of_module(clusters: Any, module: Any) -> Any:
    """Return the first cluster on a module or on one behind it; clusters are sorted by module."""
    low, high = 0, len(clusters.module)
    while low < high:
        middle = (low + high) // 2
        if clusters.module[np.uintp(middle)] < module:
            low = middle + 1
        else:
            high = middle
    return low


@routine
def cross_strips(
    k: Any,
    layer: Any,
    partner: Any,
    clusters: Any,
    frames: Any,
    curvature_max: Any,
    points: Any,
    at: Any,
) -> Any:
    """Append the points where the strip of cluster `k` crosses those of another module; return how many there are now, also beyond the room.

    A line from the beam spot meets a strip (middle c, direction d) and another one (c', d') at c + m d, where m is -c n / (d n) with
    n = d' x c', and the other way round; the point is the middle between both. A track that is bent by a curvature of w passes the second
    strip aside of that line by w r dr / 2, which displaces the point along the strips by `bend` w: the longer the smaller the angle is.
    """
    ax, ay, az, ux, uy, uz, half_a, variance_a = strip_of(k, clusters, frames)
    nx, ny, nz = uy * az - uz * ay, uz * ax - ux * az, ux * ay - uy * ax
    place = first_of_module(clusters, partner)
    while place < len(clusters.module) and clusters.module[np.uintp(place)] == partner:
        bx, by, bz, vx, vy, vz, half_b, variance_b = strip_of(np.uintp(place), clusters, frames)
        place += 1
        mx, my, mz = vy * bz - vz * by, vz * bx - vx * bz, vx * by - vy * bx
        toward_a, toward_b = ux * mx + uy * my + uz * mz, vx * nx + vy * ny + vz * nz
        if abs(toward_a) < PARALLEL_SINE or abs(toward_b) < PARALLEL_SINE:
            continue
        a, b = -(ax * mx + ay * my + az * mz) / toward_a, -(bx * nx + by * ny + bz * nz) / toward_b
        px, py, pz = ax + a * ux, ay + a * uy, az + a * uz
        qx, qy, qz = bx + b * vx, by + b * vy, bz + b * vz
        x, y, z = 0.5 * (px + qx), 0.5 * (py + qy), 0.5 * (pz + qz)
        r = math.sqrt(x * x + y * y)
        rx, ry = x / r, y / r
        aside = 0.5 * r * ((qx - px) * rx + (qy - py) * ry)
        shift_a = -aside * (rx * my - ry * mx) / toward_a
        shift_b = aside * (rx * ny - ry * nx) / toward_b
        if abs(a) > half_a + BEYOND_MM + curvature_max * abs(shift_a):
            continue
        if abs(b) > half_b + BEYOND_MM + curvature_max * abs(shift_b):
            continue
        if at < len(points.x):
            i = np.uintp(at)
            cx, cy, cz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
            scale = 1 / (cx * cx + cy * cy + cz * cz)
            u_r, v_r = ux * rx + uy * ry, vx * rx + vy * ry
            points.x[i], points.y[i], points.z[i] = x, y, z
            points.variance_r[i] = scale * (v_r * v_r * variance_a + u_r * u_r * variance_b)
            points.variance_z[i] = scale * (vz * vz * variance_a + uz * uz * variance_b)
            points.bend_x[i] = 0.5 * (shift_a * ux + shift_b * vx)
            points.bend_y[i] = 0.5 * (shift_a * uy + shift_b * vy)
            points.bend_z[i] = 0.5 * (shift_a * uz + shift_b * vz)
            points.layer[i] = layer
            points.cluster[i], points.second[i] = k, place - 1
        at += 1
    return at


@body
def add_points(
    k: Any,
    clusters: Any,
    frames: Any,
    layer_of: Any,
    partner_of: Any,
    curvature_max: Any,
    points: Any,
    at: Any,
) -> Any:
    """Append the space points of cluster `k`; return how many there are now, also beyond the room."""
    module = np.uintp(clusters.module[k])
    layer = layer_of[module]
    if layer < 0:
        return at
    if partner_of[module] >= 0:
        return cross_strips(k, layer, partner_of[module], clusters, frames, curvature_max, points, at)
    if at < len(points.x):
        make_point(k, np.uintp(at), layer, clusters, frames, points)
    return at + 1


@loop
def make_points(
    clusters: Any, frames: Any, layer_of: Any, partner_of: Any, curvature_max: Any, points: Any
) -> Any:
    """Write the space points on seeding layers; return how many there are, also beyond the room. The bends of pixels stay as they are: 0."""
    at = 0
    for n in range(len(clusters.module)):
        at = add_points(np.uintp(n), clusters, frames, layer_of, partner_of, curvature_max, points, at)
    return at
