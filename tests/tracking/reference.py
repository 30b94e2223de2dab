"""The stages by the slow and obvious way: cells by pairs, crossings of strips by Newton's method, triplets by all points with the cuts of ACTS in
float64, circles, greedy choices."""

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
    bend = points.get("bend", np.zeros(len(r)))
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
                error *= cuts.errors
                tilt = (other_v - v) / (other_u - u)
                offset = v - tilt * u
                half = offset / np.sqrt(1 + tilt**2)  # of the curvature
                change = (bend[m] - bend[i]) * inverse - (bend[o] - bend[m]) * other_inverse
                error += cuts.errors * (0.01 * (2 * half) ** 2 + 3e-9) * change**2
                difference = (slope - other + 2 * half * change) ** 2
                if difference > error + cuts.scattering * stretch:
                    continue
                if 1 + tilt**2 < offset**2 * cuts.diameter_min**2:
                    continue
                if difference > error + half**2 * cuts.scattering_per_curvature * stretch:
                    continue
                impact = abs((tilt - offset * r[m]) * r[m])
                if impact <= cuts.impact_max:
                    fitting.append((i, o, half, impact))
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


def strip(clusters, k, modules):
    """Return the middle of the strip of a cluster, its direction, half its length, the direction across it and the variance there."""
    module = clusters.module[k]
    along = int(modules.pitch[module, 1] > modules.pitch[module, 0])
    axes, variance = modules.axes[module], clusters.variance[k, 1 - along] + 1e-4
    return clusters.position[k], axes[along], modules.pitch[module, along] / 2, axes[1 - along], variance


def nearest(one, other):
    """Return the point of a strip that is nearest to another, and how far along it is."""
    columns = np.stack([one[1], -other[1]], axis=1)
    along = np.linalg.lstsq(columns, other[0] - one[0], rcond=None)[0]
    return one[0] + along[0] * one[1], along


def crossing(one, other, curvature=0.0):
    """Return where a track from the beam spot crosses two strips, (2, 3), and how far along each: Newton's method for its two angles.

    Strips are (middle, direction, ...); the track is a circle with a curvature, and z grows with the length of its arc.
    """

    def way(phi, slope, s):
        turn = phi + curvature * s / 2
        chord = s * np.sinc(curvature * s / (2 * np.pi))
        return np.array([chord * np.cos(turn), chord * np.sin(turn), slope * s])

    def meeting(angles, middle, direction, normal):
        """Return the point of the track on the plane of a strip, and how far it is aside of the strip."""
        s = np.hypot(*middle[:2])
        for _ in range(3):
            place, step = way(*angles, s), 1e-4
            rate = (way(*angles, s + step) - place) @ normal / step
            s += (middle - place) @ normal / rate
        place = way(*angles, s)
        return place, (place - middle) @ np.cross(normal, direction)

    normal = np.cross(one[1], other[1])
    normal /= np.linalg.norm(normal)

    def aside(angles):
        return np.array(
            [meeting(angles, middle, direction, normal)[1] for middle, direction in (one[:2], other[:2])]
        )

    start = nearest(one, other)[0]
    r = np.hypot(*start[:2])
    angles = np.array([np.arctan2(start[1], start[0]) - curvature * r / 4, start[2] / r])
    for _ in range(3):
        here = aside(angles)
        rates = np.stack([(aside(angles + 1e-6 * axis) - here) / 1e-6 for axis in np.eye(2)], axis=1)
        angles = angles - np.linalg.solve(rates, here)
    places = np.array(
        [meeting(angles, middle, direction, normal)[0] for middle, direction in (one[:2], other[:2])]
    )
    return places, [(place - part[0]) @ part[1] for place, part in zip(places, (one, other), strict=True)]


def strip_points(clusters, detector, curvature_max, beyond):
    """Return the space points of all pairs of clusters on pairs of modules: (first, second, place, variances of r and z, bend)."""
    partner = dict(
        zip(detector.strip_pairs.first.tolist(), detector.strip_pairs.second.tolist(), strict=True)
    )
    found = []
    for a, module in enumerate(clusters.module.tolist()):
        for b in np.flatnonzero(clusters.module == partner.get(module, -1)).tolist():
            one, other = strip(clusters, a, detector.modules), strip(clusters, b, detector.modules)
            if (np.abs(nearest(one, other)[1]) > 3 * np.array([one[2], other[2]])).any():
                continue  # far beyond their ends
            places, along = crossing(one, other)
            bent, bent_along = crossing(one, other, 1e-5)
            room = [
                part[2] + beyond + curvature_max / 1e-5 * abs(x - y)
                for part, x, y in zip((one, other), bent_along, along, strict=True)
            ]
            if abs(along[0]) > room[0] or abs(along[1]) > room[1]:
                continue
            middle = places.mean(axis=0)
            radial = np.array([*middle[:2], 0]) / np.hypot(*middle[:2])
            variance = np.zeros(2)
            for k, (part, rest) in enumerate(((one, other), (other, one))):
                moved = (part[0] + 1e-3 * part[3], *part[1:])
                change = (
                    crossing(*((moved, rest) if k == 0 else (rest, moved)))[0].mean(axis=0) - middle
                ) / 1e-3
                variance += np.array([change @ radial, change[2]]) ** 2 * part[4]
            bend = (bent.mean(axis=0) - middle) / 1e-5
            found.append((a, b, middle, variance, bend))
    return found


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
