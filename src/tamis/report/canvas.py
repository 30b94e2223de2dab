"""Figures in the style of the LHC experiments, saved as files and as inline SVG."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tamis._base import atomic_path, require

INK = "#1b1b1e"  # replaced by the text colour of the page in inline figures
MUTED = "#74747c"
# Petroff's accessible colours (arXiv:2107.02270), as the experiments use them.
PALETTE = (
    "#3f90da",
    "#e76300",
    "#832db6",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#a96b59",
    "#92dadd",
    "#b9ac70",
    "#717581",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
ENGINES = ("onnxruntime", "openvino", "torch", "native", "reference", "tensorrt", "remote", "fpga")
DRAWING = "drawing reports"
FIGURE_SIZE = (6.4, 4.6)


def colour(index: int) -> str:
    """Return the colour of the n-th curve or marker."""
    return PALETTE[index % len(PALETTE)]


def engine_index(name: str) -> int:
    """Return the index of an engine in the palette, the same in every figure."""
    return ENGINES.index(name) if name in ENGINES else len(ENGINES) + sum(map(ord, name)) % 2


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Context with the style of the experiments: ticks inside on all sides, axis titles at the ends of the axes."""
    matplotlib = require("matplotlib", extra="plot", purpose=DRAWING)
    mplhep = require("mplhep", extra="plot", purpose=DRAWING)
    ours = {
        "font.size": 13,
        "axes.linewidth": 1.1,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "legend.labelcolor": INK,
        "lines.linewidth": 1.8,
        "lines.markersize": 5.5,
        "legend.fontsize": 11,
        "legend.borderpad": 0.3,
        "legend.labelspacing": 0.35,
        "svg.fonttype": "path",
        "svg.hashsalt": "tamis",
        "pdf.fonttype": 42,
        "mathtext.fontset": "dejavusans",
    }
    for axis in ("xtick", "ytick"):
        ours |= {f"{axis}.major.size": 7, f"{axis}.minor.size": 3.5, f"{axis}.labelsize": 12}
        ours |= {f"{axis}.major.width": 1.0, f"{axis}.minor.width": 0.8}
    with matplotlib.rc_context({**mplhep.style.ROOT, **ours}):
        yield


def new_figure(columns: int = 1, size: tuple[float, float] = FIGURE_SIZE) -> tuple[Any, Any]:
    """Return a figure and its axes, without the global state of pyplot."""
    figures = require("matplotlib.figure", extra="plot", purpose=DRAWING)
    figure = figures.Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(1, columns)


def label(axes: Any, left: str, right: str = "") -> None:
    """Write the project's name and two labels above a frame, as the experiments do."""
    axes.text(0, 1.015, "tamis", transform=axes.transAxes, weight="bold", va="bottom", fontsize=13)
    axes.text(
        0.205, 1.015, left, transform=axes.transAxes, va="bottom", fontsize=11.5, style="italic", color=INK
    )
    axes.text(1, 1.015, right, transform=axes.transAxes, va="bottom", ha="right", fontsize=10.5)


def batch_axis(axes: Any, batches: Sequence[int], title: str = "batch size [jets]") -> None:
    """Set up a logarithmic x axis with ticks at the measured batch sizes."""
    ticker = require("matplotlib.ticker", extra="plot", purpose=DRAWING)
    axes.set_xscale("log", base=2)
    shown = sorted(set(batches))
    axes.xaxis.set_major_locator(ticker.FixedLocator(shown))
    axes.xaxis.set_major_formatter(ticker.FixedFormatter([str(b) for b in shown]))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_xlim(shown[0] / 1.35, shown[-1] * 1.35)
    axes.set_xlabel(title)


def plain_log(axis: Any) -> None:
    """Label the ticks of a logarithmic axis with plain numbers (0.1, 1, 10) where that is shorter."""
    ticker = require("matplotlib.ticker", extra="plot", purpose=DRAWING)
    axis.set_major_formatter(
        ticker.FuncFormatter(
            lambda value, _: f"{value:g}" if 1e-3 <= value < 1e5 else f"$10^{{{int(f'{value:.0e}'[2:])}}}$"
        )
    )
    low, high = axis.get_view_interval()
    if 0 < low < high < 100 * low:  # less than two decades: label minor ticks, too, at least 2 and 5
        shown = "2345678" if high < 10 * low else "25"
        axis.set_minor_formatter(
            ticker.FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in shown else "")
        )
    else:
        axis.set_minor_formatter(ticker.NullFormatter())


def save(figure: Any, folder: Path, name: str) -> str:
    """Write a figure as PNG and PDF; return it as inline SVG that takes the page's text colour."""
    for suffix, options in (
        ("png", {"dpi": 160, "metadata": {"Software": None}}),
        ("pdf", {"metadata": {"CreationDate": None}}),
    ):
        with atomic_path(folder / f"{name}.{suffix}") as part:
            figure.savefig(part, format=suffix, facecolor="white", **options)
        figure.set_layout_engine("none")  # keep the first layout for the other formats
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return inline(buffer.getvalue(), name)


def inline(svg: str, name: str) -> str:
    """Prepare an SVG for embedding in a page: no prologue, unique ids, ink in the text colour."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    return svg.replace(INK, "currentColor").strip()
