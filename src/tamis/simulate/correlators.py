"""Energy correlation functions of jets, and the ratios C, D, M and N of them.

With the fractions z of the transverse momentum and the distances theta in rapidity and azimuth, for an exponent beta:

    e2 = sum over pairs of z_i z_j theta_ij^beta
    e3 = sum over triplets of z_i z_j z_k (theta_ij theta_jk theta_ik)^beta
    _v e3: the same with the v smallest of the three distances only

    C1 = e2, C2 = e3 / e2^2                                     Larkoski, Salam, Thaler, arXiv:1305.0007
    D2 = e3 / e2^3, D2(alpha, beta) = e3(alpha) / e2(beta)^(3 alpha / beta)    Larkoski, Moult, Neill, arXiv:1409.6298
    M2 = _1 e3 / e2, N2 = _2 e3 / e2^2                          Moult, Necib, Thaler, arXiv:1609.07483
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.events.kinematics import delta_phi

JETS_AT_ONCE = 32  # the matrices of 50 constituents then fit into a second-level cache


@dataclass(frozen=True)
class Correlators:
    """The correlation functions of some jets, by the exponent beta."""

    e2: dict[int, np.ndarray]
    e3: dict[int, np.ndarray]
    e3_smallest: dict[int, np.ndarray]  # _1 e3
    e3_two_smallest: dict[int, np.ndarray]  # _2 e3

    def ratios(self) -> dict[str, np.ndarray]:
        """Return C1, C2, D2, M2 and N2 with the names of their features; 0 where a jet has too few constituents."""
        e2, e3 = self.e2, self.e3
        return {
            **{f"c1_b{beta}": e2[beta] for beta in (0, 1, 2)},
            **{f"c2_b{beta}": _over(e3[beta], e2[beta] ** 2) for beta in (1, 2)},
            **{f"d2_b{beta}": _over(e3[beta], e2[beta] ** 3) for beta in (1, 2)},
            **{f"d2_a1_b{beta}": _over(e3[1], e2[beta] ** (3.0 / beta)) for beta in (1, 2)},
            **{f"m2_b{beta}": _over(self.e3_smallest[beta], e2[beta]) for beta in (1, 2)},
            **{f"n2_b{beta}": _over(self.e3_two_smallest[beta], e2[beta] ** 2) for beta in (1, 2)},
        }


def correlators(pt: np.ndarray, rapidity: np.ndarray, phi: np.ndarray) -> Correlators:
    """Return the correlation functions of jets (n, constituents); padding has no transverse momentum."""
    z = pt / np.maximum(pt.sum(axis=1, keepdims=True), 1e-30)
    parts = [
        _correlators(z[i : i + JETS_AT_ONCE], rapidity[i : i + JETS_AT_ONCE], phi[i : i + JETS_AT_ONCE])
        for i in range(0, len(z), JETS_AT_ONCE)
    ]
    rows = np.concatenate(parts, axis=1) if parts else np.zeros((9, 0))
    return Correlators(
        e2=dict(zip((0, 1, 2), rows[:3], strict=True)),
        e3=dict(zip((1, 2), rows[3:5], strict=True)),
        e3_smallest=dict(zip((1, 2), rows[5:7], strict=True)),
        e3_two_smallest=dict(zip((1, 2), rows[7:9], strict=True)),
    )


def _correlators(z: np.ndarray, rapidity: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Return e2 for beta 0, 1, 2, and e3, _1 e3, _2 e3 for beta 1 and 2, of a few jets: (9, n).

    The distance of a constituent to itself is zero, so that repeated constituents drop out of all sums but that for beta = 0.
    """
    theta = np.hypot(rapidity[:, :, None] - rapidity[:, None, :], delta_phi(phi[:, :, None], phi[:, None, :]))
    pairs = [(1.0 - (z * z).sum(axis=1)) / 2.0 * (z.sum(axis=1) > 0)]
    triplets = []
    for weighted in (theta, theta * theta):
        pairs.append(np.einsum("ni,nij,nj->n", z, weighted, z, optimize=True) / 2.0)
        cycle = (
            weighted * z[:, None, :]
        )  # its third power has all closed paths of three steps on its diagonal
        triplets.append(np.einsum("nij,nji->n", cycle @ cycle, cycle) / 6.0)
    smallest = np.zeros((4, len(z)))
    for i in range(z.shape[1] - 2):  # constituent i with all pairs (j, k) of later ones, each counted twice
        later = z[:, i + 1 :, None]
        to_i, apart = theta[:, i, i + 1 :], theta[:, i + 1 :, i + 1 :]
        near = np.minimum(to_i[:, :, None], to_i[:, None, :])
        far = np.maximum(to_i[:, :, None], to_i[:, None, :])
        one = np.minimum(near, apart)
        two = near * np.minimum(far, apart)
        for row, values in enumerate((one, one * one, two, two * two)):
            smallest[row] += z[:, i] * (later * (values @ later)).sum(axis=(1, 2)) / 2.0
    return np.concatenate([pairs, triplets, smallest])


def _over(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)
