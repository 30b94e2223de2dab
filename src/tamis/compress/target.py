"""Targets such as `flips(background-0.01) < 1% and auc > parent - 0.002`: conditions on how a model compares with its parent."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tamis._base import UsageError, did_you_mean
from tamis.compress.quality import Figure

TARGET_COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
DIFFERENCES = ("flips", "agreement", "error")  # from the parent, which itself has none
NUMBER = r"(\d*\.?\d+(?:[eE][-+]?\d+)?)\s*(%?)"
CONDITION = re.compile(
    rf"([a-z]+(?:\([^()]*\))?)\s*(<=|>=|<|>)\s*(?:{NUMBER}|parent\s*(?:([-+])\s*{NUMBER})?)"
)
TARGET_EXAMPLE = "'flips(background-0.01) < 1% and auc > parent - 0.002'"


@dataclass(frozen=True)
class TargetCondition:
    """One comparison of a quantity with a number, or with the parent's value plus a number."""

    quantity: str
    comparison: str
    number: float
    from_parent: bool
    text: str

    def limit(self, figure: Figure) -> float:
        """Return the number that the quantity is compared with."""
        return self.number + (figure.parent or 0.0 if self.from_parent else 0.0)

    def met(self, figures: Mapping[str, Figure]) -> bool:
        """Return whether the measured value fulfils the condition."""
        figure = figures[self.quantity]
        return bool(TARGET_COMPARISONS[self.comparison](figure.value, self.limit(figure)))

    def distance(self, figures: Mapping[str, Figure]) -> float:
        """Return how far the value is beyond the limit, relative to it; negative if the condition is met."""
        figure = figures[self.quantity]
        limit = self.limit(figure)
        beyond = figure.value - limit if self.comparison in ("<", "<=") else limit - figure.value
        return beyond / max(abs(limit), 1e-9)


@dataclass(frozen=True)
class QualityTarget:
    """Conditions that all have to be met."""

    conditions: tuple[TargetCondition, ...] = ()

    @classmethod
    def parse(cls, text: str) -> QualityTarget:
        """Parse conditions joined by `and` or commas."""
        return cls(tuple(_condition(part) for part in re.split(r"\band\b|,(?![^(]*\))", text)))

    @property
    def compares_decisions(self) -> bool:
        """Whether a condition is about differences from the parent, which labels would add to."""
        return any(condition.quantity.partition("(")[0] in DIFFERENCES for condition in self.conditions)

    def check(self, names: Sequence[str]) -> None:
        """Check that the quantities can be measured."""
        for condition in self.conditions:
            if condition.quantity in names:
                continue
            kind = condition.quantity.partition("(")[0]
            if kind in ("auc", "accuracy") or (kind in ("efficiency", "background") and "auc" not in names):
                raise UsageError(
                    f"the target {condition.text!r} needs labels: give the events of every class with --class NAME=FILE, or "
                    "arrays with the target that the parent was trained on"
                )
            hint = did_you_mean(condition.quantity, names)
            raise UsageError(
                f"the target {condition.text!r} asks for {condition.quantity!r}, which is not measured; {hint}".rstrip(
                    "; "
                )
            )

    def met(self, figures: Mapping[str, Figure]) -> bool:
        """Return whether every condition is met."""
        return all(condition.met(figures) for condition in self.conditions)

    def distance(self, figures: Mapping[str, Figure]) -> float:
        """Return the largest distance of a condition; negative if all are met."""
        return max((condition.distance(figures) for condition in self.conditions), default=0.0)

    def __str__(self) -> str:
        """Return the conditions as text."""
        return " and ".join(condition.text for condition in self.conditions)


def _condition(text: str) -> TargetCondition:
    text = text.strip()
    match = CONDITION.fullmatch(text)
    if match is None:
        raise UsageError(
            f"the target {text!r} is not of the form QUANTITY < NUMBER, with <, <=, > or >= and a number, a percentage or "
            f"`parent`, as in {TARGET_EXAMPLE}"
        )
    quantity, comparison, number, percent, sign, change, change_percent = match.groups()
    from_parent = number is None
    value = float(number or change or 0.0) / (100 if percent or change_percent else 1)
    quantity = re.sub(r"\s", "", quantity)
    if from_parent and quantity.partition("(")[0] in DIFFERENCES:
        raise UsageError(
            f"the target {text!r} compares with the parent, but {quantity} is a difference from it already: give a number"
        )
    return TargetCondition(quantity, comparison, -value if sign == "-" else value, from_parent, text)
