"""Figures of models of arrays: energy response and resolution, or class separation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tamis.records import ArrayEvaluation
from tamis.report.array_card import method_name
from tamis.report.canvas import LINES, MARKERS, MUTED, colour, label, new_figure, plain_log, save, style


def draw_arrays(evaluation: ArrayEvaluation, folder: Path, name: str) -> Path:
    """Draw an evaluation as PNG and PDF; return the path of the PNG."""
    if evaluation.energies:
        _draw_energies(evaluation, folder, name)
    else:
        _draw_classes(evaluation, folder, name)
    return folder / f"{name}.png"


def _draw_energies(evaluation: ArrayEvaluation, folder: Path, name: str) -> None:
    bins = evaluation.energies[:-1]
    centres = [float(np.sqrt(energies.low * energies.high)) for energies in bins]
    with style():
        figure, (left, right) = new_figure(2, size=(11.0, 4.8))
        for axes, what in ((left, "response"), (right, "within")):
            for index in range(len(bins[0].figures)):
                values = [getattr(energies.figures[index], what) for energies in bins]
                axes.errorbar(
                    centres,
                    [v.value for v in values],
                    [v.error for v in values],
                    label=method_name(bins[0].figures[index]),
                    color=colour(index),
                    marker=MARKERS[index],
                    linestyle=LINES[index],
                )
            axes.set_xscale("log")
            plain_log(axes.xaxis)
            axes.set_xlabel("true energy [GeV]")
        left.axhline(1.0, color=MUTED, linestyle=":", lw=1.2)
        left.set_ylabel("median of measured / true")
        responses = [f.response.value for energies in bins for f in energies.figures]
        low, high = max(min(responses), 0.4), min(max(responses), 1.8)
        gap = 0.1 * (high - low) + 0.005
        left.set_ylim(low - gap, high + gap)
        right.set_yscale("log")
        plain_log(right.yaxis)
        right.set_ylabel("68 % within this fraction of the truth")
        right.legend(loc="upper right")
        label(left, "", "simulation, response")
        label(right, "", f"simulation, {evaluation.rows:,} {evaluation.what}")
        save(figure, folder, name)


def _draw_classes(evaluation: ArrayEvaluation, folder: Path, name: str) -> None:
    names = [c.name for c in evaluation.classes]
    places = np.arange(len(names))
    with style():
        figure, (left, right) = new_figure(2, size=(11.0, 4.8))
        table = np.array(evaluation.confusion)
        left.imshow(table, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
        for row in places:
            for column in places:
                dark = table[row, column] > 0.55
                left.text(
                    column,
                    row,
                    f"{100 * table[row, column]:.1f} %",
                    ha="center",
                    va="center",
                    color="white" if dark else "black",
                )
        for axis in (left.xaxis, left.yaxis):
            axis.set_ticks(places, names)
            axis.set_ticks([], minor=True)
        left.set_xlabel("assigned class")
        left.set_ylabel("true class")
        label(left, "", "fraction of each true class")
        bars = (("network", "auc"), ("best single variable", "baseline_auc"))
        for index, (name_of_bar, key) in enumerate(bars):
            values = [getattr(c, key) for c in evaluation.classes]
            right.bar(
                places + 0.36 * (index - 0.5),
                [v.value - 0.5 for v in values],
                0.34,
                bottom=0.5,
                yerr=[v.error for v in values],
                label=name_of_bar,
                color=colour(index),
            )
        right.set_xticks(places, names)
        right.set_xticks([], minor=True)
        right.set_ylim(0.5, 1.12)
        right.set_yticks(np.arange(0.5, 1.01, 0.1))
        right.set_ylabel("AUC against the others")
        right.legend(loc="upper right", ncols=2)
        label(right, "", f"simulation, {evaluation.rows:,} {evaluation.what}")
        save(figure, folder, name)
