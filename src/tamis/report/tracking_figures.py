"""Figures of a track reconstruction: efficiency, fakes, duplicates, residuals, pulls, times and sizes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tamis._base import require
from tamis.records import (
    ResidualBin,
    ResidualCurve,
    ResidualHistogram,
    TrackingCurve,
    TrackingPhysics,
    TrackingRecord,
)
from tamis.report.canvas import DRAWING, INK, MARKERS, MUTED, colour, label, new_figure, plain_log
from tamis.report.content import Picture, significant

AGAINST = {
    "eta": r"$\eta$",
    "pt": r"$p_\mathrm{T}$ [GeV]",
    "pile-up": "pile-up collisions of the event",
    "radius": "production radius [mm]",
}
VARIABLE_NAMES = {"eta": "eta", "pt": "pT", "pile-up": "pile-up", "radius": "the production radius"}
SYMBOLS = {"d0": "$d_0$", "z0": "$z_0$", "phi": r"$\phi$", "theta": r"$\theta$", "q/p": "$q/p$"}
GRID_SIZE = (12.6, 7.4)
PER_MILLE = 1e3  # residuals are drawn in thousandths of the record's units
DRAWN_UNITS = {"mm": "µm", "rad": "mrad", "1/GeV": "1/TeV"}
SIDE_QUANTITIES = ("fakes", "duplicates")
EFFICIENCY_FLOORS = (0.98, 0.95, 0.9, 0.8, 0.5, 0.0)


def tracking_pictures(record: TrackingRecord, suffix: str) -> list[Picture]:
    """Draw the physics of a reconstruction."""
    if record.physics is None:
        return []
    physics = record.physics
    drawn = []
    for against in AGAINST:
        curves: dict[str, TrackingCurve] = {
            curve.quantity: curve for curve in physics.curves if curve.against == against
        }
        efficiency = curves.get("efficiency")
        if efficiency is not None and sum(one.total > 0 for one in efficiency.bins) > 1:
            drawn.append(_rates_against(record, physics, against, curves, suffix))
    if not physics.matched:
        return drawn
    drawn += [
        _histograms(record, physics, of, suffix)
        for of in ("residual", "pull")
        if any(one.of == of for one in physics.histograms)
    ]
    for against in ("eta", "pt"):
        chosen = [curve for curve in physics.residual_curves if curve.against == against]
        if chosen and sum(one is not None for one in chosen[0].bins) > 1:
            drawn += [
                _resolution(record, chosen, suffix),
                _bias(record, chosen, suffix),
                _pulls(record, chosen, suffix),
            ]
    return drawn


def profile_pictures(record: TrackingRecord, suffix: str) -> list[Picture]:
    """Draw times of stages and bytes between them."""
    drawn = [_times(record, suffix)] if record.events else []
    return [*drawn, _sizes(record, suffix)] if record.boundaries else drawn


def _points(curve: TrackingCurve) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return middles, half widths, values in percent and their errors, of bins that are not empty."""
    filled = np.array([one.total > 0 for one in curve.bins])
    middle, half = _middles(curve.edges, curve.against)
    value, low, high = (
        100 * np.array([getattr(one, name) for one in curve.bins]) for name in ("value", "low", "high")
    )
    errors = np.maximum(np.stack([value - low, high - value]), 0)
    return middle[filled], half[:, filled], value[filled], errors[:, filled]


def _middles(edges: Sequence[float], against: str) -> tuple[np.ndarray, np.ndarray]:
    """Return middles of bins, and their distances to both edges, on the scale on which they are drawn."""
    ends = np.array(edges, np.float64)
    if against in ("pt", "radius"):
        if ends[0] == 0:
            ends[0] = ends[1] / 3  # zero has no place on a logarithmic axis
        middle = np.sqrt(ends[1:] * ends[:-1])
    else:
        middle = (ends[1:] + ends[:-1]) / 2
    return middle, np.stack([middle - ends[:-1], ends[1:] - middle])


def _set_axis(axes: Any, against: str, title: bool = True) -> None:
    if against in ("pt", "radius"):
        axes.set_xscale("log")
        plain_log(axes.xaxis)
    if title:
        axes.set_xlabel(AGAINST[against])


