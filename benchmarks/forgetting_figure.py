"""The figure of what a monitor forgets: errors on protons and ions by training, and the transfer between both.

python benchmarks/monitoring_models.py --part forgetting --record benchmarks/records/monitoring-forgetting.json --figure docs/img/forgetting.png
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tamis.report.canvas import INK, MARKERS, MUTED, PALETTE, new_figure, style

METHODS = {  # of a training with ions that follows one with protons
    "naive": "then on ions,\nsame weights",
    "ewc": "then on ions,\nwith EWC",
    "replay": "then on ions and\n5 % of the protons",
    "gates": "weights for each\nmode (default)",
}
MODES = {"pp": "protons", "pbpb": "lead ions"}
TRANSFERS = {"backward_transfer": "backward, to protons", "forward_transfer": "forward, to ions"}
APART = 0.19  # of the two values of one row


def draw_forgetting(record: Mapping[str, Any], path: Path) -> None:
    """Write the figure as PNG."""
    with style():
        forgetting_figure(record).savefig(path, dpi=130, facecolor="white", metadata={"Software": None})


def forgetting_figure(record: Mapping[str, Any]) -> Any:
    """Return the figure: errors on the left, transfers of the same trainings on the right."""
    errors = [
        ("trained on\nprotons alone", record["protons_first"]),
        *((name, record["after_ions"][method]) for method, name in METHODS.items()),
        ("trained on\nions alone", record["ions_alone"]),
    ]
    heights = [-float(row) for row in range(len(errors))]
    with style():
        figure, (left, right) = new_figure(2, (11.5, 5.6))
        _draw_errors(left, errors, heights)
        _draw_transfers(right, record, heights[1:-1])
        for axes in (left, right):
            axes.axhspan(heights[4] - 0.5, heights[4] + 0.5, color=PALETTE[5], alpha=0.18, lw=0, zorder=0)
            axes.set_ylim(heights[-1] - 0.6, heights[0] + 0.6)
            axes.tick_params(axis="y", which="both", length=0)
            axes.yaxis.set_ticks(heights, [name for name, _ in errors], fontsize=11.5)
        right.set_yticklabels([])
        left.text(0, 1.015, "tamis", transform=left.transAxes, weight="bold", va="bottom", fontsize=13)
        left.text(1, 1.015, "LSTM monitor, protons first", transform=left.transAxes, ha="right", va="bottom", fontsize=11, style="italic")  # fmt: skip
    return figure


def _draw_errors(
    axes: Any, errors: Sequence[tuple[str, Mapping[str, float]]], heights: Sequence[float]
) -> None:
    axes.axvline(1, color=MUTED, lw=1.2, ls="--", zorder=1)
    axes.text(1.0012, heights[0], "as a running mean", color=MUTED, fontsize=10, va="center")
    for k, (mode, name) in enumerate(MODES.items()):
        values, at = [one[mode] for _, one in errors], [height + APART * (1 - 2 * k) for height in heights]
        axes.plot(values, at, MARKERS[k], color=PALETTE[k], ms=9, label=name)
        for value, height in zip(values, at, strict=True):
            axes.annotate(f"{value:.3f}", (value, height), (8, 0), textcoords="offset points", va="center", fontsize=10)  # fmt: skip
    axes.set_xlim(0.945, 1.03)
    axes.set_xlabel("error on other streams (less is better)")
    _add_legend(axes)


def _draw_transfers(axes: Any, record: Mapping[str, Any], heights: Sequence[float]) -> None:
    axes.axvline(0, color=INK, lw=1.0, zorder=3)
    for k, (transfer, name) in enumerate(TRANSFERS.items()):
        values = [record[transfer][method] for method in METHODS]
        at = [height + APART * (1 - 2 * k) for height in heights]
        axes.barh(at, values, 0.34, color=PALETTE[k], hatch=("", "///")[k], edgecolor="white", lw=0, label=name, zorder=2)  # fmt: skip
        for value, height in zip(values, at, strict=True):
            text = f"{value:.4f}".replace("-", "\N{MINUS SIGN}") if value else "0, to the bit"
            axes.annotate(text, (0, height), (6, 0), textcoords="offset points", va="center", fontsize=10)
    for height, of in ((heights[0] + 1, "backward"), (heights[-1] - 1, "forward")):
        axes.text(-0.013, height, f"reference of the {of} transfer", color=MUTED, fontsize=10, va="center", ha="center")  # fmt: skip
    axes.set_xlim(-0.0275, 0.0105)
    axes.xaxis.set_ticks([-0.02, -0.01, 0, 0.01], ["\N{MINUS SIGN}0.02", "\N{MINUS SIGN}0.01", "0", "0.01"])
    axes.set_xlabel("transfer (gain is positive)")
    _add_legend(axes)


def _add_legend(axes: Any) -> None:
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, -0.28), ncols=2, frameon=False, handletextpad=0.4)
