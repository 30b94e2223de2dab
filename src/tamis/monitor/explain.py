"""Why a block is bad: the region and quantity that moved, in which direction, and which kind of fault does that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.monitor.features import BlockFeature, features_of
from tamis.monitor.follow import Verdict
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
    """Explains the verdicts of one watch."""

    def __init__(self, watch: Watch) -> None:
        """Prepare for the features of a watch."""
        self._features = features_of(watch)
        self._regions = list(dict.fromkeys(one.region for one in self._features))

    def explain(self, verdict: Verdict, limits: ModeLimits) -> Explanation:
        """Return what moved in a bad block."""
        if verdict.score <= 1:
            burst = max(verdict.bursts, key=lambda one: one.number)
            return Explanation(burst.region, burst.name, "up", ("SEVNOISEBURST",))
        covariance = _covariance(verdict, limits)
        change = np.asarray(verdict.change, np.float64)
        distances = {one: self._part(change, covariance, one) for one in self._regions}
        worst = max(distances, key=distances.__getitem__)
        moved = [one for one, distance in distances.items() if distance > SHARED_DISTANCE * distances[worst]]
        quantities = {
            one: self._part(change, covariance, worst, one)
            for one in dict.fromkeys(f.quantity for f in self._features if f.region == worst)
        }
        quantity = max(quantities, key=quantities.__getitem__)
        own = self._where(worst)
        beyond, spread = _beyond_others(change, covariance, own)
        pulls = {
            self._features[k].of: pull
            for k, pull in zip(own, beyond / spread, strict=True)
            if self._features[k].quantity == quantity
        }
        largest = max(pulls, key=lambda of: abs(pulls[of]))
        direction = "unrest" if largest == "unrest" else "up" if pulls[largest] > 0 else "down"
        everywhere = len(moved) > len(self._regions) / 2 and len(self._regions) > 2
        if everywhere:
            return Explanation(EVERYWHERE, quantity, direction, ("DATACORRUPT", UNKNOWN_DEFECT))
        scale = np.array(limits.scale)[own]
        named = {
            BlockFeature("", self._features[k].quantity, self._features[k].of): float(value)
            for k, value in zip(own, beyond * scale, strict=True)
        }
        return Explanation(worst, quantity, direction, likely_kinds(named, quantities))

    def pulls(self, verdict: Verdict, limits: ModeLimits, region: str) -> dict[int, float]:
        """Return how far the features of a region moved beyond what the other regions make likely, in standard deviations."""
        if verdict.score <= 1 or region not in self._regions:
            return {}
        own = self._where(region)
        change, covariance = np.asarray(verdict.change, np.float64), _covariance(verdict, limits)
        beyond, spread = _beyond_others(change, covariance, own)
        return dict(zip(own.tolist(), (beyond / spread).tolist(), strict=True))

    def _where(self, region: str, quantity: str | None = None) -> np.ndarray:
        return np.array(
            [
                k
                for k, one in enumerate(self._features)
                if one.region == region and quantity in (None, one.quantity)
            ]
        )

    def _part(
        self, change: np.ndarray, covariance: np.ndarray, region: str, quantity: str | None = None
    ) -> float:
        """Return the part of the squared distance that is gone without the features of a region, or of one quantity of it, per number."""
        own = self._where(region, quantity)
        others = np.setdiff1d(np.arange(len(change)), own)
        return (
            _squared(change, covariance, np.arange(len(change))) - _squared(change, covariance, others)
        ) / len(own)


def _covariance(verdict: Verdict, limits: ModeLimits) -> np.ndarray:
    """Return how the changes of good blocks scatter, as old as the reference of this one was."""
    covariance = np.array(limits.covariance)
    if verdict.old:  # what changes slowly has changed since the reference
        later = np.array(limits.later_covariance) - covariance
        covariance += later * max(1.0, verdict.old / LAG) ** 2
    return covariance


def _squared(change: np.ndarray, covariance: np.ndarray, where: np.ndarray) -> float:
    own = change[where]
    return float(own @ np.linalg.solve(covariance[np.ix_(where, where)], own))


def _beyond_others(
    change: np.ndarray, covariance: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the changes of some features beyond what the others make likely, and how much good blocks scatter so."""
    others = np.setdiff1d(np.arange(len(change)), own)
    weights = np.linalg.solve(covariance[np.ix_(others, others)], covariance[np.ix_(others, own)])
    beyond: np.ndarray = change[own] - change[others] @ weights
    rest = covariance[np.ix_(own, own)] - covariance[np.ix_(own, others)] @ weights
    return beyond, np.sqrt(np.maximum(np.diag(rest), 1e-30))


def likely_kinds(change: dict[BlockFeature, float], distances: dict[str, float]) -> tuple[str, ...]:
    """Return the defects of a calorimeter that move quantities like this; SEVUNKNOWN where none does."""
    least = max(MOVED, SMALL * max(distances.values()))
    moved = {name for name, distance in distances.items() if distance > least}
    number = change.get(BlockFeature("", "n", "number"), 0.0)
    q, q_width = (change.get(BlockFeature("", "Q", of), 0.0) for of in ("mean", "width"))
    tau, tau_width = (change.get(BlockFeature("", "tau", of), 0.0) for of in ("mean", "width"))
    found = []
    if "n" in moved and number < 0 and not moved & {"Q", "tau"}:
        found.append("SEVCOVERAGE")
    if "n" in moved and number < 0 and moved & {"Q", "tau"} and q > 0 and tau_width > 0:
        found.append("HVTRIP")
    if "tau" in moved and tau > 0 and tau_width > 0 and "n" not in moved:
        found.append("BADTIMING")
    if "Q" in moved and q > 0 and q_width > q and number > -abs(q):
        found.append("SEVNOISYCHANNEL")
    return (*found[:1], UNKNOWN_DEFECT, *found[1:])
