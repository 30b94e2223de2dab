"""The rate of each path at an input rate, overlaps between paths, and thresholds for a target rate."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from tamis._base import DataError, UsageError, did_you_mean, quantity
from tamis.measure.rates.samples import SampleDecisions
from tamis.records import PathRate, Rate, Roc, TunedThreshold, TurnOn

_UNITS_HZ = {"mHz": 1e-3, "Hz": 1.0, "kHz": 1e3, "MHz": 1e6}
_RATE = re.compile(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*(mHz|Hz|kHz|MHz)")
EFFECTIVE_EVENTS_MIN = 10.0  # from which a rate is estimated
THRESHOLD_BOOTSTRAPS = 200
RATE_ROUNDING = 1e-9  # relative error below which an error is that of the sums
RATE_CURVE_POINTS = 200
ROC_POINTS = 60


def rate_hz(text: str) -> float:
    """Return a rate such as 100kHz in Hz."""
    found = _RATE.fullmatch(text.strip())
    if not found or not float(found[1]):
        raise UsageError(f"{text!r} is not a rate: write a number and mHz, Hz, kHz or MHz, such as 100kHz")
    return float(found[1]) * _UNITS_HZ[found[2]]


def rate_of(decisions: SampleDecisions, input_hz: float, passed: np.ndarray, highest: float = 1.0) -> Rate:
    """Return the rate of the background events; `passed` is the probability that each is accepted, such as 1 / prescale.

    `highest` is the largest probability that an event can have; the upper limit is for such events.
    A rate is estimated from at least ten effective events, (sum of weights)^2 / sum of squared weights; with fewer it has a limit only.
    """
    background = decisions.background
    share = decisions.share[background] * input_hz
    probability = (passed * decisions.before)[background].astype(np.float64)
    each = share * probability
    variance = unseen_hz = 0.0
    for index in np.unique(decisions.sample[background]):
        of_sample = decisions.sample[background] == index
        if not each[of_sample].any():
            unseen_hz += poisson_limit(0.0) * float(share[of_sample].max()) * highest
        # variance of a sum over N sampled events of fixed N
        variance += float(((each[of_sample] - each[of_sample].mean()) ** 2).sum())
    hz, error_hz, squares = float(each.sum()), float(np.sqrt(variance)), float((each**2).sum())
    effective = hz**2 / squares if squares else 0.0
    upper = None
    if effective < EFFECTIVE_EVENTS_MIN:
        of_one = squares / hz if hz else float(share.max()) * highest
        upper = max(poisson_limit(effective) * of_one, unseen_hz if hz else 0.0)
    return Rate(
        hz=hz,
        error_hz=error_hz if error_hz > RATE_ROUNDING * hz else 0.0,
        events=int((each > 0).sum()),
        effective_events=effective,
        upper_hz=upper,
        unseen_hz=unseen_hz,
    )


def poisson_limit(events: float) -> float:
    """Return the mean at which so few events, or fewer, are seen in 5 % of the cases: half the 95 % quantile of chi squared.

    Beyond zero events the quantile is that of Wilson and Hilferty, PNAS 17 (1931) 684, to 1 %.
    """
    if not events:
        return float(-np.log(0.05))
    freedom = 2.0 * (events + 1.0)
    spread = 2.0 / (9.0 * freedom)
    return float(0.5 * freedom * (1.0 - spread + 1.6449 * np.sqrt(spread)) ** 3)


def efficiencies(decisions: SampleDecisions, passed: np.ndarray) -> dict[str, float]:
    """Return the weighted fraction of each sample that passes."""
    found = {}
    for index, name in enumerate(decisions.names):
        share = decisions.left[decisions.sample == index]
        whole = share.sum()
        found[name] = float((share * passed[decisions.sample == index]).sum() / whole) if whole else 0.0
    return found


def path_rates(
    decisions: SampleDecisions, input_hz: float, paths: Sequence[str], prescales: Sequence[int]
) -> tuple[tuple[PathRate, ...], Rate]:
    """Return the rate of every path, and the total rate of events that any path accepts."""
    chance = decisions.paths / np.asarray(prescales, np.float64)
    missed = 1.0 - chance
    accepted = any_path(decisions.paths, prescales)
    rates = []
    for index, path in enumerate(paths):
        others = np.delete(missed, index, axis=1).prod(axis=1)
        rates.append(
            PathRate(
                path=path,
                prescale=prescales[index],
                rate=rate_of(decisions, input_hz, chance[:, index], 1 / prescales[index]),
                unique=rate_of(decisions, input_hz, chance[:, index] * others, 1 / prescales[index]),
                efficiency=efficiencies(decisions, decisions.paths[:, index]),
            )
        )
    return tuple(rates), rate_of(decisions, input_hz, accepted, _any_of(prescales))


def stream_rate(
    decisions: SampleDecisions, input_hz: float, prescales: Sequence[int], members: Sequence[int]
) -> Rate:
    """Return the rate of a stream, which takes the events that any of its paths accepts."""
    chosen = [prescales[member] for member in members]
    return rate_of(decisions, input_hz, any_path(decisions.paths[:, members], chosen), _any_of(chosen))


def any_path(paths: np.ndarray, prescales: Sequence[int]) -> np.ndarray:
    """Return the probability that any path accepts each event, from their decisions before prescales."""
    accepted: np.ndarray = 1.0 - (1.0 - paths / np.asarray(prescales, np.float64)).prod(axis=1)
    return accepted


def _any_of(prescales: Sequence[int]) -> float:
    """Return the probability that any of some paths accepts an event that passes all of their conditions."""
    return 1.0 - float(np.prod([1.0 - 1.0 / prescale for prescale in prescales]))


def overlaps(
    decisions: SampleDecisions, input_hz: float, prescales: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rate of events that both paths of each pair accept, and the correlation of their decisions."""
    background = decisions.background
    share = decisions.left[background] * input_hz
    bits = decisions.paths[background].astype(np.float64)
    scale = np.asarray(prescales, np.float64)
    joint = (bits * share[:, None]).T @ bits
    both = joint / np.outer(scale, scale)
    np.fill_diagonal(both, joint.diagonal() / scale)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = joint.diagonal() / share.sum()
        spread = np.sqrt(mean * (1 - mean))
        correlation = (joint / share.sum() - np.outer(mean, mean)) / np.outer(spread, spread)
    return both, correlation


