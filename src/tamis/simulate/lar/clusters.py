"""What clusters look like: kinds of clusters, each with a distribution of Q and of tau, as its first four moments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.simulate.lar.regions import IS_ENDCAP, Q_FULL, TAU_UNIT_NS

EXPONENTIAL_Q, BAD_SHARE, TAIL_PER_MU = 0.012, 0.03, 0.0004
ENDCAP_TAIL, ION_TAIL = 1.7, 0.6
NOISY_Q, BURST_Q, SPREAD_Q = 0.8, 0.6, 0.08
BURST_TAU_NS = 50.0  # to either side


@dataclass(frozen=True)
class Moments:
    """Means of the first four powers: arrays that broadcast against (rows, regions)."""

    first: np.ndarray
    second: np.ndarray
    third: np.ndarray
    fourth: np.ndarray

    def scaled(self, scale: np.ndarray | float) -> Moments:
        """Return the moments of the quantity times a number."""
        return Moments(
            self.first * scale, self.second * scale**2, self.third * scale**3, self.fourth * scale**4
        )


def exponential(mean: np.ndarray | float) -> Moments:
    """Return the moments of an exponential distribution."""
    one = np.asarray(mean, float)
    return Moments(one, 2 * one**2, 6 * one**3, 24 * one**4)


def normal(mean: np.ndarray | float, sigma: np.ndarray | float) -> Moments:
    """Return the moments of a normal distribution."""
    m, v = np.asarray(mean, float), np.asarray(sigma, float) ** 2
    return Moments(m, m**2 + v, m**3 + 3 * m * v, m**4 + 6 * m**2 * v + 3 * v**2)


def uniform(half: float) -> Moments:
    """Return the moments of a uniform distribution around 0."""
    zero = np.zeros(())
    return Moments(zero, np.asarray(half**2 / 3), zero, np.asarray(half**4 / 5))


TAIL_Q = Moments(*(np.asarray(one) for one in (1 / 4, 1 / 10, 1 / 20, 1 / 35)))  # beta(1, 3)


@dataclass(frozen=True)
class ClusterKind:
    """Clusters of one kind: the mean number in an event, and the moments of Q / 65535 and of tau in ns."""

    rate: np.ndarray  # (rows, regions)
    q: Moments
    tau: Moments


def tail_share(mu: np.ndarray, *, ions: bool) -> np.ndarray:
    """Return the share of clusters whose pulse fits badly, (rows, regions)."""
    share = (BAD_SHARE + TAIL_PER_MU * mu)[:, None] * np.where(IS_ENDCAP, ENDCAP_TAIL, 1.0)
    return share * ION_TAIL if ions else share


def draw_sums(kind: ClusterKind, events: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return n and the sums of Q, Q^2, tau, tau^2 over the clusters of numbers of events, (rows, regions, 5), in integer units of the columns.

    The sums are drawn from a normal distribution with the mean and covariance that the moments give for this many clusters.
    """
    number = random.poisson(kind.rate * events[:, None])
    return np.concatenate(
        [number[..., None], _pair(number, kind.q.scaled(Q_FULL), random), _pair(number, kind.tau.scaled(1 / TAU_UNIT_NS), random)],
        axis=-1,
    )  # fmt: skip


def _pair(number: np.ndarray, of: Moments, random: np.random.Generator) -> np.ndarray:
    """Return the sums of a quantity and of its square."""
    variance = of.second - of.first**2
    together = of.third - of.first * of.second
    sigma = np.sqrt(variance)
    shared = together / np.where(sigma > 0, sigma, 1)
    rest = np.sqrt(np.maximum(of.fourth - of.second**2 - shared**2, 0))
    a, b = random.standard_normal((2, *number.shape))
    root = np.sqrt(number)
    first = number * of.first + root * sigma * a
    second = number * of.second + root * (shared * a + rest * b)
    return np.stack([first, np.maximum(second, 0)], axis=-1)


def as_integers(sums: np.ndarray) -> np.ndarray:
    """Return sums as the integers that files hold; sums of squares are at least what the sums ask for."""
    whole = np.rint(sums).astype(np.int64)
    number = np.maximum(whole[..., 0], 1)
    whole[..., 1] = np.clip(whole[..., 1], 0, Q_FULL * whole[..., 0])
    for place in (1, 3):
        whole[..., place] *= whole[..., 0] > 0
        least = np.ceil(whole[..., place].astype(float) ** 2 / number).astype(np.int64)
        whole[..., place + 1] = np.maximum(whole[..., place + 1], least) * (whole[..., 0] > 0)
    return whole
