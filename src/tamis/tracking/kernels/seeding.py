"""Triplets of space points that fit a helix from near the beam, with the cuts of ACTS' grid seeding.

A middle point is paired with points further out. Each pair predicts where a point further in must be: in r-z on the line through both,
within errors and multiple scattering, and in azimuth on a circle that passes near the beam. Triplets are ranked by their impact parameter
and by further outer points on the same circle; the best of each middle point are kept.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tamis.tracking.kernels.body import ZERO64, body, loop
from tamis.tracking.kernels.grid import BARREL, PI
from tamis.tracking.kernels.helix import curvature_variance

ZERO32, ONE32, TWO32 = np.float32(0), np.float32(1), np.float32(2)
SLACK_PHI, SLACK_MM, FAR, NEAR_BEAM = np.float32(0.001), np.float32(0.1), np.float32(1e6), np.float32(20)


@body
def reach_outwards(z: Any, r: Any, layer: Any, grid: Any, vertex: Any) -> Any:
    """Return the range of z on a cylinder (r on a disk) that lines through a point and the luminous region reach; empty if low > high."""
    a, b = grid.low[layer], grid.high[layer]
    if grid.kind[layer] == BARREL:
        first, second = a / r, b / r
        wide, other = vertex * abs(ONE32 - first), vertex * abs(ONE32 - second)
        return min(z * first - wide, z * second - other), max(z * first + wide, z * second + other)
    sign = ONE32 if a >= ZERO32 else -ONE32
    at = z * sign  # the disk is at positive z
    near, far = min(abs(a), abs(b)), max(abs(a), abs(b))
    if at <= -vertex:
        return ONE32, ZERO32
    low, high = r * (near + vertex) / (at + vertex), r * (far + vertex) / (at + vertex)
    if low > high:
        low, high = high, low
    if at - vertex > ONE32:
        c, d = r * (near - vertex) / (at - vertex), r * (far - vertex) / (at - vertex)
        return min(low, c, d), max(high, c, d)
    return low, FAR


@body
def pair_with_layer(m: Any, layer: Any, points: Any, grid: Any, cuts: Any, pairs: Any, count: Any) -> Any:
    """Append the pairs of a middle point with the points of one layer further out; return how many there are now, also beyond the room."""
    z, r = points.z[m], points.r[m]
    low, high = reach_outwards(z, r, layer, grid, cuts.vertex_z)
    inner, outer = r + cuts.radius_min, r + cuts.radius_max
    if grid.kind[layer] == BARREL:
        inner, outer = max(inner, grid.low[layer]), min(outer, grid.high[layer])
    else:
        inner, outer = max(inner, low), min(outer, high)
        low, high = inner, outer
    if low > high or inner > outer:
        return count
    width = (outer - r) * cuts.bend + cuts.impact_max * (ONE32 / r - ONE32 / outer) + SLACK_PHI
    row = max(int((low - grid.first[layer]) * grid.scale[layer]), 0)
    last_row = min(int((high - grid.first[layer]) * grid.scale[layer]), grid.rows - 1)
    begin = math.floor((points.phi[m] - width + PI) * grid.per_radian)
    end = math.floor((points.phi[m] + width + PI) * grid.per_radian)
    while row <= last_row:
        cell = (layer * grid.rows + row) * grid.columns
        count = pair_with_cells(
            m, cell + max(begin, 0), cell + min(end, grid.columns - 1), points, grid, cuts, pairs, count
        )
        if begin < 0:
            count = pair_with_cells(
                m, cell + begin + grid.columns, cell + grid.columns - 1, points, grid, cuts, pairs, count
            )
        elif end >= grid.columns:
            count = pair_with_cells(m, cell, cell + end - grid.columns, points, grid, cuts, pairs, count)
        row += 1
    return count


@body
def pair_with_cells(
    m: Any, first: Any, last: Any, points: Any, grid: Any, cuts: Any, pairs: Any, count: Any
) -> Any:
    """Append the pairs with the points of some cells side by side."""
    x, y, z, r = points.x[m], points.y[m], points.z[m], points.r[m]
    along, across = x / r, y / r
    room = len(pairs.point)
    for place in range(grid.begins[np.uintp(first)], grid.begins[np.uintp(last + 1)]):
        i = np.uintp(place)
        dr, dz = points.r[i] - r, points.z[i] - z
        if not is_direction(dr, dz, z, r, cuts):
            continue
        dx, dy = points.x[i] - x, points.y[i] - y
        forward, sideways = dx * along + dy * across, dy * along - dx * across
        squared = ONE32 / (dx * dx + dy * dy)
        u, v = forward * squared, sideways * squared
        if not passes_beam(ONE32, r, forward, sideways, u, v, cuts):
            continue
        if count < room:
            k = np.uintp(count)
            inverse = np.float32(math.sqrt(squared))
            slope = dz * inverse
            pairs.point[k] = place
            pairs.slope[k] = slope
            pairs.u[k] = u
            pairs.v[k] = v
            pairs.inverse[k] = inverse
            pairs.error[k] = pair_error(m, i, squared, slope, points, cuts)
        count += 1
    return count


@body
def is_direction(dr: Any, dz: Any, z: Any, r: Any, cuts: Any) -> Any:
    """Return whether a pair has the direction of a track from the luminous region; differences point outwards."""
    if dr < cuts.radius_min or dr > cuts.radius_max or abs(dz) > cuts.z_max:
        return False
    return abs(dz) <= cuts.slope_max * dr and abs(z * dr - r * dz) <= cuts.vertex_z * dr


@body
def passes_beam(side: Any, r: Any, forward: Any, sideways: Any, u: Any, v: Any, cuts: Any) -> Any:
    """Return whether a circle of the least momentum or more can pass through a pair and near the beam; `side` is -1 for an inner point."""
    if abs(r * sideways) <= cuts.impact_max * side * forward:  # a straight line does
        return True
    passing = cuts.impact_max / (r * r)
    if side * sideways > ZERO32:  # an outer point and the beam are on opposite sides of the middle point
        passing = -passing
    tilt = (v - passing) / (u + ONE32 / r)
    offset = passing + tilt / r
    return offset * offset * cuts.diameter_min * cuts.diameter_min <= ONE32 + tilt * tilt


@body
def pair_error(m: Any, i: Any, squared: Any, slope: Any, points: Any, cuts: Any) -> Any:
    """Return the variance of the slope of a pair, with the square of the inverse distance."""
    variance_z = points.variance_z[m] + points.variance_z[i]
    variance = squared * (variance_z + slope * slope * (points.variance_r[m] + points.variance_r[i]))
    return cuts.errors * variance


@body
def largest_bend(m: Any, t: Any, bend: Any, points: Any, cuts: Any, pairs: Any) -> Any:
    """Return how far a point of a bend of at most `bend` can be from the line through a pair, in z, as points of strips are displaced."""
    r, middle, outer = points.r[m], points.bend[m], points.bend[np.uintp(pairs.point[t])]
    u, v = pairs.u[t], pairs.v[t]
    passing = cuts.impact_max / (r * r)
    half = (abs(v) + passing * abs(r * u)) / abs(ONE32 + r * u)  # of the curvature, at most
    half = min(half, ONE32 / cuts.diameter_min)
    return TWO32 * half * (abs(middle) + abs(outer - middle) * r * pairs.inverse[t] + bend)


@body
def inner_range(m: Any, t: Any, layer: Any, bend: Any, points: Any, grid: Any, cuts: Any, pairs: Any) -> Any:
    """Return where on a layer further in a pair can continue: the range of radii, and that along the layer; empty if the first is above the second."""
    z, r, slope = points.z[m], points.r[m], pairs.slope[t]
    inner, outer = r - cuts.radius_max, r - cuts.radius_min
    variance_r, variance_z = (
        grid.variance_r[layer] + points.variance_r[m],
        grid.variance_z[layer] + points.variance_z[m],
    )
    worst = TWO32 * cuts.errors * (variance_z + slope * slope * variance_r)
    displaced = ZERO32
    if cuts.stereo != 0:
        displaced = largest_bend(m, t, bend, points, cuts, pairs)
    agreed = cuts.scattering * (ONE32 + slope * slope) + TWO32 * pairs.error[t]
    if grid.kind[layer] == BARREL:
        inner, outer = max(inner, grid.low[layer]), min(outer, grid.high[layer])
        near = max(r - outer, cuts.radius_min)
        tolerance = np.float32(math.sqrt(agreed + worst / (near * near)))
        first, second = z - slope * near, z - slope * (r - inner)
        margin = tolerance * (r - inner) + SLACK_MM * (ONE32 + abs(slope)) + displaced
        return inner, outer, min(first, second) - margin, max(first, second) + margin
    tolerance = np.float32(math.sqrt(agreed + worst / (cuts.radius_min * cuts.radius_min)))
    a, b = z - grid.low[layer], z - grid.high[layer]  # slope x distance
    if a * slope < ZERO32 or b * slope < ZERO32:
        return ONE32, ZERO32, ZERO32, ZERO32
    near, far = min(abs(a), abs(b)) / (abs(slope) + tolerance), FAR
    if abs(slope) > tolerance:
        far = max(abs(a), abs(b)) / (abs(slope) - tolerance)
    if cuts.stereo != 0:
        displaced /= max(abs(slope) - tolerance, tolerance)
    inner = max(inner, r - far - SLACK_MM - displaced, NEAR_BEAM)
    outer = min(outer, r - near + TWO32 * SLACK_MM + displaced)
    return inner, outer, inner, outer


@body
def inner_azimuth(m: Any, t: Any, inner: Any, outer: Any, points: Any, cuts: Any, pairs: Any) -> Any:
    """Return the range of azimuth, relative to the middle point, of circles through a pair that pass near the beam."""
    r, u, v = points.r[m], pairs.u[t], pairs.v[t]
    offset = v / (ONE32 + r * u)
    shift = cuts.impact_max / r
    begin, end = FAR, -FAR
    for edge in range(2):
        radius = inner if edge == 0 else outer
        distance = r - radius
        squared = distance * distance
        across = offset * (ONE32 - r / distance) * squared
        wide = shift * abs(u * (ONE32 - r / distance) / (ONE32 + r * u) + ONE32 / distance) * squared
        begin, end = min(begin, (across - wide) / radius), max(end, (across + wide) / radius)
    return begin - SLACK_PHI, end + SLACK_PHI


@body
def complete_in_layer(
    m: Any,
    t: Any,
    layer: Any,
    bend: Any,
    points: Any,
    grid: Any,
    cuts: Any,
    pairs: Any,
    found: Any,
    count: Any,
) -> Any:
    """Append the triplets of a pair with points of one layer further in; return how many there are now, also beyond the room for them."""
    inner, outer, low, high = inner_range(m, t, layer, bend, points, grid, cuts, pairs)
    if inner > outer:
        return count
    begin_phi, end_phi = inner_azimuth(m, t, inner, outer, points, cuts, pairs)
    begin = math.floor((points.phi[m] + begin_phi + PI) * grid.per_radian)
    end = math.floor((points.phi[m] + end_phi + PI) * grid.per_radian)
    row = max(int((low - grid.first[layer]) * grid.scale[layer]), 0)
    last_row = min(int((high - grid.first[layer]) * grid.scale[layer]), grid.rows - 1)
    while row <= last_row:
        cell = (layer * grid.rows + row) * grid.columns
        first, last = cell + max(begin, 0), cell + min(end, grid.columns - 1)
        count = complete_in_cells(m, t, first, last, points, grid, cuts, pairs, found, count)
        if begin < 0:
            first, last = cell + begin + grid.columns, cell + grid.columns - 1
            count = complete_in_cells(m, t, first, last, points, grid, cuts, pairs, found, count)
        elif end >= grid.columns:
            count = complete_in_cells(
                m, t, cell, cell + end - grid.columns, points, grid, cuts, pairs, found, count
            )
        row += 1
    return count


@body
def complete_in_cells(
    m: Any,
    t: Any,
    first: Any,
    last: Any,
    points: Any,
    grid: Any,
    cuts: Any,
    pairs: Any,
    found: Any,
    count: Any,
) -> Any:
    """Append the triplets of a pair with the points of some cells side by side."""
    x, y, z, r = points.x[m], points.y[m], points.z[m], points.r[m]
    along, across = x / r, y / r
    slope = pairs.slope[t]
    room = len(found.inner)
    for place in range(grid.begins[np.uintp(first)], grid.begins[np.uintp(last + 1)]):
        i = np.uintp(place)
        dr, dz = r - points.r[i], z - points.z[i]
        if not is_direction(dr, dz, z, r, cuts):
            continue
        dx, dy = points.x[i] - x, points.y[i] - y
        squared = ONE32 / (dx * dx + dy * dy)
        inverse = np.float32(math.sqrt(squared))
        other = dz * inverse
        difference = (other - slope) * (other - slope)
        stretch = ONE32 + other * other
        shared = (
            TWO32 * (slope * other * points.variance_r[m] + points.variance_z[m]) * inverse * pairs.inverse[t]
        ) * cuts.errors
        variance = pairs.error[t] + pair_error(m, i, squared, other, points, cuts) + shared
        if cuts.stereo == 0 and difference > variance + cuts.scattering * stretch:
            continue
        forward, sideways = dx * along + dy * across, dy * along - dx * across
        u, v = forward * squared, sideways * squared
        if not passes_beam(-ONE32, r, forward, sideways, u, v, cuts):
            continue
        tilt = (pairs.v[t] - v) / (pairs.u[t] - u)
        length = ONE32 + tilt * tilt
        offset = v - tilt * u
        if length < offset * offset * cuts.diameter_min * cuts.diameter_min:
            continue
        if cuts.stereo != 0:
            half = offset / np.float32(math.sqrt(length))
            difference, more = straightened(m, t, i, other - slope, inverse, half, points, pairs)
            variance += cuts.errors * more
            if difference > variance + cuts.scattering * stretch:
                continue
        if difference > variance + offset * offset / length * cuts.scattering_per_curvature * stretch:
            continue
        impact = abs((tilt - offset * r) * r)
        if impact > cuts.impact_max:
            continue
        if count < room:
            k = np.uintp(count)
            found.inner[k] = place
            found.outer[k] = pairs.point[t]
            found.curvature[k] = offset / np.float32(math.sqrt(length))
            found.radius[k] = points.r[np.uintp(pairs.point[t])]
            found.impact[k] = impact
        count += 1
    return count


@body
def straightened(
    m: Any, t: Any, i: Any, difference: Any, inverse: Any, half: Any, points: Any, pairs: Any
) -> Any:
    """Return the squared difference of two slopes once all three points are where a track of a curvature, twice `half`, crosses strips.

    The second value is the variance that it has from that of the curvature.
    """
    middle = points.bend[m]
    outer = (points.bend[np.uintp(pairs.point[t])] - middle) * pairs.inverse[t]
    change = (middle - points.bend[i]) * inverse - outer
    curvature = TWO32 * half
    difference += curvature * change
    return difference * difference, np.float32(curvature_variance(curvature)) * change * change


@body
def confirm(n: Any, count: Any, found: Any, cuts: Any) -> Any:
    """Return how many further outer points lie on the circle of a triplet, each at a radius of its own."""
    confirmed = 0
    earlier = ZERO32
    for k in range(count):
        i = np.uintp(k)
        if (
            found.inner[i] != found.inner[n]
            or abs(found.curvature[i] - found.curvature[n]) > cuts.curvature_window
        ):
            continue
        radius = found.radius[i]
        if abs(radius - found.radius[n]) < cuts.radius_window:
            continue
        if confirmed > 0 and abs(radius - earlier) < cuts.radius_window:
            continue
        earlier = radius
        confirmed += 1
        if confirmed == cuts.confirmed:
            break
    return confirmed


@body
def keep_best(count: Any, found: Any, cuts: Any, inners: Any, outers: Any, weights: Any) -> Any:
    """Write the best triplets of a middle point; return how many there are."""
    kept = 0
    for i in range(count):
        n = np.uintp(i)
        weight = (
            cuts.confirmation * np.float32(confirm(n, count, found, cuts))
            - cuts.impact_weight * found.impact[n]
        )
        if kept < cuts.most:
            at = kept
            kept += 1
        else:
            at = 0
            for k in range(1, cuts.most):
                if weights[k] < weights[at]:
                    at = k
            if weight <= weights[at]:
                continue
        inners[at], outers[at], weights[at] = found.inner[n], found.outer[n], weight
    return kept


@body
def seed_middle(
    m: Any,
    points: Any,
    grid: Any,
    links: Any,
    cuts: Any,
    pairs: Any,
    found: Any,
    inners: Any,
    outers: Any,
    weights: Any,
) -> Any:
    """Write the best triplets of a middle point; return how many there are, and how much room the pairs and triplets need if there is too little."""
    layer = points.layer[m]
    pair_count = ZERO64
    for k in range(links.outer_count[layer]):
        pair_count = pair_with_layer(m, links.outer[layer, k], points, grid, cuts, pairs, pair_count)
    if pair_count > len(pairs.point):
        return 0, pair_count
    count = ZERO64
    for i in range(pair_count):
        for k in range(links.inner_count[layer]):
            inner = links.inner[layer, k]
            count = complete_in_layer(
                m, np.uintp(i), inner, links.bend[inner], points, grid, cuts, pairs, found, count
            )
    if count > len(found.inner):
        return 0, count
    return keep_best(count, found, cuts, inners, outers, weights), 0


@loop
def seed_points(
    middles: Any, points: Any, grid: Any, links: Any, cuts: Any, pairs: Any, found: Any, triplets: Any
) -> Any:
    """Find the triplets of middle points; return how many are done, and the room that the next one needs."""
    for k in range(len(middles)):
        triplets.kept[k], needed = seed_middle(
            np.uintp(middles[k]),
            points,
            grid,
            links,
            cuts,
            pairs,
            found,
            triplets.inner[k],
            triplets.outer[k],
            triplets.weight[k],
        )
        if needed:
            return k, needed
    return len(middles), 0
