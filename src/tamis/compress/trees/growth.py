"""Boosted trees of levels: all nodes of a level ask the same question, so that a leaf is an entry of a table.

Such trees (as in CatBoost, arXiv:1810.11363) suit hardware: the answers are shared, and six of them are the inputs of one LUT. After the
first pass, every tree is grown again beside all others, since the first ones were grown when the others did not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

GROWTH_ROWS = 60_000  # that choose the questions of one tree
DAMPING = 3.0  # added to the curvature of a node, in rows
LEAF_DAMPING = 10.0
FIRST_RATE, LATER_RATE = 0.5, 0.7  # of Newton's step of a new leaf, in the first pass and later


@dataclass(frozen=True)
class LevelTree:
    """Questions `code <= threshold`, of which the first decides the highest bit of the leaf's number; leaves are (2^levels, outputs)."""

    features: np.ndarray
    thresholds: np.ndarray
    leaves: np.ndarray

    def reached(self, codes: np.ndarray) -> np.ndarray:
        """Return the number of the leaf of each row."""
        return leaf_numbers(codes, self.features, self.thresholds)


class Objective(Protocol):
    """A loss: its first and second derivatives with respect to the outputs of rows."""

    outputs: int
    start: np.ndarray

    def derivatives(self, sums: np.ndarray, rows: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """Return gradient and curvature, (rows, outputs) each."""


class CrossEntropy:
    """Cross entropy of probabilities; the sum of the first class is always zero, which changes no probability."""

    def __init__(self, probabilities: np.ndarray) -> None:
        """Take the probabilities to learn, (rows, classes)."""
        self.probabilities = probabilities.astype(np.float64)
        self.outputs = probabilities.shape[1] - 1
        shares = np.log(np.maximum(self.probabilities.mean(0), 1e-6))
        self.start = shares[1:] - shares[0]

    def derivatives(self, sums: np.ndarray, rows: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """Return the derivatives."""
        odds = np.exp(np.minimum(sums, 50.0))
        found = odds / (1.0 + odds.sum(1, keepdims=True))
        return found - self.probabilities[rows, 1:], found * (1.0 - found)


class SquaredError:
    """Half the squared distance from numbers, in units of their spread."""

    def __init__(self, values: np.ndarray) -> None:
        """Take what to learn, (rows, outputs)."""
        self.values = values.astype(np.float64)
        self.outputs = values.shape[1]
        self.start = self.values.mean(0)

    def derivatives(self, sums: np.ndarray, rows: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """Return the derivatives."""
        return sums - self.values[rows], np.ones_like(sums)


def grow_trees(
    codes: np.ndarray,
    objective: Objective,
    size: tuple[int, int],
    passes: int,
    seed: int,
) -> list[LevelTree]:
    """Return boosted trees of codes (rows, features), grown once and then again in every further pass."""
    count, levels = size
    rng = np.random.default_rng((seed, 1))
    sums = np.tile(objective.start, (len(codes), 1))
    trees: list[LevelTree] = []
    for number in range(passes + 1):
        for place in range(count):
            if number:
                sums -= trees[place].leaves[trees[place].reached(codes)]
            rows = rng.permutation(len(codes))[:GROWTH_ROWS]
            features, thresholds = _questions(codes[rows], *objective.derivatives(sums[rows], rows), levels)
            reached = leaf_numbers(codes, features, thresholds)
            gradient, curvature = objective.derivatives(sums, slice(None))
            leaves = np.stack(
                [
                    -np.bincount(reached, gradient[:, output], 2**levels)
                    / (np.bincount(reached, curvature[:, output], 2**levels) + LEAF_DAMPING)
                    for output in range(objective.outputs)
                ],
                axis=1,
            )
            leaves *= LATER_RATE if number else FIRST_RATE
            sums += leaves[reached]
            made = LevelTree(features, thresholds, leaves)
            if number:
                trees[place] = made
            else:
                trees.append(made)
    return trees


def leaf_numbers(codes: np.ndarray, features: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the number of the leaf of each row."""
    number = np.zeros(len(codes), np.int64)
    for feature, threshold in zip(features, thresholds, strict=True):
        number = 2 * number + (codes[:, feature] <= threshold)
    return number


def _questions(
    codes: np.ndarray, gradient: np.ndarray, curvature: np.ndarray, levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the questions that, level by level, lower a quadratic approximation of the loss most."""
    features = codes.shape[1]
    columns = [np.ascontiguousarray(codes[:, feature]) for feature in range(features)]
    derivatives = [np.ascontiguousarray(one) for one in (*gradient.T, *curvature.T)]
    width, outputs = int(codes.max(initial=0)) + 1, gradient.shape[1]
    node = np.zeros(len(codes), np.int64)
    chosen = []
    for level in range(levels):
        nodes = 2**level
        start = node * width
        gain = np.zeros((features, width))
        for feature, column in enumerate(columns):
            place = start + column
            sums = np.stack([np.bincount(place, one, nodes * width) for one in derivatives])
            below = sums.reshape(2, outputs, nodes, width).cumsum(-1)
            above = below[..., -1:] - below
            gain[feature] = sum((slope**2 / (bend + DAMPING)).sum((0, 1)) for slope, bend in (below, above))
        gain[:, -1] = -1.0  # the largest code separates nothing
        feature, threshold = (int(place) for place in np.unravel_index(int(gain.argmax()), gain.shape))
        chosen.append((feature, threshold))
        node = 2 * node + (columns[feature] <= threshold)
    return np.array([one[0] for one in chosen]), np.array([one[1] for one in chosen])
