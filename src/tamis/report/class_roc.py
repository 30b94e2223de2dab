"""ROC curves of classifiers: one frame per class, one line per bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tamis.measure import Selection
from tamis.report.canvas import LINES, MUTED, colour, label, new_figure, save, style
from tamis.report.class_card import of_probabilities


def draw_selectors(found: Sequence[Selection], folder: Path, name: str) -> Path:
    """Draw the probability of every class against all others, of some bundles on the same samples."""
    classes = found[0].classes
    with style():
        figure, frames = new_figure(len(classes), size=(5.1 * len(classes), 5.6))
        for axes, signal in zip(frames, classes, strict=True):
            for index, one in enumerate(found):
                selector = next(s for s in of_probabilities(one) if s.signal == signal)
                x, y = [p[1] for p in selector.curve], [p[0] for p in selector.curve]
                told = f"{one.bundle}  {selector.auc.value:.4f} ± {selector.auc.error:.4f}"
                axes.plot(x, y, label=told, color=colour(index), linestyle=LINES[index % len(LINES)])
            axes.axvline(0.99, color=MUTED, linestyle=":", lw=1.2)
            axes.set_yscale("log")
            axes.set_ylim(1e-3, 1.0)
            axes.set_xlim(0.5, 1.0)
            axes.set_xlabel(f"efficiency for {signal}")
            axes.set_ylabel("efficiency for the others")
            axes.legend(loc="upper left", fontsize=9.5, title="area under the curve", title_fontsize=9.5)
            label(axes, "", f"simulation, {signal}")  # three frames leave no room beside the name
        save(figure, folder, name)
    return folder / f"{name}.png"
