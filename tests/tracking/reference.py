"""The seeding by the slow and obvious way: all pairs and triplets of points, with the cuts of ACTS in float64."""

from __future__ import annotations

import numpy as np


def pairs(points, m, cuts, links):
    """Return the points that can be further out (first) and further in (second) than a middle point."""
    x, y, z = (points[name].astype(np.float64) for name in ("x", "y", "z"))
    r, layer = np.hypot(x, y), points["layer"]
    along, across = x[m] / r[m], y[m] / r[m]
    found = []
    for side, linked in ((1, links[0]), (-1, links[1])):
        kept = []
        for i in np.flatnonzero(np.isin(layer, linked[layer[m]])):
            dr, dz = side * (r[i] - r[m]), side * (z[i] - z[m])
            if not cuts.radius_min <= dr <= cuts.radius_max or abs(dz) > min(cuts.z_max, cuts.slope_max * dr):
                continue
            if abs(z[m] * dr - r[m] * dz) > cuts.vertex_z * dr:
                continue
            dx, dy = x[i] - x[m], y[i] - y[m]
            forward, sideways = dx * along + dy * across, dy * along - dx * across
            u, v = np.array([forward, sideways]) / (dx * dx + dy * dy)
            if abs(r[m] * sideways) > cuts.impact_max * side * forward:
                passing = -np.sign(side * sideways) * cuts.impact_max / r[m] ** 2
                tilt = (v - passing) / (u + 1 / r[m])
                offset = passing + tilt / r[m]
                if offset**2 * cuts.diameter_min**2 > 1 + tilt**2:
                    continue
            kept.append((i, u, v, dz / np.hypot(dx, dy), 1 / np.hypot(dx, dy)))
        found.append(kept)
    return found


def triplets(points, middles, cuts, links):
    """Return all triplets with their weight, by middle point, before the limit on their number."""
    variance_r, variance_z = points["variance_r"].astype(np.float64), points["variance_z"].astype(np.float64)
    r = np.hypot(points["x"].astype(np.float64), points["y"].astype(np.float64))
    result = {}
    for m in middles:
        outer, inner = pairs(points, m, cuts, links)
        fitting = []
        for i, u, v, slope, inverse in inner:
            for o, other_u, other_v, other, other_inverse in outer:
                stretch = 1 + slope**2
                error = inverse**2 * (
                    variance_z[m] + variance_z[i] + slope**2 * (variance_r[m] + variance_r[i])
                )
                error += other_inverse**2 * (
                    variance_z[m] + variance_z[o] + other**2 * (variance_r[m] + variance_r[o])
                )
                error += 2 * (slope * other * variance_r[m] + variance_z[m]) * inverse * other_inverse
                if (slope - other) ** 2 > error + cuts.scattering * stretch:
                    continue
                tilt = (other_v - v) / (other_u - u)
                offset = v - tilt * u
                if 1 + tilt**2 < offset**2 * cuts.diameter_min**2:
                    continue
                bend = offset**2 / (1 + tilt**2)
                if (slope - other) ** 2 > error + bend * cuts.scattering_per_curvature * stretch:
                    continue
                impact = abs((tilt - offset * r[m]) * r[m])
                if impact <= cuts.impact_max:
                    fitting.append((i, o, np.sign(offset) * np.sqrt(bend), impact))
        result[m] = {
            (i, o): cuts.confirmation * confirmed(i, o, c, fitting, r, cuts) - impact
            for i, o, c, impact in fitting
        }
    return result


def confirmed(inner, outer, curvature, fitting, r, cuts):
    """Return how many other outer points are on the same circle."""
    radii = []
    for i, o, c, _ in fitting:
        if (
            i != inner
            or o == outer
            or abs(c - curvature) > cuts.curvature_window
            or abs(r[o] - r[outer]) < cuts.radius_window
        ):
            continue
        if all(abs(r[o] - other) >= cuts.radius_window for other in radii):
            radii.append(r[o])
    return min(len(radii), cuts.confirmed)