def tune(
    decisions: SampleDecisions,
    input_hz: float,
    *,
    path: str,
    place: tuple[str | None, str],
    prescale: int,
    loose: np.ndarray,
    values: np.ndarray,
    target_hz: float,
) -> TunedThreshold:
    """Find the threshold at which a path has a target rate.

    `loose` is the decision of its other steps, `values` the quantity that is cut on.
    """
    chosen = loose & decisions.background & np.isfinite(values)
    order = np.argsort(-values[chosen], kind="stable")
    ranked = values[chosen][order]
    share = decisions.left[chosen][order] * input_hz / prescale
    if not len(ranked) or share.sum() < target_hz:
        raise DataError(
            f"the path {path} reaches {quantity(share.sum(), 'Hz')} at most, even without its threshold; the target is {quantity(target_hz, 'Hz')}"
        )
    if share.max() > target_hz:
        raise DataError(
            f"one simulated event represents {quantity(share.max(), 'Hz')}, too much for a threshold at {quantity(target_hz, 'Hz')}: "
            f"simulate at least {int(np.ceil(10 * share.max() / target_hz))} times as many events"
        )
    threshold = _threshold(ranked, share, target_hz)
    above = share[ranked > threshold]
    effective = above.sum() ** 2 / (above**2).sum() if len(above) else 0.0
    if effective < EFFECTIVE_EVENTS_MIN:
        raise DataError(
            f"{effective:.1f} effective events of the path {path} lie above the threshold at {quantity(target_hz, 'Hz')}, at least "
            f"{EFFECTIVE_EVENTS_MIN:.0f} are needed: simulate {int(np.ceil(EFFECTIVE_EVENTS_MIN / max(effective, 0.5)))} times as many events"
        )
    rng = np.random.default_rng(0)
    replicas = [
        _threshold(ranked, share * rng.poisson(1.0, len(share)), target_hz)
        for _ in range(THRESHOLD_BOOTSTRAPS)
    ]
    low, high = np.quantile(replicas, [0.025, 0.975])
    passed = loose & (values > threshold)
    total, error = np.cumsum(share), np.sqrt(np.cumsum(share**2))
    drawn = np.unique(np.geomspace(1, len(ranked), min(RATE_CURVE_POINTS, len(ranked))).astype(int)) - 1
    stage, point = place
    return TunedThreshold(
        path=path,
        stage=stage,
        point=point,
        target_hz=target_hz,
        threshold=threshold,
        low=float(low),
        high=float(high),
        rate=rate_of(decisions, input_hz, passed / prescale, 1 / prescale),
        curve=tuple((float(ranked[i]), float(total[i]), float(error[i])) for i in drawn),
        efficiency=efficiencies(decisions, passed),
    )


