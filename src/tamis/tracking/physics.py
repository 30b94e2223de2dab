"""How good tracks are: efficiency, fakes, duplicates and residuals, event by event, in a fixed amount of memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from tamis.bundle import wilson
from tamis.records import (
    Fraction,
    Residual,
    ResidualBin,
    ResidualCurve,
    ResidualHistogram,
    TrackingCurve,
    TrackingPhysics,
)
from tamis.tracking.chain import Tracks
from tamis.tracking.matching import FOUND_ETA_MAX, FOUND_PT_MIN, HITS_MIN, Matches

Against = Literal["eta", "pt", "pile-up", "radius"]
Quantity = Literal["efficiency", "fakes", "duplicates"]

PARAMETERS = (("d0", "mm"), ("z0", "mm"), ("phi", "rad"), ("theta", "rad"), ("q/p", "1/GeV"))
CURVE_UNITS: dict[Against, str] = {"eta": "", "pt": "GeV", "pile-up": "", "radius": "mm"}
CURVE_EDGES: dict[Against, np.ndarray] = {
    "eta": np.linspace(-3, 3, 25),
    "pt": np.array([0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100, 1000]),
    "pile-up": np.array([-0.5, 0.5, *np.arange(10.5, 401, 10)]),
    "radius": np.array([0, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000]),
}
RESIDUAL_ETA_EDGES = np.linspace(-3, 3, 13)
SAMPLED_MOST = 100_000  # tracks whose residuals are kept
BIN_TRACKS_MIN = 10  # for a width
HISTOGRAM_BINS, HISTOGRAM_WIDTHS = 60, 5.0  # to either side
# Of Gaussian residuals: standard errors times sqrt(n) of the median and of half the width between the quantiles at 15.87 and 84.13 %.
MEDIAN_ERROR = math.sqrt(math.pi / 2)
WIDTH_ERROR = 0.962


class _Sampled(NamedTuple):
    """Residuals, pulls, pT and eta of matched tracks."""

    residual: np.ndarray  # (n, 5)
    pull: np.ndarray
    pt: np.ndarray
    eta: np.ndarray


class PhysicsTally:
    """Counts of particles and tracks in bins, and a random sample of residuals."""

    def __init__(self) -> None:
        """Start without events."""
        self.events = 0
        self._counts: dict[tuple[Quantity, Against], np.ndarray] = {}
        self._totals: dict[Quantity, np.ndarray] = {}
        self._sample = np.empty((0, 12))
        self._matched = 0
        self._random = np.random.default_rng(1)

    def add(self, tracks: Tracks, matches: Matches, collisions: int | None) -> None:
        """Add the tracks of one event, with its number of pile-up collisions if it is known."""
        self.events += 1
        found, good = matches.found > 0, ~matches.fake
        pt, eta = tracks.pt, tracks.eta
        self._count("efficiency", found, {"eta": matches.eta, "pt": matches.pt, "radius": matches.radius})
        self._count("fakes", matches.fake, {"eta": eta, "pt": pt})
        self._count("duplicates", matches.duplicate, {"eta": eta, "pt": pt})
        self._bin("duplicates", "radius", matches.duplicate[good], matches.track_radius)
        if collisions is not None:
            for quantity, passed in self._passed(found, matches.fake, matches.duplicate):
                self._bin(quantity, "pile-up", passed, np.full(len(passed), collisions))
        self._keep(np.column_stack([matches.residual, matches.pull, matches.track_pt, matches.track_eta]))

    @staticmethod
    def _passed(*masks: np.ndarray) -> Iterator[tuple[Quantity, np.ndarray]]:
        names: tuple[Quantity, ...] = ("efficiency", "fakes", "duplicates")
        yield from zip(names, masks, strict=True)

    def _count(self, quantity: Quantity, passed: np.ndarray, against: dict[Against, np.ndarray]) -> None:
        total = self._totals.setdefault(quantity, np.zeros(2, np.int64))
        total += int(passed.sum()), len(passed)
        for name, values in against.items():
            self._bin(quantity, name, passed, values)

    def _bin(self, quantity: Quantity, against: Against, passed: np.ndarray, values: np.ndarray) -> None:
        edges = CURVE_EDGES[against]
        counts = self._counts.setdefault((quantity, against), np.zeros((2, len(edges) - 1), np.int64))
        counts[0] += np.histogram(values[passed], edges)[0]
        counts[1] += np.histogram(values, edges)[0]

    def _keep(self, rows: np.ndarray) -> None:
        """Keep rows until there are SAMPLED_MOST, then replace random ones, so that all have the same chance (Vitter's algorithm R)."""
        room = max(SAMPLED_MOST - len(self._sample), 0)
        first = self._matched + min(room, len(rows))
        self._sample = np.concatenate([self._sample, rows[:room]])
        self._matched += len(rows)
        if len(rows) > room:
            place = self._random.integers(0, np.arange(first, self._matched) + 1)
            kept = place < SAMPLED_MOST
            self._sample[place[kept]] = rows[room:][kept]

    def result(self) -> TrackingPhysics | None:
        """Return the physics of all events, None without any."""
        if not self.events:
            return None
        sample = _Sampled(
            self._sample[:, :5], self._sample[:, 5:10], self._sample[:, 10], self._sample[:, 11]
        )
        return TrackingPhysics(
            particles=f"charged, at least {HITS_MIN} clusters, pT above {FOUND_PT_MIN:g} GeV, |eta| below {FOUND_ETA_MAX:g}",
            efficiency=fraction_of(*self._totals["efficiency"]),
            fakes=fraction_of(*self._totals["fakes"]),
            duplicates=fraction_of(*self._totals["duplicates"]),
            residuals=[_residual(sample, k) for k in range(len(PARAMETERS))],
            matched=self._matched,
            sampled=len(self._sample),
            curves=[_curve(*key, counts) for key, counts in self._counts.items()],
            residual_curves=[
                _residual_curve(sample, k, against)
                for k in range(len(PARAMETERS))
                for against in ("eta", "pt")
            ],
            histograms=[
                _histogram(sample, k, of) for of in ("residual", "pull") for k in range(len(PARAMETERS))
            ],
        )


def fraction_of(passed: int, total: int) -> Fraction:
    """Return a fraction with its interval at 95 %."""
    low, high = wilson(int(passed), int(total))
    return Fraction(
        passed=int(passed), total=int(total), value=passed / total if total else 0.0, low=low, high=high
    )


def width_of(values: np.ndarray) -> float:
    """Return half the width that holds the middle 68.27 % of values."""
    if not len(values):
        return 0.0
    low, high = np.nanpercentile(values, [15.87, 84.13])
    return float(high - low) / 2


def _median(values: np.ndarray) -> float:
    return float(np.nanmedian(values)) if len(values) else 0.0


def _residual(sample: _Sampled, k: int) -> Residual:
    name, unit = PARAMETERS[k]
    value, pull = sample.residual[:, k], sample.pull[:, k]
    return Residual(
        parameter=name,
        unit=unit,
        width=width_of(value),
        median=_median(value),
        pull_width=width_of(pull),
        pull_median=_median(pull),
    )


def _curve(quantity: Quantity, against: Against, counts: np.ndarray) -> TrackingCurve:
    """Return a curve from the first to the last bin that is not empty."""
    filled = np.flatnonzero(counts[1])
    first, last = (filled[0], filled[-1] + 1) if len(filled) else (0, 0)
    return TrackingCurve(
        quantity=quantity,
        against=against,
        unit=CURVE_UNITS[against],
        edges=CURVE_EDGES[against][first : last + 1].tolist(),
        bins=[fraction_of(passed, total) for passed, total in counts[:, first:last].T],
    )


def _residual_curve(sample: _Sampled, k: int, against: Literal["eta", "pt"]) -> ResidualCurve:
    values, edges = (sample.eta, RESIDUAL_ETA_EDGES) if against == "eta" else (sample.pt, CURVE_EDGES["pt"])
    place = np.digitize(values, edges) - 1
    bins = [
        _residual_bin(sample.residual[place == n, k], sample.pull[place == n, k])
        for n in range(len(edges) - 1)
    ]
    name, unit = PARAMETERS[k]
    return ResidualCurve(
        parameter=name,
        unit=unit,
        against=against,
        against_unit=CURVE_UNITS[against],
        edges=edges.tolist(),
        bins=bins,
    )


def _residual_bin(residual: np.ndarray, pull: np.ndarray) -> ResidualBin | None:
    if len(residual) < BIN_TRACKS_MIN:
        return None
    width, pull_width, root = width_of(residual), width_of(pull), math.sqrt(len(residual))
    return ResidualBin(
        tracks=len(residual),
        width=width,
        width_error=WIDTH_ERROR * width / root,
        median=_median(residual),
        median_error=MEDIAN_ERROR * width / root,
        pull_width=pull_width,
        pull_width_error=WIDTH_ERROR * pull_width / root,
        pull_median=_median(pull),
        pull_median_error=MEDIAN_ERROR * pull_width / root,
    )


def _histogram(sample: _Sampled, k: int, of: Literal["residual", "pull"]) -> ResidualHistogram:
    name, unit = PARAMETERS[k]
    values = (sample.residual if of == "residual" else sample.pull)[:, k]
    reach = HISTOGRAM_WIDTHS * ((width_of(values) or 1.0) if of == "residual" else 1.0)
    counts, edges = np.histogram(values, HISTOGRAM_BINS, (-reach, reach))
    return ResidualHistogram(
        parameter=name,
        unit=unit if of == "residual" else "",
        of=of,
        edges=edges.tolist(),
        counts=counts.tolist(),
        outside=len(values) - int(counts.sum()),
    )
