"""The stages by the slow and obvious way: cells by pairs, triplets by all points with the cuts of ACTS in float64, circles, greedy choices."""

from __future__ import annotations

import numpy as np

from tamis.events.detector import sort_cells
from tamis.tracking.kernels.types import CellArrays


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


def arrays(cells):
    return CellArrays(cells.module, cells.u, cells.v, cells.charge)


def random_cells(detector, count, modules, span, seed):
    """Return cells in a corner of some modules, so that many touch."""
    random = np.random.default_rng(seed)
    large = np.flatnonzero(detector.modules.cells.min(axis=1) >= span)
    rows = random.choice(large, modules, replace=False)
    identifier = detector.modules.identifier[random.choice(rows, count)]
    u, v = random.integers(0, span, (2, count))
    return sort_cells(identifier, u, v, random.uniform(0.01, 0.5, count), detector.modules)


def touching_cells(cells):
    """Return the sets of cells that touch, by comparing all pairs."""
    groups = []
    for i in range(len(cells)):
        near = (
            (cells.module == cells.module[i])
            & (np.abs(cells.u - cells.u[i]) <= 1)
            & (np.abs(cells.v - cells.v[i]) <= 1)
        )
        touched = set(np.flatnonzero(near).tolist())
        apart = [group for group in groups if not group & touched]
        groups = [*apart, touched.union(*(group for group in groups if group & touched))]
    return sorted(map(sorted, groups))


def circle_state(points):
    """Return the state at the first of three points: position, direction in the transverse plane, dz / ds and signed curvature."""
    a, b, c = points[:, :2]
    d = 2 * (a[0] * (b[1] - c[1]) + b[0] * (c[1] - a[1]) + c[0] * (a[1] - b[1]))
    squares = (points[:, :2] ** 2).sum(axis=1)
    centre = (
        np.array(
            [
                squares @ np.array([b[1] - c[1], c[1] - a[1], a[1] - b[1]]),
                squares @ np.array([c[0] - b[0], a[0] - c[0], b[0] - a[0]]),
            ]
        )
        / d
    )
    radius = np.hypot(*(a - centre))
    begin, end = (np.arctan2(*(one - centre)[::-1]) for one in (a, c))
    turn = np.mod(end - begin + np.pi, 2 * np.pi) - np.pi
    sign = np.sign(turn)
    tangent = sign * np.array([-(a - centre)[1], (a - centre)[0]]) / radius
    slope = (points[2, 2] - points[0, 2]) / (radius * abs(turn))
    return np.array([*points[0], *tangent, slope, sign / radius])


def greedy_choice(ways, chi2, most):
    """Return the tracks that are left when the worst that shares too many hits is dropped, again and again."""
    left = set(range(len(ways)))
    while True:
        owners: dict[int, int] = {}
        for t in left:
            for hit in ways[t]:
                owners[hit] = owners.get(hit, 0) + 1
        shared = {t: sum(owners[hit] > 1 for hit in ways[t]) for t in left}
        bad = [t for t in left if shared[t] > most]
        if not bad:
            return sorted(left)
        left.remove(
            max(bad, key=lambda t: (1000 * shared[t] / len(ways[t]) + min(chi2[t] / len(ways[t]), 99), t))
        )
