"""How a cheaper model compares with its parent: decisions that differ, and with labels AUC and accuracy, each with an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tamis._base import DataError
from tamis.bundle import Manifest, WorkingPoint, decision_flips, wilson
from tamis.bundle.working_points import CONFIDENCE_Z

Outputs = Mapping[str, np.ndarray]
ACCEPTED_MIN = 10  # rows at a working point from which another one with the same rate is found


@dataclass(frozen=True)
class Figure:
    """A measured number with its interval at 95 %, and the parent's own where it has one."""

    value: float
    low: float
    high: float
    parent: float | None = None


@dataclass(frozen=True)
class Labels:
    """The class of each row, the names of the classes, and the numbers of those that the score rejects."""

    label: np.ndarray
    classes: tuple[str, ...]
    background: tuple[int, ...] = (0,)

    def take(self, rows: np.ndarray) -> Labels:
        """Return the labels of some rows."""
        return Labels(self.label[rows], self.classes, self.background)


def measure_quality(
    manifest: Manifest, outputs: Outputs, parent: Outputs, labels: Labels | None
) -> dict[str, Figure]:
    """Compare outputs with the parent's on the same rows.

    `flips(POINT)`: fraction of decisions that differ. `agreement`: fraction of rows with the same most probable class. `error`: root mean
    square of the score's change, in units of the score's standard deviation. With labels also `auc` and `accuracy`, and for each working
    point `efficiency(POINT)` and `background(POINT)`: the signal accepted at the parent's rate of background, and the reverse.
    """
    figures: dict[str, Figure] = {}
    score = manifest.score
    if score is not None and np.size(parent[score]) == len(parent[score]):
        value, reference = (np.ravel(one[score]).astype(np.float64) for one in (outputs, parent))
        for flips in decision_flips(manifest.working_points, value, reference):
            share = flips.flips / max(flips.decisions, 1)
            figures[f"flips({flips.working_point})"] = Figure(share, flips.low, flips.high)
        figures["error"] = _error(value, reference)
        if labels is not None:
            figures["auc"] = auc_figure(value, reference, labels)
            figures |= trade_figures(value, reference, manifest.working_points, labels)
    table = class_table(manifest, parent)
    if table is not None:
        assigned, expected = outputs[table].argmax(1), parent[table].argmax(1)
        same = assigned == expected
        figures["agreement"] = _share(same)
        if labels is not None and parent[table].shape[1] == len(labels.classes):
            figures["accuracy"] = _share(assigned == labels.label, expected == labels.label)
    if not figures:
        raise DataError(
            f"the bundle {manifest.name} has neither a score nor probabilities of classes by which models are compared: "
            "pack it with --score"
        )
    return figures


def trade_figures(
    value: np.ndarray, reference: np.ndarray, points: Sequence[WorkingPoint], labels: Labels
) -> dict[str, Figure]:
    """Return how much signal is accepted at the parent's rate of background, and how much background at its efficiency, for each working point.

    A working point at which the parent accepts too few rows, or all of them, is left out.
    """
    background = np.isin(labels.label, labels.background)
    figures: dict[str, Figure] = {}
    for point in points:
        for name, fixed, measured in (
            ("efficiency", background, ~background),
            ("background", ~background, background),
        ):
            accepted = int((reference[fixed] > point.threshold).sum())
            before = float((reference[measured] > point.threshold).mean())
            if not ACCEPTED_MIN <= accepted < int(fixed.sum()):
                continue
            threshold = np.sort(value[fixed])[-accepted - 1]
            after = value[measured] > threshold
            low, high = wilson(int(after.sum()), len(after))
            figures[f"{name}({point.name})"] = Figure(float(after.mean()), low, high, before)
    return figures


def class_table(manifest: Manifest, outputs: Outputs) -> str | None:
    """Return the output with one number per class, whose largest is the model's choice."""
    for spec in manifest.signature.outputs:
        value = outputs.get(spec.name)
        if value is None:  # a student may have the score alone
            continue
        if spec.name == "probabilities" or (
            value.ndim == 2 and value.shape[1] > 1 and np.allclose(value.sum(1), 1, atol=1e-3)
        ):
            return spec.name
    return None


def _share(same: np.ndarray, of_parent: np.ndarray | None = None) -> Figure:
    low, high = wilson(int(same.sum()), len(same))
    return Figure(float(same.mean()), low, high, None if of_parent is None else float(of_parent.mean()))


def _error(value: np.ndarray, reference: np.ndarray) -> Figure:
    finite = np.isfinite(value) & np.isfinite(reference)
    spread = float(reference[finite].std()) or 1.0
    squares = ((value - reference)[finite] / spread) ** 2
    mean = float(squares.mean()) if squares.size else math.inf
    half = CONFIDENCE_Z * float(squares.std()) / math.sqrt(max(len(squares), 1))
    return Figure(math.sqrt(mean), math.sqrt(max(mean - half, 0.0)), math.sqrt(mean + half))


def auc_figure(value: np.ndarray, reference: np.ndarray, labels: Labels) -> Figure:
    """Return the area under the ROC curve.

    Its variance is that of Hanley and McNeil, Radiology 143 (1982) 29; the interval is that of a fraction of as many trials as give this
    variance, so that it has a width even where the classes are separated completely.
    """
    background = np.isin(labels.label, labels.background)
    if not background.any() or background.all():
        raise DataError("the rows are all signal or all background, which gives no AUC: give events of both")
    area = area_under_curve(value[~background], value[background])
    signals, others = int((~background).sum()), int(background.sum())
    both_signals, both_background = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (
        area * (1 - area)
        + (signals - 1) * (both_signals - area**2)
        + (others - 1) * (both_background - area**2)
    ) / (signals * others)
    trials = area * (1 - area) / variance if variance > 0 and 0 < area < 1 else min(signals, others)
    low, high = wilson(area * trials, trials)
    return Figure(area, low, high, area_under_curve(reference[~background], reference[background]))


def area_under_curve(signal: np.ndarray, background: np.ndarray) -> float:
    """Return the probability that a signal row scores higher than a background row, where equal scores count half."""
    ordered = np.sort(background)
    below, up_to = np.searchsorted(ordered, signal, "left"), np.searchsorted(ordered, signal, "right")
    return float((below + up_to).mean() / (2 * len(background)))