def _rates_against(
    record: TrackingRecord,
    physics: TrackingPhysics,
    against: str,
    curves: Mapping[str, TrackingCurve],
    suffix: str,
) -> Picture:
    figures = require("matplotlib.figure", extra="plot", purpose=DRAWING)
    figure = figures.Figure(figsize=(6.4, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 2)})
    look = {"linestyle": "none", "capsize": 0, "elinewidth": 1.3}
    middle, half, value, errors = _points(curves["efficiency"])
    upper.errorbar(middle, value, yerr=errors, xerr=half, marker="o", color=INK, **look)
    well_known = errors.max(axis=0) < 10
    least = (value - errors[0])[well_known].min() if well_known.any() else 0.0
    floor = next((floor for floor in EFFICIENCY_FLOORS if 100 * floor < least), 0.0)
    upper.set_ylim(100 * floor, 100 + 14 * (1 - floor))
    upper.axhline(100, color=MUTED, linestyle=":", linewidth=1)
    upper.set_ylabel("efficiency [%]")
    most = 0.1
    for index, quantity in enumerate(SIDE_QUANTITIES):
        if quantity not in curves:
            continue
        middle, half, value, errors = _points(curves[quantity])
        place = middle + (half[1] if index else -half[0]) / 4  # next to each other
        lower.errorbar(
            place, value, yerr=errors, marker=MARKERS[index], color=colour(index), label=quantity, **look
        )
        most = max(most, *value, float(np.median(value + errors[1])))
    lower.set_ylim(-0.06 * most, 1.35 * most)
    lower.set_ylabel("tracks [%]")
    figure.legend(*lower.get_legend_handles_labels(), ncols=2, loc="outside lower center")
    _set_axis(upper, against, title=False)
    _set_axis(lower, against)
    label(upper, record.detector, f"{record.events} events")
    alt = (
        f"Efficiency, fakes and duplicates against {VARIABLE_NAMES[against]} with intervals; over all, efficiency {100 * physics.efficiency.value:.2f} %, "
        f"fakes {100 * physics.fakes.value:.2f} %, duplicates {100 * physics.duplicates.value:.2f} %."
    )
    captions = {
        "radius": "The first bin begins at zero. A fake has no particle, hence no radius; duplicates are those of matched tracks.",
        "pile-up": "",
    }
    caption = f"Intervals at 95 % (Wilson), which reach out of the frame where there are few particles. Particles: {physics.particles}. {captions.get(against, f'Fakes and duplicates against {VARIABLE_NAMES[against]} of the track.')}"
    return Picture(
        f"tracking-rates-{against}{suffix}",
        f"Efficiency, fakes and duplicates against {VARIABLE_NAMES[against]}",
        alt,
        figure,
        caption.strip(),
    )


def _grid(record: TrackingRecord) -> tuple[Any, list[Any]]:
    """Return a figure with a panel for each of five parameters."""
    figures = require("matplotlib.figure", extra="plot", purpose=DRAWING)
    figure = figures.Figure(figsize=GRID_SIZE, layout="constrained")
    panels = list(figure.subplots(2, 3).ravel())
    panels[-1].set_axis_off()
    panels[0].text(0, 1.02, "tamis", transform=panels[0].transAxes, weight="bold", va="bottom", fontsize=13)
    panels[0].text(
        0.3, 1.02, record.detector, transform=panels[0].transAxes, style="italic", va="bottom", fontsize=11.5
    )
    panels[2].text(
        1, 1.02, f"{record.events} events", transform=panels[2].transAxes, va="bottom", ha="right", fontsize=10.5
    )  # fmt: skip
    return figure, panels


def _histograms(record: TrackingRecord, physics: TrackingPhysics, of: str, suffix: str) -> Picture:
    chosen = [one for one in physics.histograms if one.of == of]
    widths = {one.parameter: one for one in physics.residuals}
    figure, panels = _grid(record)
    for axes, one in zip(panels, chosen, strict=False):
        _histogram(axes, one)
        residual = widths[one.parameter]
        width = PER_MILLE * residual.width if of == "residual" else residual.pull_width
        unit = DRAWN_UNITS.get(one.unit, "")
        text = f"68 % within ±{significant(width)}{f' {unit}' if unit else ''}"
        if one.outside:
            text += f"\n{one.outside} outside"
        axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top", fontsize=10)
        axes.set_xlabel(f"{SYMBOLS[one.parameter]} {of}{f' [{unit}]' if unit else ''}")
    panels[0].set_ylabel("tracks")
    panels[3].set_ylabel("tracks")
    panels[-1].errorbar([], [], yerr=[], fmt="o", color=INK, label="tracks minus particles")
    if of == "pull":
        panels[-1].plot([], [], color=colour(1), label="Gaussian of width 1")
    panels[-1].legend(loc="center", fontsize=12)
    described = ", ".join(
        f"{name} {significant(one.width if of == 'residual' else one.pull_width)}"
        for name, one in widths.items()
    )
    title = "Residuals" if of == "residual" else "Pulls"
    caption = (
        "Parameters of tracks minus those of their particles, at the point nearest to the beam; bars are statistical."
        if of == "residual"
        else "Residuals over their errors: where the errors are right, the width is 1."
    )
    return Picture(
        f"tracking-{of}s{suffix}",
        title,
        f"Histograms of the {of}s of five track parameters; widths {described}.",
        figure,
        caption,
        wide=True,
    )


