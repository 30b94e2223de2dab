"""Rates: what each path lets through at a given input rate, how paths overlap, and thresholds for a rate."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from tamis._base import DataError, UsageError, did_you_mean
from tamis.measure.rates.samples import Seen
from tamis.records import PathRate, Rate, Roc, TunedThreshold, TurnOn

_UNITS_HZ = {"mHz": 1e-3, "Hz": 1.0, "kHz": 1e3, "MHz": 1e6}
_RATE = re.compile(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*(mHz|Hz|kHz|MHz)")
BOOTSTRAPS = 200
CURVE_POINTS = 200
ROC_POINTS = 60


def rate_hz(text: str) -> float:
    """Return a rate as people write it, such as 100kHz."""
    found = _RATE.fullmatch(text.strip())
    if not found or not float(found[1]):
        raise UsageError(f"{text!r} is no rate: write a number and mHz, Hz, kHz or MHz, such as 100kHz")
    return float(found[1]) * _UNITS_HZ[found[2]]


def rate_of(seen: Seen, input_hz: float, passed: np.ndarray) -> Rate:
    """Return the rate of what passes with a probability (true, false, or one over a prescale)."""
    background = seen.background
    share, probability = seen.share[background] * input_hz, passed[background].astype(np.float64)
    each = share * probability
    variance = 0.0
    for index in np.unique(seen.sample[background]):
        mine = seen.sample[background] == index
        # of N events that were drawn: the sum of squares, less what is fixed by the number drawn
        variance += float((each[mine] ** 2).sum() - each[mine].sum() ** 2 / mine.sum())
    events = int((probability > 0).sum())
    upper = None if events else float(-np.log(0.05) * share.max())
    return Rate(
        hz=float(each.sum()), error_hz=float(np.sqrt(max(variance, 0.0))), events=events, upper_hz=upper
    )


def efficiencies(seen: Seen, passed: np.ndarray) -> dict[str, float]:
    """Return which share of each sample passes."""
    found = {}
    for index, name in enumerate(seen.names):
        mine = seen.sample == index
        found[name] = float((seen.share[mine] * passed[mine]).sum() / seen.share[mine].sum())
    return found


def path_rates(
    seen: Seen, input_hz: float, paths: Sequence[str], prescales: Sequence[int]
) -> tuple[tuple[PathRate, ...], Rate]:
    """Return the rate of every path, and of all together."""
    chance = seen.paths / np.asarray(prescales, np.float64)
    missed = 1.0 - chance
    every = 1.0 - missed.prod(axis=1)
    found = []
    for index, path in enumerate(paths):
        others = np.delete(missed, index, axis=1).prod(axis=1)
        found.append(
            PathRate(
                path=path,
                prescale=prescales[index],
                rate=rate_of(seen, input_hz, chance[:, index]),
                unique=rate_of(seen, input_hz, chance[:, index] * others),
                efficiency=efficiencies(seen, seen.paths[:, index]),
            )
        )
    return tuple(found), rate_of(seen, input_hz, every)


def stream_rate(seen: Seen, input_hz: float, prescales: Sequence[int], members: Sequence[int]) -> Rate:
    """Return the rate of a stream: of what any of its paths takes."""
    chance = seen.paths[:, members] / np.asarray(prescales, np.float64)[list(members)]
    return rate_of(seen, input_hz, 1.0 - (1.0 - chance).prod(axis=1))


def overlaps(seen: Seen, input_hz: float, prescales: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rate that each pair of paths shares, and the correlation of their decisions."""
    background = seen.background
    share = seen.share[background] * input_hz
    bits = seen.paths[background].astype(np.float64)
    scale = np.asarray(prescales, np.float64)
    joint = (bits * share[:, None]).T @ bits
    both = joint / np.outer(scale, scale)
    np.fill_diagonal(both, joint.diagonal() / scale)
    mean = joint.diagonal() / share.sum()
    spread = np.sqrt(mean * (1 - mean))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (joint / share.sum() - np.outer(mean, mean)) / np.outer(spread, spread)
    return both, correlation


def tune(
    seen: Seen,
    input_hz: float,
    *,
    path: str,
    place: tuple[str | None, str],
    prescale: int,
    loose: np.ndarray,
    values: np.ndarray,
    target_hz: float,
) -> TunedThreshold:
    """Find the threshold at which a path has a rate; `loose` passes all its other steps, `values` is what is cut on."""
    chosen = loose & seen.background & np.isfinite(values)
    order = np.argsort(-values[chosen], kind="stable")
    ranked = values[chosen][order]
    share = seen.share[chosen][order] * input_hz / prescale
    if not len(ranked) or share.sum() < target_hz:
        raise DataError(
            f"the path {path} has at most {share.sum():.4g} Hz of the wanted {target_hz:g} Hz, even without its threshold"
        )
    if share.max() > target_hz:
        raise DataError(
            f"one simulated event stands for {share.max():.4g} Hz, so that a threshold for {target_hz:g} Hz cannot be found: "
            f"simulate at least {int(np.ceil(10 * share.max() / target_hz))} times as many events"
        )
    threshold = _threshold(ranked, share, target_hz)
    rng = np.random.default_rng(0)
    tried = [_threshold(ranked, share * rng.poisson(1.0, len(share)), target_hz) for _ in range(BOOTSTRAPS)]
    low, high = np.quantile(tried, [0.025, 0.975])
    passed = loose & (values > threshold)
    stage, point = place
    return TunedThreshold(
        path=path,
        stage=stage,
        point=point,
        target_hz=target_hz,
        threshold=threshold,
        low=float(low),
        high=float(high),
        rate=rate_of(seen, input_hz, passed / prescale),
        curve=_curve(ranked, share),
        efficiency=efficiencies(seen, passed),
    )


