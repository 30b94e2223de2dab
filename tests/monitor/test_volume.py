"""VUS-PR against its definition, and monitors against each other."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.monitor.volume import softened, vus_pr


def by_definition(labels, scores, margin):
    """The definition, threshold by threshold and point by point."""
    areas = []
    for width in range(margin + 1):
        soft = labels.astype(float)
        for k in np.flatnonzero(labels):
            for away in range(1, width // 2 + 1):
                edge = not labels[k - 1] if k else False
                if edge and k - away >= 0:
                    soft[k - away] += np.sqrt(1 - away / width)
                edge = not labels[k + 1] if k + 1 < len(labels) else False
                if edge and k + away < len(labels):
                    soft[k + away] += np.sqrt(1 - away / width)
        soft = np.minimum(soft, 1)
        pieces = np.split(np.arange(len(soft)), np.flatnonzero(np.diff((soft > 0).astype(int))) + 1)
        pieces = [piece for piece in pieces if soft[piece[0]] > 0]
        last, area = 0.0, 0.0
        for threshold in sorted(set(scores), reverse=True):
            found = scores >= threshold
            hits = sum(found[piece].any() for piece in pieces) / len(pieces)
            weight = soft[found].sum()
            recall = min(weight / ((labels.sum() + soft.sum()) / 2), 1) * hits
            area += (recall - last) * weight / found.sum()
            last = recall
        areas.append(area)
    return np.mean(areas)


@pytest.mark.parametrize("seed", range(6))
def test_the_volume_is_that_of_the_definition(seed):
    random = np.random.default_rng(seed)
    labels = np.repeat(random.random(30) < 0.3, random.integers(1, 8, 30))
    labels[random.integers(len(labels))] = True
    scores = np.round(labels * random.random(len(labels)) + random.random(len(labels)), 1 + seed % 2)
    assert vus_pr(labels, scores, 6) == pytest.approx(by_definition(labels, scores, 6))


def test_a_random_score_is_worth_the_prevalence_and_a_perfect_one_is_worth_1():
    random = np.random.default_rng(1)
    labels = np.repeat(random.random(2000) < 0.1, 10)
    scores = random.random(len(labels))
    assert vus_pr(labels, scores, 0) == pytest.approx(labels.mean(), rel=0.05)
    margins = np.mean([softened(labels, width).mean() for width in range(11)])
    assert vus_pr(labels, scores, 10) == pytest.approx(margins, rel=0.05)
    assert vus_pr(labels, labels.astype(float), 0) == 1
    assert np.isnan(vus_pr(np.zeros(5, bool), np.arange(5.0), 2))
