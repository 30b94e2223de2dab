"""What a classifier of rows tells apart: areas, efficiency and purity per class, next to simple variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tamis.measure.physics.discrimination import EvaluationSample, discriminate
from tamis.measure.physics.energies import estimates
from tamis.records import ClassFigures, Estimate


def class_figures(
    classes: Sequence[str],
    label: np.ndarray,
    probabilities: np.ndarray,
    variables: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> list[ClassFigures]:
    """Measure every class; a variable may run either way."""
    found = []
    for number, name in enumerate(classes):
        mine = label == number

        def auc(values: np.ndarray, mine: np.ndarray = mine, name: str = name) -> Estimate:
            background, signal = (
                EvaluationSample(part, {"x": values[rows]})
                for part, rows in (("others", ~mine), (name, mine))
            )
            return discriminate(background, signal, "x", rng).auc

        simple = {
            sign + key: auc(factor * values)
            for key, values in variables.items()
            for sign, factor in (("", 1), ("-", -1))
        }
        best = max(simple, key=lambda key: simple[key].value)
        called = np.column_stack([label, probabilities.argmax(axis=1)])
        efficiency, purity = estimates(called, lambda rows, k=number: _called(rows, k, len(classes)), rng)
        found.append(
            ClassFigures(
                name=name,
                rows=int(mine.sum()),
                auc=auc(probabilities[:, number]),
                baseline=best,
                baseline_auc=simple[best],
                efficiency=efficiency,
                purity=purity,
            )
        )
    return found


def confusion(classes: int, label: np.ndarray, probabilities: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """Return of every true class the share that is called each class."""
    table = np.zeros((classes, classes))
    np.add.at(table, (label, probabilities.argmax(axis=1)), 1.0)
    return tuple(tuple(float(x) for x in row / max(row.sum(), 1.0)) for row in table)


def _called(rows: np.ndarray, number: int, classes: int) -> tuple[float, float]:
    """Return efficiency, and purity for equal numbers of all classes."""
    label, called = rows.T
    shares = [
        float(np.mean(called[label == k] == number)) if (label == k).any() else 0.0 for k in range(classes)
    ]
    return shares[number], shares[number] / max(sum(shares), 1e-12)