def _threshold(ranked: np.ndarray, share: np.ndarray, target_hz: float) -> float:
    """Return the largest value that too much would be let through with; what is above it passes."""
    first = int(np.searchsorted(np.cumsum(share), target_hz * (1 + 1e-9), side="right"))
    return float(ranked[first] if first < len(ranked) else np.nextafter(ranked[-1], -np.inf))


def threshold_for(
    seen: Seen, input_hz: float, *, loose: np.ndarray, values: np.ndarray, target_hz: float
) -> float:
    """Return the loosest threshold that keeps within a rate; where all that there is does not exceed it, one that all pass."""
    chosen = loose & seen.background & np.isfinite(values)
    if not chosen.any():
        return -np.inf
    order = np.argsort(-values[chosen], kind="stable")
    return _threshold(values[chosen][order], seen.share[chosen][order] * input_hz, target_hz)


def _curve(ranked: np.ndarray, share: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    total, error = np.cumsum(share), np.sqrt(np.cumsum(share**2))
    places = np.unique(np.geomspace(1, len(ranked), min(CURVE_POINTS, len(ranked))).astype(int)) - 1
    return tuple((float(ranked[i]), float(total[i]), float(error[i])) for i in places)


def roc(
    seen: Seen,
    input_hz: float,
    *,
    path: str,
    prescale: int,
    loose: np.ndarray,
    values: np.ndarray,
    passed: np.ndarray,
) -> Roc | None:
    """Return which share of each sample a path takes, at every rate that its threshold could give it; None without any."""
    chosen = loose & np.isfinite(values)
    ranked = np.argsort(np.where(chosen, -values, np.inf), kind="stable")[: int(chosen.sum())]
    rate = np.cumsum(np.where(seen.background, seen.share, 0.0)[ranked]) * input_hz / prescale
    if not len(rate) or not rate[-1]:
        return None
    first = int(
        np.searchsorted(rate, 0.0, side="right")
    )  # where a background event passes for the first time
    wanted = np.geomspace(rate[first], rate[-1], ROC_POINTS)
    # of each rate the loosest threshold that keeps within it; a hair more, as sums of the same numbers differ by a bit
    places = np.unique(np.searchsorted(rate, wanted * (1 + 1e-9), side="right") - 1)
    shares = {}
    for index, name in enumerate(seen.names):
        mine = seen.sample == index
        found = np.cumsum(np.where(mine, seen.share, 0.0)[ranked]) / seen.share[mine].sum()
        shares[name] = tuple(found[places].tolist())
    return Roc(
        path=path,
        rate_hz=tuple(rate[places].tolist()),
        efficiency=shares,
        now_hz=rate_of(seen, input_hz, passed / prescale).hz,
        now=efficiencies(seen, passed),
    )


def targets_of(texts: Sequence[str], paths: Sequence[str]) -> dict[str, float]:
    """Return the wanted rate of each path that `PATH=RATE` names."""
    found: dict[str, float] = {}
    for text in texts:
        path, mark, rate = text.partition("=")
        if not mark:
            raise UsageError(f"{text!r} is no target: write PATH=RATE, such as anomaly=1Hz")
        if path not in paths:
            raise UsageError(f"the menu has no path {path!r}; {did_you_mean(path, list(paths))}".rstrip("; "))
        found[path] = rate_hz(rate)
    return found


def turn_on(
    seen: Seen, path: str, passed: np.ndarray, text: str, values: np.ndarray, names: Mapping[str, int]
) -> TurnOn:
    """Return the efficiency of a path in bins of a quantity, with Wilson intervals of 68 %."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise DataError(f"the quantity {text!r} has no finite value")
    low, high = np.quantile(finite, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1.0, 21)
    efficiency, lows, highs = {}, {}, {}
    for name, index in names.items():
        mine = (seen.sample == index) & np.isfinite(values)
        total, _ = np.histogram(values[mine], edges)
        found, _ = np.histogram(values[mine & passed], edges)
        with np.errstate(invalid="ignore", divide="ignore"):
            fraction = found / total
            centre = (found + 0.5) / (total + 1.0)
            half = np.sqrt(np.where(total > 0, fraction * (1 - fraction) * total + 0.25, np.nan)) / (
                total + 1.0
            )
        efficiency[name] = tuple(fraction.tolist())
        lows[name], highs[name] = tuple((centre - half).tolist()), tuple((centre + half).tolist())
    return TurnOn(
        path=path, quantity=text, edges=tuple(edges.tolist()), efficiency=efficiency, low=lows, high=highs
    )
