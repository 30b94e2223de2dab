"""Charged particles in a mapped field, by the Runge-Kutta method of fourth order; lengths in mm, momenta in GeV.

The curvature of `Helices` is then that in the nominal field. With s the transverse length, k the curvature, A the azimuth of the direction minus
that of the position, and Br and Bz relative to the nominal field, the force q v x B turns the azimuth by k (Bz - slope Br cos A) ds, the slope by
k (1 + slope^2) Br sin A ds and the curvature by k^2 slope Br sin A ds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tamis.events.detector import FieldMap
from tamis.simulate.silicon.helix import Helices

STEP_MM = 50.0  # along a particle, at most: the error over all of a tracker is below 1 µm
X, Y, Z, PHI, SLOPE, CURVATURE = range(6)


def bent_locally(helices: Helices, field_map: FieldMap) -> Helices:
    """Return the helices that particles are on where they are: with the curvature in the field there."""
    return replace(helices, curvature=_rates(_states(helices), field_map)[PHI])


def advance_in_map(helices: Helices, length: np.ndarray, field_map: FieldMap) -> Helices:
    """Return the states after transverse path lengths."""
    way = np.abs(length) * np.hypot(1, helices.slope)
    steps = max(1, int(np.ceil(way.max(initial=0) / STEP_MM)))
    states = _states(helices)
    for _ in range(steps):
        states = _stepped(states, length / steps, field_map)
    return Helices(states[:Z + 1].T, states[PHI], states[SLOPE], states[CURVATURE])  # fmt: skip


def surfaces_ahead(
    helices: Helices, field_map: FieldMap, is_barrel: np.ndarray, position: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the transverse lengths to surfaces within half a turn, inf where they are not met, and where along a surface (z or r) that is.

    Both have the shape (particles, surfaces). Cylinders count from inside.
    """
    lengths = np.full((len(helices), len(position)), np.inf)
    along = np.full(lengths.shape, np.nan)
    r_end, z_end = (np.abs(position[kind]).max(initial=0) for kind in (is_barrel, ~is_barrel))
    r_end, z_end = max(r_end, field_map.r_end), max(z_end, *map(abs, field_map.z_ends))
    rows, states = np.arange(len(helices)), _states(helices)
    way = np.zeros(len(helices))
    while len(rows):
        ds = STEP_MM / np.hypot(1, states[SLOPE])
        after = _stepped(states, ds, field_map)
        r, r_after = (np.hypot(one[X], one[Y]) for one in (states, after))
        begin, end = (
            np.where(is_barrel, radius[:, None], one[Z][:, None]) - position
            for radius, one in ((r, states), (r_after, after))
        )
        crossed = np.where(is_barrel, (begin < 0) & (end >= 0), (begin * end <= 0) & (begin != 0))
        crossed &= np.isinf(lengths[rows])
        i, j = np.nonzero(crossed)
        share = begin[i, j] / (begin[i, j] - end[i, j])
        lengths[rows[i], j] = way[i] + share * ds[i]
        other = np.where(is_barrel[j], states[Z][i], r[i]), np.where(is_barrel[j], after[Z][i], r_after[i])
        along[rows[i], j] = other[0] + share * (other[1] - other[0])
        way = way + ds
        kept = (
            (np.abs(after[PHI] - helices.phi[rows]) < np.pi) & (r_after < r_end) & (np.abs(after[Z]) < z_end)
        )
        rows, states, way = rows[kept], after[:, kept], way[kept]
    return lengths, along


def _states(helices: Helices) -> np.ndarray:
    return np.stack([*helices.position.T, helices.phi, helices.slope, helices.curvature])


def _stepped(states: np.ndarray, ds: np.ndarray, field_map: FieldMap) -> np.ndarray:
    first = _rates(states, field_map)
    second = _rates(states + ds / 2 * first, field_map)
    third = _rates(states + ds / 2 * second, field_map)
    fourth = _rates(states + ds * third, field_map)
    result: np.ndarray = states + ds / 6 * (first + 2 * second + 2 * third + fourth)
    return result


def _rates(states: np.ndarray, field_map: FieldMap) -> np.ndarray:
    """Return the derivatives of states, (6, n), by the transverse length."""
    x, y, z, phi, slope, k = states
    cosine, sine, r = np.cos(phi), np.sin(phi), np.hypot(x, y)
    br, bz = (one / field_map.nominal for one in field_map(r, z))
    radial = br / np.maximum(r, 1e-6)
    along, across = radial * (x * cosine + y * sine), radial * (x * sine - y * cosine)
    rise = k * (1 + slope * slope) * across
    return np.stack([cosine, sine, slope, k * (bz - slope * along), rise, k * k * slope * across])
