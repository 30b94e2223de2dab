"""Why a block is bad: the region and quantity that moved, in which direction, and which kind of fault does that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tamis.monitor.alarms import StepAlarm
from tamis.monitor.features import BlockFeature, features_of, step_features_of, steps_have
from tamis.monitor.follow import Burst, Verdict
from tamis.monitor.model import ModeLimits
from tamis.monitor.template import LAG
from tamis.monitor.watch import Watch

EVERYWHERE = "all"
UNKNOWN_DEFECT = "SEVUNKNOWN"
SHARED_DISTANCE = 0.15  # of the largest distance of a region: others beyond it have moved as well
MOVED = 25.0  # squared distance of a quantity, or of a region, per number
SMALL = 0.003  # of the largest distance of a quantity: others below it have not moved


@dataclass(frozen=True)
class Explanation:
    """The explanation of a bad block."""

    region: str
    quantity: str
    direction: str  # up, down, or unrest
    kinds: tuple[str, ...]  # names of defects, the likeliest first


class Explainer:
    """Explains the verdicts and alarms of one watch."""

    def __init__(self, watch: Watch) -> None:
        """Prepare for the features of a watch."""
        self._of_blocks, self._of_steps = features_of(watch), step_features_of(watch)
        self._on_steps = steps_have(watch)

    def explain(self, verdict: Verdict, limits: ModeLimits) -> Explanation:
        """Return what moved in a bad block: in the block as a whole, in a burst, or in the seconds of its largest alarm."""
        if verdict.score <= 1 and verdict.bursts:
            return explain_burst(max(verdict.bursts, key=lambda one: one.number))
        if verdict.score <= 1:
            return self.explain_alarm(max(verdict.alarms, key=lambda one: one.score), verdict.old, limits)
        covariance = np.array(limits.covariance) + _slow(limits, verdict.old)
        return _explain(verdict.change, covariance, np.array(limits.scale), self._of_blocks)

    def explain_alarm(self, alarm: StepAlarm, old: int, limits: ModeLimits) -> Explanation:
        """Return what moved in the seconds of an alarm, with a reference that is `old` bad blocks old."""
        slow = _slow(limits, old)[np.ix_(self._on_steps, self._on_steps)]
        scale = np.array(limits.scale)[self._on_steps]
        covariance = np.eye(len(scale)) if limits.steps is None else np.array(limits.steps.covariance)
        return _explain(alarm.change, covariance + slow, scale, self._of_steps)

    def pulls(self, verdict: Verdict, limits: ModeLimits, region: str) -> dict[int, float]:
        """Return how far the features of a region moved beyond what the other regions make likely, in standard deviations."""
        own = _where(self._of_blocks, region)
        if verdict.score <= 1 or not len(own):
            return {}
        covariance = np.array(limits.covariance) + _slow(limits, verdict.old)
        beyond, spread = ChangeAmongOthers(verdict.change, covariance).beyond_others(own)
        return dict(zip(own.tolist(), (beyond / spread).tolist(), strict=True))


def explain_burst(burst: Burst) -> Explanation:
    """Return the explanation of a burst."""
    return Explanation(burst.region, burst.name, "up", ("SEVNOISEBURST",))


def _slow(limits: ModeLimits, old: int) -> np.ndarray:
    """Return how much the features have changed slowly since the reference."""
    later = np.array(limits.later_covariance) - np.array(limits.covariance)
    slow: np.ndarray = later * max(1.0, old / LAG) ** 2 * bool(old)
    return slow


def _explain(
    change: np.ndarray, covariance: np.ndarray, scale: np.ndarray, features: Sequence[BlockFeature]
) -> Explanation:
    moved = ChangeAmongOthers(change, covariance)
    regions = list(dict.fromkeys(one.region for one in features))
    distances = {one: moved.part(_where(features, one)) for one in regions}
    worst = max(distances, key=distances.__getitem__)
    own = _where(features, worst)
    quantities = {
        one: moved.part(_where(features, worst, one))
        for one in dict.fromkeys(features[k].quantity for k in own)
    }
    quantity = max(quantities, key=quantities.__getitem__)
    beyond, spread = moved.beyond_others(own)
    pulls = {
        features[k].of: pull
        for k, pull in zip(own, beyond / spread, strict=True)
        if features[k].quantity == quantity
    }
    largest = max(pulls, key=lambda of: abs(pulls[of]))
    direction = "unrest" if largest == "unrest" else "up" if pulls[largest] > 0 else "down"
    elsewhere = [one for one, distance in distances.items() if distance > SHARED_DISTANCE * distances[worst]]
    if len(elsewhere) > len(regions) / 2 and len(regions) > 2:
        return Explanation(EVERYWHERE, quantity, direction, ("DATACORRUPT", UNKNOWN_DEFECT))
    named = {
        BlockFeature("", features[k].quantity, features[k].of): float(value)
        for k, value in zip(own, beyond * scale[own], strict=True)
    }
    return Explanation(worst, quantity, direction, likely_kinds(named, quantities))


def _where(features: Sequence[BlockFeature], region: str, quantity: str | None = None) -> np.ndarray:
    return np.array(
        [k for k, one in enumerate(features) if one.region == region and quantity in (None, one.quantity)]
    )


class ChangeAmongOthers:
    """A change of the features, seen against the scatter of good blocks; formulas of the conditional normal distribution."""

    def __init__(self, change: np.ndarray, covariance: np.ndarray) -> None:
        """Take a change and the covariance of those of good blocks."""
        self._precision = np.linalg.inv(covariance)
        self._weighted = self._precision @ np.asarray(change, np.float64)

    def part(self, own: np.ndarray) -> float:
        """Return the part of the squared distance that is gone without some features, per feature."""
        beyond = np.linalg.solve(self._precision[np.ix_(own, own)], self._weighted[own])
        return float(self._weighted[own] @ beyond) / len(own)

    def beyond_others(self, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the changes of some features beyond what the others make likely, and how much good blocks scatter so."""
        rest = np.linalg.inv(self._precision[np.ix_(own, own)])
        beyond: np.ndarray = rest @ self._weighted[own]
        return beyond, np.sqrt(np.maximum(np.diag(rest), 1e-30))


def likely_kinds(change: dict[BlockFeature, float], distances: dict[str, float]) -> tuple[str, ...]:
    """Return the defects of a calorimeter that move quantities like this; SEVUNKNOWN where none does."""
    largest = max(distances, key=distances.__getitem__)
    least = max(MOVED, SMALL * distances[largest])
    moved = {name for name, distance in distances.items() if distance > least} | {largest}
    number = change.get(BlockFeature("", "n", "number"), 0.0)
    q, q_width = (change.get(BlockFeature("", "Q", of), 0.0) for of in ("mean", "width"))
    tau, tau_width = (change.get(BlockFeature("", "tau", of), 0.0) for of in ("mean", "width"))
    found = []
    if "n" in moved and number < 0 and not moved & {"Q", "tau"}:
        found.append("SEVCOVERAGE")
    if "n" in moved and number < 0 and moved & {"Q", "tau"} and q > 0 and tau_width > 0:
        found.append("HVTRIP")
    if "Q" in moved and q > 0 and q_width > q and number > -abs(q):
        found.append("SEVNOISYCHANNEL")
    if "tau" in moved and tau > 0 and tau_width > 0 and "n" not in moved:
        found.insert(0 if largest == "tau" else len(found), "BADTIMING")
    return (*found[:1], UNKNOWN_DEFECT, *found[1:])