def _histogram(axes: Any, one: ResidualHistogram) -> None:
    hist = require("hist", extra="plot", purpose=DRAWING)
    mplhep = require("mplhep", extra="plot", purpose=DRAWING)
    edges = (PER_MILLE if one.of == "residual" else 1) * np.array(one.edges)
    filled = hist.Hist(hist.axis.Variable(edges), storage=hist.storage.Weight())
    filled.view().value, filled.view().variance = one.counts, one.counts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # mplhep warns about missing scipy
        mplhep.histplot(
            filled, histtype="errorbar", color=INK, markersize=3, elinewidth=1, ax=axes, flow="none", xerr=False
        )  # fmt: skip
    if one.of == "pull":
        x = np.linspace(edges[0], edges[-1], 200)
        height = sum(one.counts) * (edges[1] - edges[0]) / np.sqrt(2 * np.pi)
        axes.plot(x, height * np.exp(-x * x / 2), color=colour(1), linewidth=1.5)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1.32 * max(1, *one.counts))
    axes.locator_params(axis="x", nbins=5)
    axes.ticklabel_format(style="plain")


def _binned(curve: ResidualCurve, field: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    middle, half = _middles(curve.edges, curve.against)
    filled = np.array([one is not None for one in curve.bins])
    found: list[ResidualBin] = [one for one in curve.bins if one is not None]
    value, error = (
        np.array([getattr(one, name) for one in found], np.float64) for name in (field, f"{field}_error")
    )
    scale = 1 if field.startswith("pull") else PER_MILLE
    return middle[filled], half[:, filled], scale * value, scale * error


def _panels(
    record: TrackingRecord, curves: Sequence[ResidualCurve], fields: Sequence[tuple[str, str]]
) -> tuple[Any, list[Any]]:
    """Draw some numbers of the bins of five parameters."""
    figure, panels = _grid(record)
    for axes, curve in zip(panels, curves, strict=False):
        for index, (field, name) in enumerate(fields):
            middle, half, value, error = _binned(curve, field)
            axes.errorbar(
                middle, value, yerr=error, xerr=half, marker=MARKERS[index], color=INK if not index else colour(index - 1),
                linestyle="none", elinewidth=1.2, markersize=4.5, label=name,
            )  # fmt: skip
        _set_axis(axes, curve.against)
    return figure, panels


def _resolution(record: TrackingRecord, curves: Sequence[ResidualCurve], suffix: str) -> Picture:
    against = curves[0].against
    figure, panels = _panels(record, curves, [("width", "width")])
    for axes, curve in zip(panels, curves, strict=False):
        widths = [PER_MILLE * one.width for one in curve.bins if one is not None]
        if against == "pt" and max(widths) > 5 * min(widths) > 0:
            axes.set_yscale("log")
            plain_log(axes.yaxis)
        else:
            axes.set_ylim(0, 1.3 * max(widths))
        axes.set_ylabel(f"{SYMBOLS[curve.parameter]} width [{DRAWN_UNITS[curve.unit]}]")
    return Picture(
        f"tracking-widths-{against}{suffix}",
        f"Resolution against {VARIABLE_NAMES[against]}",
        f"Widths of the residuals of five track parameters against {VARIABLE_NAMES[against]} of the particle.",
        figure,
        "Half the width that holds 68 % of the residuals.",
        wide=True,
    )


def _bias(record: TrackingRecord, curves: Sequence[ResidualCurve], suffix: str) -> Picture:
    against = curves[0].against
    figure, panels = _panels(record, curves, [("median", "median")])
    for axes, curve in zip(panels, curves, strict=False):
        axes.axhline(0, color=MUTED, linestyle=":", linewidth=1)
        reach = (
            1.3 * PER_MILLE * max(abs(one.median) + one.median_error for one in curve.bins if one is not None)
        )
        axes.set_ylim(-reach or -1, reach or 1)
        axes.set_ylabel(f"{SYMBOLS[curve.parameter]} median [{DRAWN_UNITS[curve.unit]}]")
    return Picture(
        f"tracking-medians-{against}{suffix}",
        f"Bias against {VARIABLE_NAMES[against]}",
        f"Medians of the residuals of five track parameters against {VARIABLE_NAMES[against]} of the particle.",
        figure,
        "Zero is right.",
        wide=True,
    )


def _pulls(record: TrackingRecord, curves: Sequence[ResidualCurve], suffix: str) -> Picture:
    against = curves[0].against
    figure, panels = _panels(record, curves, [("pull_width", "width"), ("pull_median", "median")])
    for axes, curve in zip(panels, curves, strict=False):
        for place in (0, 1):
            axes.axhline(place, color=MUTED, linestyle=":", linewidth=1)
        ends = [
            (one.pull_width + one.pull_width_error, one.pull_median - one.pull_median_error)
            for one in curve.bins
            if one is not None
        ]
        axes.set_ylim(min(-0.5, *(low for _, low in ends)) * 1.1, max(1.5, *(high for high, _ in ends)) * 1.1)
        axes.set_ylabel(f"{SYMBOLS[curve.parameter]} pull")
    handles, names = panels[0].get_legend_handles_labels()
    panels[-1].legend(handles, names, loc="center", title="of the pulls", fontsize=12, title_fontsize=12)
    return Picture(
        f"tracking-pulls-{against}{suffix}",
        f"Pulls against {VARIABLE_NAMES[against]}",
        f"Widths and medians of the pulls of five track parameters against {VARIABLE_NAMES[against]} of the particle.",
        figure,
        "Residuals over their errors: a width of 1 and a median of 0 are right.",
        wide=True,
    )


def _times(record: TrackingRecord, suffix: str) -> Picture:
    names = list(dict.fromkeys(one.stage for one in record.stages))
    devices = [device for device in ("cpu", "gpu") if any(one.device == device for one in record.stages)]
    figure, axes = new_figure(size=(6.4, 1.9 + 0.42 * len(names)))
    height = 0.72 / len(devices)
    for index, device in enumerate(devices):
        stages = [one for one in record.stages if one.device == device]
        places = [names.index(one.stage) + (index - (len(devices) - 1) / 2) * height for one in stages]
        axes.barh(
            places,
            [one.mean_ms for one in stages],
            height,
            color=colour(index),
            alpha=0.65,
            label=f"mean on {device.upper()}",
        )
        axes.plot(
            [one.p50_ms for one in stages], places, "o", color=INK, ms=5, label="p50" if not index else None
        )
        axes.plot(
            [one.p99_ms for one in stages],
            places,
            "|",
            color=INK,
            ms=11,
            mew=2,
            label="p99" if not index else None,
        )
    axes.set_xscale("log")
    plain_log(axes.xaxis)
    axes.set_yticks(range(len(names)), names)
    axes.set_yticks([], minor=True)
    axes.tick_params(axis="y", which="both", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("time per event [ms]")
    figure.legend(loc="outside lower center", ncols=4)
    label(axes, record.detector, f"{record.events} events, one core")
    alt = "; ".join(
        f"{one.stage} on {one.device.upper()}: {significant(one.mean_ms)} ms" for one in record.stages
    )
    return Picture(
        f"tracking-times{suffix}", "Time of every stage", f"Mean time per event: {alt}.", figure,
        f"All stages together take {significant(record.together.mean_ms)} ms per event.",
    )  # fmt: skip


def _sizes(record: TrackingRecord, suffix: str) -> Picture:
    kept = record.boundaries
    figure, axes = new_figure(size=(6.4, 1.9 + 0.42 * len(kept)))
    axes.barh(range(len(kept)), [max(one.bytes, 1) for one in kept], 0.72, color=colour(0), alpha=0.65)
    most = max(10.0, *(one.bytes for one in kept))
    axes.set_xscale("log")
    axes.set_xlim(10, most * 60)
    for place, one in enumerate(kept):
        axes.text(
            max(one.bytes, 10) * 1.25, place, f"{significant(one.count)} objects", va="center", fontsize=10
        )
    axes.set_yticks(range(len(kept)), [one.name for one in kept])
    axes.set_yticks([], minor=True)
    axes.tick_params(axis="y", which="both", length=0)
    axes.set_ylim(len(kept) - 0.4, -0.6)
    axes.set_xlabel("bytes per event")
    label(axes, record.detector, f"{record.events} events")
    alt = "; ".join(f"{one.name}: {significant(one.bytes)} bytes" for one in kept)
    return Picture(
        f"tracking-sizes{suffix}", "Bytes between the stages", f"Bytes per event: {alt}.", figure,
        "The arrays that one stage leaves for later ones.",
    )  # fmt: skip
