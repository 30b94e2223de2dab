"""Figures and tables of physics: ROC curves, distributions, figures of merit next to the baselines."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tamis._base import require
from tamis.measure.physics.baselines import BASELINE_NAMES, score_name
from tamis.records import Discrimination, Evaluation, VariableHistogram
from tamis.report.canvas import DRAWING, INK, LINES, MARKERS, MUTED, colour, label, new_figure
from tamis.report.content import Cell, PageTable, Picture, Row, number, words

TITLES = {
    "jet mass": "jet mass [GeV]",
    "jet pT": r"jet $p_\mathrm{T}$ [GeV]",
    "-tau21": r"$-\tau_{21}$",
    "multiplicity": "constituents of the jet",
    "-multiplicity": "constituents of the jet, negated",
}
ENDINGS = {
    "0.01": "$10^{-2}$",
    "0.001": "$10^{-3}$",
}


def physics_pictures(evaluation: Evaluation, suffix: str) -> list[Picture]:
    """Draw the figures of merit, ROC curves and score distribution of one evaluation."""
    drawn = [_summary(evaluation, suffix)]
    drawn += [_roc(evaluation, facts.name, suffix) for facts in evaluation.signals]
    score = score_name(evaluation)
    drawn += [_distribution(evaluation, h, suffix) for h in evaluation.histograms if h.variable == score]
    return drawn


def baseline_pictures(evaluation: Evaluation, suffix: str) -> list[Picture]:
    """Draw the distributions of the baselines, which belong to the samples and not to a detector."""
    shown = set(BASELINE_NAMES) - {"-multiplicity", "-width"}
    return [_distribution(evaluation, h, suffix) for h in evaluation.histograms if h.variable in shown]


def variable_style(evaluation: Evaluation, variable: str) -> dict[str, Any]:
    """Return the line style of a variable: the score is thick and in ink, others have their own colour and dashes."""
    if variable == score_name(evaluation):
        return {"color": INK, "linestyle": "-", "linewidth": 2.6, "zorder": 5}
    others = [
        f.variable for f in evaluation.figures if f.variable not in (*BASELINE_NAMES, score_name(evaluation))
    ]
    if variable in BASELINE_NAMES:
        index = BASELINE_NAMES.index(variable)
    else:
        index = len(BASELINE_NAMES) + 2 * list(dict.fromkeys(others)).index(variable)
    return {"color": colour(index), "linestyle": LINES[index % len(LINES)], "linewidth": 1.7}


def _named(evaluation: Evaluation, variable: str) -> str:
    return f"{evaluation.bundle} {variable}" if variable not in BASELINE_NAMES else variable


def _of(evaluation: Evaluation, signal: str) -> list[Discrimination]:
    return [f for f in evaluation.figures if f.signal == signal]


def _summary(evaluation: Evaluation, suffix: str) -> Picture:
    signals = [facts.name for facts in evaluation.signals]
    variables = [
        score_name(evaluation),
        *(n for n in BASELINE_NAMES if any(f.variable == n for f in evaluation.figures)),
    ]
    efficiencies = list(evaluation.figures[0].signal_efficiency) if evaluation.figures else []
    figure, frames = new_figure(1 + len(efficiencies), size=(12.6, 2.1 + 0.62 * len(signals)))
    panels = list(np.atleast_1d(frames))
    for column, axes in enumerate(panels):
        for place, variable in enumerate(variables):
            style = variable_style(evaluation, variable)
            offset = 0.13 * (place - (len(variables) - 1) / 2)
            for row, signal in enumerate(signals):
                figures = next((f for f in _of(evaluation, signal) if f.variable == variable), None)
                if figures is None:
                    continue
                value = figures.auc if column == 0 else figures.signal_efficiency[efficiencies[column - 1]]
                axes.errorbar(
                    value.value,
                    row + offset,
                    xerr=value.error,
                    color=style["color"],
                    marker=MARKERS[place % len(MARKERS)],
                    linestyle="none",
                    capsize=2.5,
                    ms=7 if place == 0 else 5.5,
                    label=_named(evaluation, variable) if row == 0 else None,
                )
        axes.set_ylim(len(signals) - 0.45, -0.55)
        axes.set_yticks(range(len(signals)), signals if column == 0 else [""] * len(signals))
        axes.set_yticks([], minor=True)
        axes.tick_params(axis="y", length=0)
        for row in range(len(signals) - 1):
            axes.axhline(row + 0.5, color=MUTED, alpha=0.25, lw=0.8)
        if column == 0:
            axes.axvline(0.5, color=MUTED, linestyle=":", lw=1.2)
            axes.set_xlim(min(0.35, axes.get_xlim()[0]), 1.02)
            axes.set_xlabel("area under the ROC curve")
        else:
            axes.set_xlim(left=-0.03 * axes.get_xlim()[1])  # a marker at zero is not cut in half
            axes.locator_params(axis="x", nbins=5)
            ending = ENDINGS.get(efficiencies[column - 1], efficiencies[column - 1])
            axes.set_xlabel(f"signal efficiency at background {ending}")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(variables))
    aucs = "; ".join(
        f"{f.signal} {f.auc.value:.3f}" for f in evaluation.figures if f.variable == variables[0]
    )
    alt = f"AUC and signal efficiencies of {evaluation.bundle} and of simple baselines for every signal, with bootstrap errors; AUC of the score: {aucs}."
    caption = "Bars are bootstrap standard errors. Further right is better: a baseline to the right of the circle is better than the detector."
    return Picture(
        f"figures-of-merit-{evaluation.bundle}{suffix}",
        f"{evaluation.bundle}: next to the baselines",
        alt,
        figure,
        caption,
        evaluation.bundle,
        wide=True,
    )


def _roc(evaluation: Evaluation, signal: str, suffix: str) -> Picture:
    figure, axes = new_figure(size=(6.4, 6.6))
    least = 1.0 / max(1, evaluation.background.jets)
    curves = _of(evaluation, signal)
    for f in curves:
        x, y = [p[1] for p in f.curve], [p[0] for p in f.curve]
        name = f"{_named(evaluation, f.variable)}  {f.auc.value:.3f} ± {f.auc.error:.3f}"
        axes.plot(x, y, label=name, **variable_style(evaluation, f.variable))
    grid = np.geomspace(least, 1, 200)
    axes.plot(grid, grid, color=MUTED, linestyle=":", lw=1.2, label="random choice  0.5")
    axes.set_yscale("log")
    axes.set_ylim(max(least * 0.8, 1e-6), 1.0)
    axes.set_xlim(0, 1)
    axes.set_xlabel("signal efficiency")
    axes.set_ylabel("background efficiency")
    figure.legend(
        loc="outside lower center", ncols=2, title="area under the curve", fontsize=10.5, title_fontsize=10.5
    )
    label(axes, "simulation, 13.6 TeV", signal)
    best = max(curves, key=lambda f: f.auc.value)
    alt = f"ROC curves for {signal} against QCD jets, background efficiency on a logarithmic axis; the largest area is that of {_named(evaluation, best.variable)}, {best.auc.value:.3f}."
    caption = f"Lower is better. {evaluation.background.jets} background jets: below a background efficiency of {10 * least:.1g}, fewer than ten of them remain."
    return Picture(
        f"roc-{evaluation.bundle}-{signal}{suffix}",
        f"{evaluation.bundle}: {signal}",
        alt,
        figure,
        caption,
        evaluation.bundle,
    )


def _distribution(evaluation: Evaluation, histogram: VariableHistogram, suffix: str) -> Picture:
    figure, axes = new_figure()
    jets = {f.name: f.jets for f in (evaluation.background, *evaluation.signals)}
    signals = [name for name in histogram.densities if name != evaluation.background.name]
    for name, densities in histogram.densities.items():
        _shape(axes, name, binned(histogram.edges, densities, jets.get(name, 0)), signals)
    is_score = histogram.variable not in BASELINE_NAMES
    heights = [d for values in histogram.densities.values() for d in values if d > 0]
    if is_score:
        axes.set_yscale("log")
        axes.set_ylim(min(heights) / 2, max(heights) * 12)
    else:
        axes.set_ylim(0, max(heights) * 1.45)
    axes.set_xlim(histogram.edges[0], histogram.edges[-1])
    title = TITLES.get(histogram.variable, _named(evaluation, histogram.variable))
    axes.set_xlabel(title)
    unit = title[title.find("[") + 1 : -1] if title.endswith("]") else ""
    axes.set_ylabel(f"jets, normalised{f' [1/{unit}]' if unit else ''}")
    axes.legend(loc="upper right", ncols=2 if len(histogram.densities) > 3 else 1)
    label(axes, "simulation, 13.6 TeV")
    plain = histogram.variable
    alt = f"Normalised distribution of {plain} for background and {', '.join(signals)}."
    caption = "Every sample is normalised to one; bars on the background are statistical errors. The first and last bins include under- and overflow."
    if is_score:
        name, model = f"score-{evaluation.bundle}{suffix}", evaluation.bundle
        return Picture(name, f"{model}: {plain}", alt, figure, caption, model)
    return Picture(f"{plain.strip('-').replace(' ', '-')}{suffix}", plain, alt, figure, caption)


def _shape(axes: Any, name: str, filled: Any, signals: Sequence[str]) -> None:
    """Draw one sample: the background filled, with errors; a signal as a line."""
    mplhep = require("mplhep", extra="plot", purpose=DRAWING)
    shared = {"ax": axes, "density": True, "flow": "none"}
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # mplhep warns about missing scipy for errors that are not drawn
        if name in signals:
            index = signals.index(name)
            line = {"color": colour(index), "linestyle": LINES[index % len(LINES)], "linewidth": 1.9}
            mplhep.histplot(filled, histtype="step", yerr=False, label=name, **line, **shared)
        else:
            mplhep.histplot(
                filled, histtype="fill", color=MUTED, alpha=0.35, yerr=False, label="QCD background", **shared
            )
            mplhep.histplot(filled, histtype="errorbar", color=MUTED, markersize=0, elinewidth=1, **shared)


def binned(edges: Sequence[float], densities: Sequence[float], jets: int) -> Any:
    """Return a Hist with the counts that correspond to the densities of some number of jets."""
    hist = require("hist", extra="plot", purpose=DRAWING)
    histogram = hist.Hist(hist.axis.Variable(list(edges)), storage=hist.storage.Weight())
    counts = np.asarray(densities) * np.diff(edges) * max(1, jets)
    histogram.view().value, histogram.view().variance = counts, counts
    return histogram


def merit_table(evaluation: Evaluation, note: str) -> PageTable:
    """Return the AUC and signal efficiencies with their errors."""
    efficiencies = list(evaluation.figures[0].signal_efficiency) if evaluation.figures else []
    columns = (
        "model",
        "signal",
        "variable",
        "AUC",
        *(f"signal efficiency at background {e}" for e in efficiencies),
    )
    score = score_name(evaluation)
    rows = []
    for f in evaluation.figures:
        estimates = (f.auc, *(f.signal_efficiency[e] for e in efficiencies))
        cells = tuple(Cell(f"{e.value:.4f} ± {e.error:.4f}", e.value) for e in estimates)
        rows.append(
            Row(
                (words(evaluation.bundle), words(f.signal), words(f.variable), *cells),
                evaluation.bundle,
                "score" if f.variable == score else "",
            )
        )
    return PageTable(
        f"Discrimination of {evaluation.bundle}, next to single variables", columns, tuple(rows), note
    )


def working_point_table(evaluation: Evaluation) -> PageTable | None:
    """Return the fraction of every sample that passes each working point, or None without working points."""
    samples = [evaluation.background.name, *(f.name for f in evaluation.signals)]
    rows = [
        Row(
            (words(evaluation.bundle), words(name), *(number(passed.get(s), ".4f") for s in samples)),
            evaluation.bundle,
        )
        for name, passed in evaluation.working_points.items()
    ]
    title = f"Fraction of jets above the working points of {evaluation.bundle}"
    return PageTable(title, ("model", "working point", *samples), tuple(rows)) if rows else None
