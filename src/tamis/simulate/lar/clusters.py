"""What clusters look like: kinds of clusters, each with a distribution of Q and of tau, as its first four moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tamis.simulate.lar.regions import IS_ENDCAP, Q_FULL, TAU_UNIT_NS

EXPONENTIAL_Q, BAD_SHARE, TAIL_PER_MU = 0.012, 0.03, 0.0004
ENDCAP_TAIL, ION_TAIL = 1.7, 0.6
NOISY_Q, BURST_Q, SPREAD_Q = 0.8, 0.6, 0.08
BURST_TAU_NS = 50.0  # to either side


HOT_Q, HOT_TAU_NS = (
    0.4,
    15.0,
)  # a cluster beyond both looks like noise: its pulse has neither the right shape nor time


Draw = Callable[[np.random.Generator, np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Moments:
    """Means of the first four powers, and the share that is beyond a limit to either side: arrays that broadcast against (rows, regions)."""

    first: np.ndarray
    second: np.ndarray
    third: np.ndarray
    fourth: np.ndarray
    beyond: np.ndarray
    draw: Draw  # single values: of random numbers, and of the rows and the region that they are in

    def scaled(self, scale: float) -> Moments:
        """Return the moments in another unit."""
        return Moments(
            self.first * scale,
            self.second * scale**2,
            self.third * scale**3,
            self.fourth * scale**4,
            self.beyond,
            self.draw,
        )


def exponential_q(mean: np.ndarray | float) -> Moments:
    """Return the moments of an exponential distribution of Q."""
    one = np.asarray(mean, float)

    def draw(random: np.random.Generator, rows: np.ndarray, region: int) -> np.ndarray:
        return random.exponential(size=len(rows)) * _at(one, rows, region)

    return Moments(one, 2 * one**2, 6 * one**3, 24 * one**4, np.exp(-HOT_Q / one), draw)


def tail_q(scale: np.ndarray | float) -> Moments:
    """Return the moments of the tail of Q, a beta distribution (1, 3) times a scale."""
    one = np.asarray(scale, float)

    def draw(random: np.random.Generator, rows: np.ndarray, region: int) -> np.ndarray:
        return random.beta(1, 3, len(rows)) * _at(one, rows, region)

    return Moments(one / 4, one**2 / 10, one**3 / 20, one**4 / 35, (1 - HOT_Q / one) ** 3, draw)


def normal(mean: np.ndarray | float, sigma: np.ndarray | float, limit: float) -> Moments:
    """Return the moments of a normal distribution."""
    m, width = np.asarray(mean, float), np.asarray(sigma, float)
    v = width**2
    beyond = _normal_tail((limit + m) / width) + _normal_tail((limit - m) / width)

    def draw(random: np.random.Generator, rows: np.ndarray, region: int) -> np.ndarray:
        return _at(m, rows, region) + random.standard_normal(len(rows)) * _at(width, rows, region)

    return Moments(m, m**2 + v, m**3 + 3 * m * v, m**4 + 6 * m**2 * v + 3 * v**2, beyond, draw)


def _at(values: np.ndarray, rows: np.ndarray, region: int) -> np.ndarray:
    """Return the value of each row in a region; arrays broadcast against (rows, regions)."""
    if values.ndim == 0:
        return values
    column: np.ndarray = values[:, min(region, values.shape[1] - 1)]
    return column[rows] if len(column) > 1 else column


# The complementary error function to 1e-7 of its value, by W. H. Press et al., Numerical Recipes: a polynomial in 1 / (1 + x / 2).
ERFC = (
    -1.26551223,
    1.00002368,
    0.37409196,
    0.09678418,
    -0.18628806,
    0.27886807,
    -1.13520398,
    1.48851587,
    -0.82215223,
    0.17087277,
)


def _normal_tail(x: np.ndarray) -> np.ndarray:
    """Return the share of a normal distribution above x standard deviations."""
    positive = np.abs(x) / np.sqrt(2)
    t = 1 / (1 + positive / 2)
    tail = t * np.exp(-(positive**2) + np.polynomial.polynomial.polyval(t, ERFC)) / 2
    return np.where(x >= 0, tail, 1 - tail)


def uniform_tau(half: float) -> Moments:
    """Return the moments of a uniform distribution of tau around 0."""
    zero = np.zeros(())

    def draw(random: np.random.Generator, rows: np.ndarray, _: int) -> np.ndarray:
        return random.uniform(-half, half, len(rows))

    return Moments(
        zero, np.asarray(half**2 / 3), zero, np.asarray(half**4 / 5), np.asarray(1 - HOT_TAU_NS / half), draw
    )


@dataclass(frozen=True)
class ClusterKind:
    """Clusters of one kind: the mean number in an event, and the moments of Q / 65535 and of tau in ns."""

    rate: np.ndarray  # (rows, regions)
    q: Moments
    tau: Moments

    @property
    def hot(self) -> np.ndarray:
        """Return the share of clusters that look like noise."""
        share: np.ndarray = self.q.beyond * self.tau.beyond
        return share


def tail_share(mu: np.ndarray, *, ions: bool) -> np.ndarray:
    """Return the share of clusters whose pulse fits badly, (rows, regions)."""
    share = (BAD_SHARE + TAIL_PER_MU * mu)[:, None] * np.where(IS_ENDCAP, ENDCAP_TAIL, 1.0)
    return share * ION_TAIL if ions else share


def draw_sums(kind: ClusterKind, events: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return n, the sums of Q, Q^2, tau, tau^2 and hot clusters of numbers of events, (rows, regions, 6), in integer units of the columns.

    The sums are drawn from a normal distribution with the mean and covariance that the moments give for this many clusters.
    """
    number = random.poisson(kind.rate * events[:, None])
    return np.concatenate(
        [
            number[..., None], _pair(number, kind.q.scaled(Q_FULL), random), _pair(number, kind.tau.scaled(1 / TAU_UNIT_NS), random),
            random.binomial(number, kind.hot)[..., None],
        ],
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
