"""Space points: measurements of two coordinates in space, with their variance along r and z."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tamis.tracking.kernels.body import body, loop

LEAST_VARIANCE = 1e-4  # mm^2


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
    points.cluster[i] = k


@loop
def make_points(clusters: Any, frames: Any, layer_of: Any, points: Any) -> Any:
    """Write the space points on seeding layers; return how many there are."""
    at = 0
    for n in range(len(clusters.module)):
        k = np.uintp(n)
        layer = layer_of[np.uintp(clusters.module[k])]
        if layer >= 0:
            make_point(k, np.uintp(at), layer, clusters, frames, points)
            at += 1
    return at
