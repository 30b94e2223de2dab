"""Rows for the student to learn from: more of the tail, and outliers made from the data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

TAIL_FLAT = 20.0  # of the highest rows are equally likely
FACTOR_MAX = 2.0  # by which an outlier's features are scaled, or divided


def draw_tail(target: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return random rows, mostly with high values: about equally many in each factor of ten of the fraction that is above."""
    above = np.empty(len(target))
    above[np.argsort(-target, kind="stable")] = np.arange(len(target))
    weight = 1.0 / (above + TAIL_FLAT)
    return rng.choice(len(target), count, p=weight / weight.sum())


def make_outliers(
    inputs: Mapping[str, np.ndarray], count: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return rows unlike the data: thirds are scaled, mixed from two rows, and shifted.

    Features are along the last axis. An element whose features are all zero is padding and stays so.
    """
    rows = len(next(iter(inputs.values())))
    first, second = rng.integers(0, rows, count), rng.integers(0, rows, count)
    kind = np.arange(count) % 3
    made = {}
    for name, values in inputs.items():
        value = values[first].astype(np.float64)
        features = (count, *(1 for _ in value.shape[1:-1]), value.shape[-1])
        scaled = value * FACTOR_MAX ** rng.uniform(-1, 1, features)
        elements = (*value.shape[:-1], 1) if value.ndim > 2 else value.shape
        mixed = np.where(rng.random(elements) < 0.5, value, values[second])
        spread = values.reshape(-1, values.shape[-1]).std(0, dtype=np.float64)
        present = (value != 0).any(-1, keepdims=True) if value.ndim > 2 else np.ones_like(value, bool)
        shifted = np.where(present, value + spread * rng.normal(size=features), 0.0)
        chosen = kind.reshape(-1, *(1 for _ in value.shape[1:]))
        made[name] = np.select([chosen == 0, chosen == 1], [scaled, mixed], shifted).astype(values.dtype)
    return made
