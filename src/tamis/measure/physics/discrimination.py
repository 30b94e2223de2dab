"""Discrimination between signal and background: AUC and signal efficiencies, with bootstrap errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis._base import DataError
from tamis.records import Discrimination, Estimate, VariableHistogram

BACKGROUND_EFFICIENCIES = (1e-2, 1e-3)
AUC_BOOTSTRAPS = 200
ROC_CURVE_POINTS = 200
HISTOGRAM_BINS = 60


@dataclass(frozen=True)
class EvaluationSample:
    """The variables of one sample, each with one value per jet (or event)."""

    name: str
    values: dict[str, np.ndarray]

    def __len__(self) -> int:
        """Return the number of jets."""
        return len(next(iter(self.values.values())))


def discriminate(
    background: EvaluationSample, signal: EvaluationSample, variable: str, rng: np.random.Generator
) -> Discrimination:
    """Measure one variable; larger values must be more signal-like, so negate variables of the opposite sense."""
    b, s = (np.asarray(sample.values[variable], np.float64) for sample in (background, signal))
    for name, values in ((background.name, b), (signal.name, s)):
        if not len(values) or not np.isfinite(values).all():
            raise DataError(
                f"{variable} of the sample {name} has {len(values)} values, {int((~np.isfinite(values)).sum())} of them not finite; "
                "an AUC needs finite values"
            )
    ranked = _Ranked(b, s)
    whole = ranked.figures(np.ones(len(b)), np.ones(len(s)))
    replicas = np.array(
        [
            ranked.figures(rng.poisson(1.0, len(b)).astype(float), rng.poisson(1.0, len(s)).astype(float))
            for _ in range(AUC_BOOTSTRAPS)
        ]
    )
    errors = replicas.std(axis=0, ddof=1)
    estimates = [Estimate(value=float(v), error=float(e)) for v, e in zip(whole, errors, strict=True)]
    return Discrimination(
        variable=variable,
        signal=signal.name,
        auc=estimates[0],
        signal_efficiency={f"{e:g}": x for e, x in zip(BACKGROUND_EFFICIENCIES, estimates[1:], strict=True)},
        curve=ranked.curve(),
    )


class _Ranked:
    """Background and signal sorted once, most signal-like first, so that each bootstrap is a cumulative sum."""

    def __init__(self, background: np.ndarray, signal: np.ndarray) -> None:
        values = np.concatenate([background, signal])
        order = np.argsort(-values, kind="stable")
        self.is_signal = order >= len(background)
        self.source = np.where(self.is_signal, order - len(background), order)
        ordered = values[order]
        self.last_of_tie = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))

    def _efficiencies(self, b_weights: np.ndarray, s_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return background and signal efficiency after every distinct value; equal values pass together."""
        weights = np.empty(len(self.source))
        weights[self.is_signal] = s_weights[self.source[self.is_signal]]
        weights[~self.is_signal] = b_weights[self.source[~self.is_signal]]
        b = np.cumsum(np.where(self.is_signal, 0.0, weights))[self.last_of_tie]
        s = np.cumsum(np.where(self.is_signal, weights, 0.0))[self.last_of_tie]
        if not b[-1] or not s[-1]:  # a replica of a few events may have zero total weight
            return self._efficiencies(np.ones(len(b_weights)), np.ones(len(s_weights)))
        return np.concatenate([[0.0], b / b[-1]]), np.concatenate([[0.0], s / s[-1]])

    def figures(self, b_weights: np.ndarray, s_weights: np.ndarray) -> tuple[float, ...]:
        """Return the AUC, then the signal efficiency at each background efficiency."""
        b, s = self._efficiencies(b_weights, s_weights)
        return (float(np.trapezoid(s, b)), *(float(np.interp(e, b, s)) for e in BACKGROUND_EFFICIENCIES))

    def curve(self) -> tuple[tuple[float, float], ...]:
        """Return the ROC curve at logarithmic steps of the background efficiency."""
        b, s = self._efficiencies(np.ones((~self.is_signal).sum()), np.ones(self.is_signal.sum()))
        least = 1.0 / max(1, int((~self.is_signal).sum()))
        grid = np.geomspace(least, 1.0, ROC_CURVE_POINTS)
        return tuple((float(x), float(np.interp(x, b, s))) for x in grid)


def histogram(samples: list[EvaluationSample], variable: str) -> VariableHistogram:
    """Return the densities of all samples on common edges, from the 0.1 to the 99.9 percentile of all values."""
    all_values = np.concatenate([np.asarray(sample.values[variable], np.float64) for sample in samples])
    low, high = np.percentile(all_values, [0.1, 99.9])
    edges = np.linspace(low, high if high > low else low + 1.0, HISTOGRAM_BINS + 1)
    densities = {}
    for sample in samples:
        counts, _ = np.histogram(np.clip(sample.values[variable], edges[0], edges[-1]), edges)
        densities[sample.name] = tuple(float(c) for c in counts / (counts.sum() * np.diff(edges)))
    return VariableHistogram(variable=variable, edges=tuple(float(e) for e in edges), densities=densities)
