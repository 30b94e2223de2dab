"""Class separation of a classifier of rows: AUC, efficiency and purity per class, next to single variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tamis.bundle import WorkingPoint
from tamis.measure.physics.discrimination import EvaluationSample, discriminate
from tamis.measure.physics.energies import estimates
from tamis.records import ClassFigures, Estimate, PointFigures


def class_figures(
    classes: Sequence[str],
    label: np.ndarray,
    probabilities: np.ndarray,
    variables: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> list[ClassFigures]:
    """Measure every class against the others; the baseline is the best variable, with either sign."""
    figures = []
    assigned = np.column_stack([label, probabilities.argmax(axis=1)])
    for number, name in enumerate(classes):
        of_class = label == number

        def auc(values: np.ndarray, of_class: np.ndarray = of_class, name: str = name) -> Estimate:
            background = EvaluationSample("others", {"x": values[~of_class]})
            signal = EvaluationSample(name, {"x": values[of_class]})
            return discriminate(background, signal, "x", rng).auc

        baselines = {
            sign + key: auc(factor * values)
            for key, values in variables.items()
            for sign, factor in (("", 1), ("-", -1))
        }
        best = max(baselines, key=lambda key: baselines[key].value)
        efficiency, purity = estimates(
            assigned, lambda rows, k=number: _efficiency_and_purity(rows, k, len(classes)), rng
        )
        figures.append(
            ClassFigures(
                name=name,
                rows=int(of_class.sum()),
                auc=auc(probabilities[:, number]),
                baseline=best,
                baseline_auc=baselines[best],
                efficiency=efficiency,
                purity=purity,
            )
        )
    return figures


def point_figures(
    points: Sequence[WorkingPoint],
    classes: Sequence[str],
    label: np.ndarray,
    scores: np.ndarray,
    rng: np.random.Generator,
) -> list[PointFigures]:
    """Measure the fraction of each class above the threshold of each working point."""
    figures = []
    for point in points:
        accepted = {}
        for number, name in enumerate(classes):
            passed = (scores[label == number] > point.threshold).astype(np.float64)
            if len(passed):
                (accepted[name],) = estimates(passed, lambda rows: (rows.mean(),), rng)
        figures.append(PointFigures(name=point.name, threshold=point.threshold, accepted=accepted))
    return figures


def confusion(classes: int, label: np.ndarray, probabilities: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """Return the confusion matrix: for every true class, the fraction assigned to each class."""
    table = np.zeros((classes, classes))
    np.add.at(table, (label, probabilities.argmax(axis=1)), 1.0)
    return tuple(tuple(float(x) for x in row / max(row.sum(), 1.0)) for row in table)


def _efficiency_and_purity(rows: np.ndarray, number: int, classes: int) -> tuple[float, float]:
    """Return the efficiency of a class, and its purity if all classes were equally frequent."""
    label, assigned = rows.T
    shares = [
        float(np.mean(assigned[label == k] == number)) if (label == k).any() else 0.0 for k in range(classes)
    ]
    return shares[number], shares[number] / max(sum(shares), 1e-12)
