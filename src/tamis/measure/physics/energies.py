"""Energy resolution: response and spread in bins of the true energy, for a model and the baseline estimators."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tamis.records import EmptyFigures, EnergyBin, EnergyFigures, Estimate

ENERGY_BOOTSTRAPS = 100
ENERGY_BINS = 8
BIN_ROWS_MIN = 50  # bins with fewer rows are left out


def energy_bins(
    truth: np.ndarray, measured: Mapping[str, np.ndarray], rng: np.random.Generator
) -> list[EnergyBin]:
    """Return the figures in logarithmic bins of the true energy; the last entry is for all rows together."""
    real = truth > 0
    low, high = float(truth[real].min()), float(truth[real].max())
    edges = np.geomspace(low, high, ENERGY_BINS + 1)
    place = np.clip(np.searchsorted(edges, truth, "right") - 1, 0, ENERGY_BINS - 1)
    bins = [(edges[k], edges[k + 1], np.flatnonzero(real & (place == k))) for k in range(ENERGY_BINS)]
    bins.append((low, high, np.flatnonzero(real)))
    measured_bins = []
    for first, last, rows in bins:
        if len(rows) < BIN_ROWS_MIN:
            continue
        figures = []
        for name, values in measured.items():
            ratio = values[rows].astype(np.float64) / truth[rows]
            response, spread, within = estimates(ratio, _ratio_figures, rng)
            figures.append(EnergyFigures(method=name, response=response, spread=spread, within=within))
        measured_bins.append(
            EnergyBin(low=float(first), high=float(last), rows=len(rows), figures=tuple(figures))
        )
    return measured_bins


def empty_rows(
    truth: np.ndarray, measured: Mapping[str, np.ndarray], rng: np.random.Generator
) -> list[EmptyFigures]:
    """Return the mean and 95th percentile of each estimator where the true energy is zero."""
    rows = np.flatnonzero(truth <= 0)
    if len(rows) < BIN_ROWS_MIN:
        return []
    figures = []
    for name, values in measured.items():
        empty = values[rows].astype(np.float64)
        mean, p95 = estimates(empty, lambda x: (x.mean(), np.quantile(x, 0.95)), rng)
        figures.append(EmptyFigures(method=name, rows=len(rows), mean=mean, p95=p95))
    return figures


def _ratio_figures(ratio: np.ndarray) -> tuple[float, float, float]:
    """Return response, spread and 68 % distance of measured over true energies."""
    low, middle, high = np.quantile(ratio, [0.16, 0.5, 0.84])
    width = (
        (high - low) / 2 / middle if middle > 0 else 10.0
    )  # the relative spread is undefined for a median of 0
    return float(middle), float(min(width, 10.0)), float(np.quantile(np.abs(ratio - 1.0), 0.68))


def estimates(values: np.ndarray, figures: object, rng: np.random.Generator) -> list[Estimate]:
    """Return the figures of some rows with their bootstrap standard errors."""
    assert callable(figures)  # noqa: S101 - narrows the type
    whole = figures(values)
    replicas = np.array(
        [figures(values[rng.integers(0, len(values), len(values))]) for _ in range(ENERGY_BOOTSTRAPS)]
    )
    return [
        Estimate(value=float(value), error=float(error))
        for value, error in zip(whole, replicas.std(axis=0, ddof=1), strict=True)
    ]
