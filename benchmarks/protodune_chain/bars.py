"""The figure of the chain: the parts of the time per event, for each path to the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tamis.report.canvas import PALETTE, save, style

SHOWN = ("hits", "preprocessing", "compute", "queue", "transmission", "travel", "combination")
SHADES = (PALETTE[7], PALETTE[3], PALETTE[5], PALETTE[2], PALETTE[4], PALETTE[1], PALETTE[6])


def draw(record: dict[str, Any], path: Path) -> None:
    """Write the figure as PNG and PDF: all parts on the left, all but computing on the right."""
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(13, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _bars(left, record["ways"], SHOWN)
        _bars(right, record["ways"], tuple(part for part in SHOWN if part != "compute"))
        left.text(0, 1.02, "tamis", transform=left.transAxes, weight="bold", va="bottom")
        right.text(
            1, 1.02, "without compute", transform=right.transAxes, ha="right", va="bottom", style="italic"
        )
        left.plot(
            [], [], "|", ms=12, mew=2.5, color="black", label=f"with {record['in_flight']} requests in flight"
        )
        left.set_yticks([-i for i in range(len(record["ways"]))], [way["name"] for way in record["ways"]])
        left.tick_params(axis="y", which="both", length=0)
        right.tick_params(axis="y", which="both", length=0)
        figure.legend(
            *left.get_legend_handles_labels(), loc="outside lower center", ncols=len(SHOWN) + 1, frameon=False
        )
        save(figure, path.parent, path.stem)


def _bars(axes: Any, ways: list[dict[str, Any]], parts: tuple[str, ...]) -> None:
    heights = [-i for i in range(len(ways))]
    left = [0.0] * len(ways)
    for part in parts:
        width = [max(0.0, way["parts_ms"][part]) for way in ways]
        axes.barh(heights, width, left=left, height=0.7, color=SHADES[SHOWN.index(part)], label=part)
        left = [a + b for a, b in zip(left, width, strict=True)]
    for height, total, way in zip(heights, left, ways, strict=True):
        at_once = way.get("at_once_ms", 0.0) if "compute" in parts else 0.0
        if at_once:
            axes.plot(at_once, height, "|", ms=20, mew=2.5, color="black")
        text = f"  {total:.3g}" if total < 1000 else f"  {total:.0f}"
        axes.text(max(total, at_once), height, text, va="center", fontsize=10)
    axes.set_xlim(0, 1.14 * max(left))
    axes.set_xlabel("time per event [ms]")
