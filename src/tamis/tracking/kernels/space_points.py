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


@loop
def make_points(clusters: Any, frames: Any, layer_of: Any, points: Any, cluster_of: Any) -> Any:
    """Write the space points on seeding layers; return how many there are."""
    at = 0
    for n in range(len(clusters.module)):
        k = np.uintp(n)
        module = np.uintp(clusters.module[k])
        layer = layer_of[module]
        if layer < 0:
            continue
        i = np.uintp(at)
        points.x[i], points.y[i], points.z[i] = (
            clusters.position[k, 0],
            clusters.position[k, 1],
            clusters.position[k, 2],
        )
        points.variance_r[i], points.variance_z[i] = spread_of(
            clusters.position[k], clusters.variance[k], frames.axes[module]
        )
        points.layer[i] = layer
        cluster_of[i] = n
        at += 1
    return at
