"""The figure of the taggers' throughput: frames per second above, time per event by module below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tamis.report.canvas import (
    MARKERS,
    PALETTE,
    batch_axis,
    colour,
    engine_index,
    save,
    style,
)

MODULES = ("reading", "event setup", "seeds and frames", "tagger")
SHADES = (PALETTE[5], PALETTE[7], PALETTE[3], PALETTE[4])


def draw(record: dict[str, Any], folder: Path, name: str) -> None:
    """Write the figure as PNG and PDF."""
    from matplotlib.figure import Figure

    bundles = list(dict.fromkeys(row["bundle"] for row in record["networks"]))
    with style():
        figure = Figure(figsize=(13, 8.6), layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=(1, 1.05))
        for place, (axes, bundle) in enumerate(zip(above.subplots(1, len(bundles)), bundles, strict=True)):
            _throughput(
                axes, [row for row in record["networks"] if row["bundle"] == bundle], first=place == 0
            )
            axes.text(1, 1.015, bundle, transform=axes.transAxes, ha="right", va="bottom", style="italic")
            if place == 0:
                axes.text(0, 1.015, "tamis", transform=axes.transAxes, weight="bold", va="bottom")
                above.legend(
                    *axes.get_legend_handles_labels(), loc="outside lower left", ncols=3, frameon=False
                )
        _events(below.subplots(), record["modules"], bundles)
        save(figure, folder, name)


def _throughput(axes: Any, rows: list[dict[str, Any]], *, first: bool) -> None:
    for engine in dict.fromkeys(row["engine"] for row in rows):
        points = sorted((row for row in rows if row["engine"] == engine), key=lambda row: row["batch"])
        index = engine_index(engine)
        x, rate = [row["batch"] for row in points], [row["events_per_second"] for row in points]
        slow = [row["batch"] / row["warm"]["p95_ns"] * 1e9 for row in points]
        axes.fill_between(x, slow, rate, color=colour(index), alpha=0.16, lw=0)
        axes.plot(x, rate, color=colour(index), marker=MARKERS[index % len(MARKERS)], label=engine)
    axes.set_ylim(0, 1.2 * max(row["events_per_second"] for row in rows))
    batch_axis(axes, [row["batch"] for row in rows], "batch size [frames]")
    if first:
        axes.set_ylabel("frames per second, one core")


def _events(axes: Any, rows: list[dict[str, Any]], bundles: list[str]) -> None:
    ordered = sorted(rows, key=lambda row: (bundles.index(row["bundle"]), engine_index(row["engine"])))
    heights = [-(place + 0.8 * bundles.index(row["bundle"])) for place, row in enumerate(ordered)]
    left = [0.0] * len(ordered)
    for module, shade in zip(MODULES, SHADES, strict=True):
        width = [row["per_event"][module]["p50_ns"] / 1e6 for row in ordered]
        axes.barh(heights, width, left=left, height=0.8, color=shade, label=module)
        left = [a + b for a, b in zip(left, width, strict=True)]
    for height, total in zip(heights, left, strict=True):
        axes.text(total, height, f"  {total:.2f}", va="center", fontsize=10)
    axes.set_yticks(heights, [f"{row['bundle']}, {row['engine']}" for row in ordered], fontsize=10.5)
    axes.tick_params(axis="y", which="both", length=0)
    axes.set_xlim(0, 1.1 * max(left))
    axes.set_xlabel("time per event, one at a time: medians of the modules [ms]")
    axes.legend(
        loc="upper right", ncols=len(MODULES), bbox_to_anchor=(1, 1.1), borderaxespad=0, frameon=False
    )
