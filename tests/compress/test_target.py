"""Targets: conditions, the parent's values, and what is wrong with others."""

from __future__ import annotations

import pytest

from tamis._base import UsageError
from tamis.compress.quality import Figure
from tamis.compress.target import QualityTarget

FIGURES = {
    "flips(background-0.01)": Figure(0.012, 0.010, 0.015),
    "auc": Figure(0.950, 0.945, 0.955, parent=0.953),
    "agreement": Figure(0.97, 0.96, 0.98),
}


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("flips(background-0.01) < 1%", False),
        ("flips( background-0.01 ) <= 1.2 %", True),
        ("flips(background-0.01) < 0.02 and auc > parent - 0.005", True),
        ("flips(background-0.01) < 0.02, auc > parent", False),
        ("auc >= 0.95", True),
        ("auc > parent - 1e-3", False),
        ("agreement > 96%", True),
    ],
)
def test_conditions_are_met_or_not(text, met):
    target = QualityTarget.parse(text)
    target.check(list(FIGURES))
    assert target.met(FIGURES) is met
    assert (target.distance(FIGURES) <= 0) is met


def test_the_distance_is_that_of_the_worst_condition():
    assert QualityTarget.parse("flips(background-0.01) < 1% and auc > 0.96").distance(
        FIGURES
    ) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flips(background-0.01)", "not of the form QUANTITY < NUMBER"),
        ("flips(background-0.01) = 1%", "not of the form QUANTITY < NUMBER"),
        ("auc > parents", "not of the form QUANTITY < NUMBER"),
        ("flips(background-0.01) < parent", "a difference from it already"),
        ("flips(background-0.1) < 1%", "is not measured; did you mean 'flips\\(background-0.01\\)'"),
        ("accuracy > 0.5", "needs labels"),
    ],
)
def test_other_targets_are_explained(text, message):
    with pytest.raises(UsageError, match=message):
        QualityTarget.parse(text).check(list(FIGURES))
