"""Figures of loss curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tamis._base import require
from tamis.report.canvas import DRAWING, INK, colour, new_figure
from tamis.report.content import Picture

LOSS_PARTS = (("loss", "total loss"), ("reconstruction", "reconstruction loss"), ("kl", "KL divergence"))


def training_picture(name: str, history: Sequence[Mapping[str, float]], suffix: str = "") -> Picture | None:
    """Draw training and validation losses against the epoch, in total and by term; None without validation losses."""
    parts = [(key, title) for key, title in LOSS_PARTS if any(f"validation_{key}" in row for row in history)]
    if not parts:
        return None
    ticker = require("matplotlib.ticker", extra="plot", purpose=DRAWING)
    figure, frames = new_figure(len(parts), size=(4.3 * len(parts), 3.9))
    best = min(
        (row for row in history if "validation_loss" in row),
        key=lambda row: row["validation_loss"],
        default=None,
    )
    panels = frames if len(parts) > 1 else [frames]
    for axes, (key, title) in zip(panels, parts, strict=True):
        for index, (kind, line, marker) in enumerate((("train", "-", "o"), ("validation", "--", "s"))):
            points = [(row["epoch"], row[f"{kind}_{key}"]) for row in history if f"{kind}_{key}" in row]
            if points:
                x, y = zip(*points, strict=True)
                marks = {"marker": marker, "ms": 4, "markevery": max(1, len(x) // 12)}
                named = "training" if kind == "train" else kind
                axes.plot(x, y, color=colour(index), linestyle=line, label=named, **marks)
                if max(y) > 30 * min(y) > 0:
                    axes.set_yscale("log")
        if best is not None:
            axes.axvline(best["epoch"], color=INK, linestyle=":", lw=1.2, label="lowest validation loss")
        axes.set_xlim(min(row["epoch"] for row in history) - 0.5, max(row["epoch"] for row in history) + 0.5)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.set_xlabel("epoch")
        axes.set_ylabel(title)
    panels[0].legend(loc="upper right")
    panels[0].set_title(f"{name}, training", loc="left", fontsize=13, weight="bold")
    lowest = (
        f"; lowest validation loss {best['validation_loss']:.4g} in epoch {best['epoch']:.0f}" if best else ""
    )
    alt = f"Training and validation losses of {name} over {len(history)} epochs{lowest}."
    caption = "The validation loss has the full weight of the KL term from the first epoch on; in the training loss it follows the warm-up."
    return Picture(f"loss-{name}{suffix}", f"{name}: loss curves", alt, figure, caption, name, wide=True)
