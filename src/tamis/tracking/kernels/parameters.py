"""Track parameters at the first hit of a seed, from the circle through its three hits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tamis.tracking.kernels.body import body, loop, routine
from tamis.tracking.kernels.field import start_in_field
from tamis.tracking.kernels.helix import CURVATURE, SLOPE, curvature_variance, start_from_points


@body
def start_seed(k: Any, seeds: Any, points: Any, position: Any, field: Any, starts: Any) -> None:
    """Write the clusters and the state of seed `k`."""
    clusters = starts.clusters
    a, b, c = np.uintp(seeds[k, 0]), np.uintp(seeds[k, 1]), np.uintp(seeds[k, 2])
    clusters[k, 0], clusters[k, 1], clusters[k, 2] = points.cluster[a], points.cluster[b], points.cluster[c]
    starts.second[k] = points.second[a]
    if points.second[a] < 0 and points.second[b] < 0 and points.second[c] < 0:
        first, second, third = np.uintp(clusters[k, 0]), np.uintp(clusters[k, 1]), np.uintp(clusters[k, 2])
        start_in_field(starts.states[k], position[first], position[second], position[third], field)
        starts.spread[k, 0], starts.spread[k, 1], starts.spread[k, 2] = 0.0, 0.0, 0.0
    else:
        start_from_strips(starts.states[k], starts.spread[k], a, b, c, points, field)


@body
def bent_point(i: Any, curvature: Any, points: Any) -> Any:
    """Return where a track of some curvature crosses the strips of a point."""
    x, y, z = float(points.x[i]), float(points.y[i]), float(points.z[i])
    return (
        x + curvature * points.bend_x[i],
        y + curvature * points.bend_y[i],
        z + curvature * points.bend_z[i],
    )


@body
def bend_outwards(i: Any, points: Any) -> Any:
    """Return the bend of a point along its radius."""
    x, y = points.x[i], points.y[i]
    return (x * points.bend_x[i] + y * points.bend_y[i]) / math.sqrt(x * x + y * y)


@routine
def start_from_strips(state: Any, spread: Any, a: Any, b: Any, c: Any, points: Any, field: Any) -> None:
    """Write the state at the first of three points, some of strips, and its further variances of r, z and dz / ds.

    The curvature of the circle through the points corrects them, and then the state.
    """
    start_from_points(
        state, bent_point(a, 0.0, points), bent_point(b, 0.0, points), bent_point(c, 0.0, points)
    )
    w = state[CURVATURE]
    first, third = bent_point(a, w, points), bent_point(c, w, points)
    start_in_field(state, first, bent_point(b, w, points), third, field)
    slope = state[SLOPE]
    squared = curvature_variance(w)
    dx, dy = third[0] - first[0], third[1] - first[1]
    own_r, own_z = bend_outwards(a, points), points.bend_z[a]
    bend_r, bend_z = bend_outwards(c, points) - own_r, points.bend_z[c] - own_z
    variance_r = points.variance_r[a] + points.variance_r[c] + squared * bend_r * bend_r
    variance_z = points.variance_z[a] + points.variance_z[c] + squared * bend_z * bend_z
    spread[0] = points.variance_r[a] + squared * own_r * own_r
    spread[1] = points.variance_z[a] + squared * own_z * own_z
    spread[2] = (variance_z + slope * slope * variance_r) / (dx * dx + dy * dy)


@loop
def estimate_parameters(seeds: Any, points: Any, position: Any, field: Any, starts: Any) -> None:
    """Write the clusters and the state of each seed."""
    for n in range(len(seeds)):
        start_seed(np.uintp(n), seeds, points, position, field, starts)
