"""The field of a solenoid of finite length: a thin sheet of current on a cylinder, without iron around it."""

from __future__ import annotations

import numpy as np

ROUNDS = 12  # of the arithmetic-geometric mean, which doubles the digits with each


def solenoid_field(
    r: np.ndarray, z: np.ndarray, radius: float, half_length: float, centre: float
) -> np.ndarray:
    """Return Br and Bz, (..., 2), of a solenoid with a field of `centre` in its middle, at radii below its own; lengths in one unit.

    The exact solution of Maxwell's equations by complete elliptic integrals: Derby and Olbert, Am. J. Phys. 78 (2010) 229.
    """
    br, bz = np.zeros(np.broadcast(r, z).shape), np.zeros(np.broadcast(r, z).shape)
    ratio = (radius - r) / (radius + r)
    for side in (1, -1):
        end = z + side * half_length
        far = np.hypot(end, r + radius)
        modulus = np.hypot(end, radius - r) / far
        br += side * radius / far * _integral(modulus, np.ones_like(br), 1.0, -1.0)
        bz += side * end / far * _integral(modulus, ratio * ratio + np.zeros_like(bz), 1.0, ratio)
    bz *= radius / (radius + r)
    scale = centre * np.hypot(half_length, radius) / (np.pi * half_length)
    return scale * np.stack([br, bz], axis=-1)


def _integral(modulus: np.ndarray, p: np.ndarray, c: float | np.ndarray, s: float | np.ndarray) -> np.ndarray:
    """Return Bulirsch's complete elliptic integral: that of (c cos² + s sin²) / ((cos² + p sin²) sqrt(cos² + modulus² sin²)) from 0 to pi / 2."""
    k, em = modulus, np.ones_like(modulus)
    pp = np.sqrt(p)
    cc, ss = c + np.zeros_like(modulus), s / pp
    product = k
    for _ in range(ROUNDS):
        f, g = cc, product / pp
        cc = cc + ss / pp
        ss = 2 * (ss + f * g)
        pp = pp + g
        em, k = em + k, 2 * np.sqrt(product)
        product = k * em
    result: np.ndarray = np.pi / 2 * (ss + cc * em) / (em * (em + pp))
    return result