def _threshold(ranked: np.ndarray, share: np.ndarray, target_hz: float) -> float:
    """Return the smallest threshold that keeps within the target rate; values above it pass. `ranked` is descending."""
    first = int(np.searchsorted(np.cumsum(share), target_hz * (1 + 1e-9), side="right"))
    return float(ranked[first] if first < len(ranked) else np.nextafter(ranked[-1], -np.inf))


def threshold_for(
    decisions: SampleDecisions, input_hz: float, *, loose: np.ndarray, values: np.ndarray, target_hz: float
) -> float:
    """Return the loosest threshold that keeps within a rate; one that all events pass if the rate is never exceeded."""
    chosen = loose & decisions.background & np.isfinite(values)
    if not chosen.any():
        return -np.inf
    order = np.argsort(-values[chosen], kind="stable")
    return _threshold(values[chosen][order], decisions.left[chosen][order] * input_hz, target_hz)


def roc(
    decisions: SampleDecisions,
    input_hz: float,
    *,
    path: str,
    prescale: int,
    loose: np.ndarray,
    values: np.ndarray,
    passed: np.ndarray,
) -> Roc | None:
    """Return the efficiency of a path for each sample against its rate as the threshold varies; None if its rate is always 0."""
    chosen = loose & np.isfinite(values)
    ranked = np.argsort(np.where(chosen, -values, np.inf), kind="stable")[: int(chosen.sum())]
    rate = np.cumsum(np.where(decisions.background, decisions.left, 0.0)[ranked]) * input_hz / prescale
    if not len(rate) or not rate[-1]:
        return None
    first = int(np.searchsorted(rate, 0.0, side="right"))  # the first background event that passes
    grid = np.geomspace(rate[first], rate[-1], ROC_POINTS)
    # the loosest threshold within each rate; the margin of 1e-9 allows for rounding of the sums
    places = np.unique(np.searchsorted(rate, grid * (1 + 1e-9), side="right") - 1)
    efficiency_of = {}
    for index, name in enumerate(decisions.names):
        of_sample = decisions.sample == index
        passing = np.cumsum(np.where(of_sample, decisions.left, 0.0)[ranked])
        efficiency = passing / decisions.left[of_sample].sum()
        efficiency_of[name] = tuple(efficiency[places].tolist())
    return Roc(
        path=path,
        rate_hz=tuple(rate[places].tolist()),
        efficiency=efficiency_of,
        now_hz=rate_of(decisions, input_hz, passed / prescale).hz,
        now=efficiencies(decisions, passed),
    )


def targets_of(texts: Sequence[str], paths: Sequence[str]) -> dict[str, float]:
    """Parse targets of the form `PATH=RATE` into the target rate of each path, in Hz."""
    found: dict[str, float] = {}
    for text in texts:
        path, mark, rate = text.partition("=")
        if not mark:
            raise UsageError(f"{text!r} is not a target: write PATH=RATE, such as anomaly=1Hz")
        if path not in paths:
            raise UsageError(f"the menu has no path {path!r}; {did_you_mean(path, list(paths))}".rstrip("; "))
        found[path] = rate_hz(rate)
    return found


def turn_on(
    decisions: SampleDecisions,
    path: str,
    passed: np.ndarray,
    text: str,
    values: np.ndarray,
    names: Mapping[str, int],
) -> TurnOn:
    """Return the efficiency of a path in bins of a quantity, with Wilson intervals of 68 %."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise DataError(f"the quantity {text!r} has no finite value")
    low, high = np.quantile(finite, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1.0, 21)
    efficiency, lows, highs = {}, {}, {}
    for name, index in names.items():
        of_sample = (decisions.sample == index) & np.isfinite(values)
        total, _ = np.histogram(values[of_sample], edges)
        accepted, _ = np.histogram(values[of_sample & passed], edges)
        with np.errstate(invalid="ignore", divide="ignore"):
            fraction = accepted / total
            centre = (accepted + 0.5) / (total + 1.0)
            half = np.sqrt(np.where(total > 0, fraction * (1 - fraction) * total + 0.25, np.nan)) / (
                total + 1.0
            )
        efficiency[name] = tuple(fraction.tolist())
        lows[name], highs[name] = tuple((centre - half).tolist()), tuple((centre + half).tolist())
    return TurnOn(
        path=path, quantity=text, edges=tuple(edges.tolist()), efficiency=efficiency, low=lows, high=highs
    )
