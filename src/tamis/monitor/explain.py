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
        covariance = np.array(limits.covariance)
        if verdict.old:  # what changes slowly has changed since the reference
            later = np.array(limits.later_covariance) - covariance
            covariance += later * max(1.0, verdict.old / LAG) ** 2
        change = np.asarray(verdict.change, np.float64)
        distances = {one: self._distance(change, covariance, region=one) for one in self._regions}
        worst = max(distances, key=distances.__getitem__)
        moved = [one for one, distance in distances.items() if distance > SHARED_DISTANCE * distances[worst]]
        quantities = {
            one: self._distance(change, covariance, region=worst, quantity=one)
            for one in dict.fromkeys(f.quantity for f in self._features if f.region == worst)
        }
        quantity = max(quantities, key=quantities.__getitem__)
        where = [k for k, one in enumerate(self._features) if (one.region, one.quantity) == (worst, quantity)]
        pulls = change[where] / np.sqrt(np.diag(covariance)[where])
        largest = int(np.abs(pulls).argmax())
        direction = (
            "unrest"
            if self._features[where[largest]].of == "unrest"
            else ("up" if pulls[largest] > 0 else "down")
        )
        everywhere = len(moved) > len(self._regions) / 2 and len(self._regions) > 2
        kinds = (
            ("DATACORRUPT", UNKNOWN_DEFECT)
            if everywhere
            else likely_kinds(self._named(change, worst, limits), quantities)
        )
        return Explanation(EVERYWHERE if everywhere else worst, quantity, direction, kinds)

    def _distance(
        self, change: np.ndarray, covariance: np.ndarray, region: str, quantity: str | None = None
    ) -> float:
        """Return the squared distance of the features of a region, or of one quantity of it, per number."""
        where = [
            k
            for k, one in enumerate(self._features)
            if one.region == region and quantity in (None, one.quantity)
        ]
        own = change[where]
        return float(own @ np.linalg.solve(covariance[np.ix_(where, where)], own)) / len(where)

    def _named(self, change: np.ndarray, region: str, limits: ModeLimits) -> dict[BlockFeature, float]:
        """Return the changes of one region in units of the quantities."""
        return {
            BlockFeature("", one.quantity, one.of): float(change[k] * limits.scale[k])
            for k, one in enumerate(self._features)
            if one.region == region
        }


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
