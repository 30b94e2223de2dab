"""Figures and tables of rates: per path, against thresholds, overlaps, turn-ons."""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis._base import quantity
from tamis.records import Rate, RateRecord, Roc, TunedThreshold, TurnOn
from tamis.report.canvas import INK, MARKERS, MUTED, colour, label, new_figure, plain_log
from tamis.report.content import Cell, PageTable, Picture, Row, number, words


def rate_pictures(record: RateRecord, suffix: str) -> list[Picture]:
    """Draw one rate study."""
    drawn = [_paths(record, suffix), _overlap(record, suffix)]
    drawn += [_threshold(record, tuned, suffix) for tuned in record.tuned]
    drawn += [_efficiency(record, tuned, suffix) for tuned in record.tuned]
    drawn += [_roc(record, curve, suffix) for curve in record.rocs]
    drawn += [_turn_on(record, turn_on, f"{suffix}-{i}") for i, turn_on in enumerate(record.turn_ons)]
    drawn += [_changed(record, suffix)] if record.changed else []
    return [*drawn, chain_picture(record, suffix)] if record.levels else drawn


def chain_picture(record: RateRecord, suffix: str = "") -> Picture:
    """Draw the rate after each level of a trigger."""
    levels = record.levels
    figure, axes = new_figure(size=(6.4, 1.8 + 0.55 * len(levels)))
    least = min(
        level.rate.upper_hz or max(level.rate.hz - level.rate.error_hz, level.rate.hz / 10)
        for level in levels
    )
    for place, level in enumerate(reversed(levels)):
        rate = level.rate
        if rate.upper_hz is not None:
            axes.plot(rate.upper_hz, place, marker="<", color=INK)
        else:
            axes.barh(place, rate.hz, color=colour(0), height=0.55)
            axes.errorbar(rate.hz, place, xerr=1.96 * rate.error_hz, color=INK, capsize=3)
        shown = (
            rate.text
            if rate.upper_hz is not None or not rate.error_hz
            else quantity(rate.hz, "Hz", 1.96 * rate.error_hz)
        )
        axes.annotate(
            shown,
            (rate.upper_hz or rate.hz + 1.96 * rate.error_hz, place),
            (8, 0),
            textcoords="offset points",
            va="center",
            fontsize=11,
        )
    axes.set_yticks(range(len(levels)), [level.name for level in reversed(levels)], fontsize=11)
    axes.tick_params(axis="y", which="both", length=0)
    axes.set_ylim(-0.6, len(levels) + 0.1)
    axes.set_xscale("log")
    axes.set_xlim(least / 5, 30 * max(level.rate.hz for level in levels))
    plain_log(axes.xaxis)
    axes.set_xlabel("rate [Hz]")
    label(axes, " to ".join(level.name for level in levels[1:]), "95 % intervals")
    last = levels[-1].rate.unseen_hz
    unseen = (
        f" Samples of which no event passes the last level could add {quantity(last, 'Hz', digits=2)} by their numbers of events alone."
        if last
        else ""
    )
    alt = "rate after each level: " + ", ".join(f"{level.name} {level.rate.text}" for level in levels)
    return Picture(
        f"chain{suffix}",
        "the trigger's levels",
        alt,
        figure,
        f"Rate that each level leaves, with its statistical interval at 95 %; triangles are upper limits.{unseen}",
        record.menu,
    )


def _paths(record: RateRecord, suffix: str) -> Picture:
    figure, axes = new_figure(size=(6.4, 1.6 + 0.45 * len(record.paths)))
    for place, path in enumerate(reversed(record.paths)):
        for rate, shift, look in ((path.rate, 0.18, INK), (path.unique, -0.18, colour(0))):
            if rate.upper_hz is None:
                axes.errorbar(rate.hz, place + shift, xerr=rate.error_hz, fmt="o", color=look, capsize=2)
            else:
                axes.plot(rate.upper_hz, place + shift, marker="<", color=look)
    axes.plot([], [], "o", color=INK, label="rate")
    axes.plot([], [], "o", color=colour(0), label="unique")
    axes.set_yticks(range(len(record.paths)), [path.path for path in reversed(record.paths)], fontsize=11)
    axes.set_ylim(-0.7, len(record.paths) + 0.4)
    axes.set_xscale("log")
    plain_log(axes.xaxis)
    axes.set_xlabel("rate [Hz]")
    axes.legend(ncols=2, loc="upper right")
    label(axes, record.menu, f"input {quantity(record.input_hz, 'Hz')}")
    alt = "rate of each path: " + ", ".join(
        f"{path.path} {quantity(path.rate.hz, 'Hz')}" for path in record.paths
    )
    return Picture(
        f"rates{suffix}",
        f"{record.menu}: rates",
        alt,
        figure,
        "With prescales; unique: events that no other path accepts; triangles are 95 % upper limits.",
        record.menu,
    )


def _overlap(record: RateRecord, suffix: str) -> Picture:
    names = [path.path for path in record.paths]
    values = np.array(record.correlation)
    figure, axes = new_figure(size=(5.6 + 0.2 * len(names), 4.4 + 0.2 * len(names)))
    edges = np.arange(len(names) + 1) - 0.5
    axes.pcolormesh(edges, edges, np.nan_to_num(values), cmap="RdBu_r", vmin=-1, vmax=1)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    for i, row in enumerate(record.overlap_hz):
        for j, hz in enumerate(row):
            light = abs(np.nan_to_num(values[i, j])) > 0.6
            axes.text(
                j,
                i,
                f"{hz:.0f}" if hz >= 1000 else f"{hz:.3g}",
                ha="center",
                va="center",
                fontsize=10,
                color="white" if light else "black",
            )
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=10)
    axes.set_yticks(range(len(names)), names, fontsize=10)
    axes.tick_params(which="both", length=0)
    axes.minorticks_off()
    label(axes, "", "shared rate [Hz]; colour: correlation")
    return Picture(
        f"overlap{suffix}",
        f"{record.menu}: overlap",
        f"shared rate and correlation of each pair of the paths {', '.join(names)}",
        figure,
        "",
        record.menu,
    )


def _threshold(record: RateRecord, tuned: TunedThreshold, suffix: str) -> Picture:
    figure, axes = new_figure()
    threshold, rate, error = np.array(tuned.curve).T
    axes.fill_between(
        threshold, np.maximum(rate - error, 1e-12), rate + error, color=colour(0), alpha=0.25, linewidth=0
    )
    axes.plot(threshold, rate, color=colour(0), label="rate")
    axes.axhline(
        tuned.target_hz, color=MUTED, linestyle=":", label=f"target, {quantity(tuned.target_hz, 'Hz')}"
    )
    axes.axvspan(tuned.low, tuned.high, color=colour(1), alpha=0.25, linewidth=0, label="95 % interval")
    axes.axvline(tuned.threshold, color=colour(1), label=f"threshold {tuned.threshold:.4g}")
    axes.set_yscale("log")
    axes.set_ylim(rate[rate > 0].min() / 3, rate.max() * 3)
    plain_log(axes.yaxis)
    axes.set_xlabel(f"threshold of {tuned.path}")
    axes.set_ylabel("rate [Hz]")
    axes.legend()
    label(axes, tuned.path, f"input {quantity(record.input_hz, 'Hz')}")
    alt = (
        f"the rate falls with the threshold and is {quantity(tuned.target_hz, 'Hz')} at {tuned.threshold:.4g}"
    )
    return Picture(
        f"threshold-{tuned.path}{suffix}",
        f"{tuned.path}: rate against threshold",
        alt,
        figure,
        "",
        record.menu,
    )


def _efficiency(record: RateRecord, tuned: TunedThreshold, suffix: str) -> Picture:
    figure, axes = new_figure(size=(6.4, 1.6 + 0.4 * len(tuned.efficiency)))
    names = list(tuned.efficiency)
    axes.barh(
        names[::-1], [100 * tuned.efficiency[name] for name in names[::-1]], color=colour(0), height=0.6
    )
    axes.set_xscale("log")
    plain_log(axes.xaxis)
    axes.set_xlabel(f"events that pass {tuned.path} [%]")
    axes.tick_params(axis="y", which="both", length=0)
    label(axes, tuned.path, f"at {quantity(tuned.rate.hz, 'Hz')}")
    shares = ", ".join(f"{name} {100 * value:.3g} %" for name, value in tuned.efficiency.items())
    alt = f"share of each sample that passes {tuned.path} at {quantity(tuned.rate.hz, 'Hz')}: {shares}"
    return Picture(
        f"efficiency-{tuned.path}{suffix}", f"{tuned.path}: what passes", alt, figure, "", record.menu
    )


def _roc(record: RateRecord, curve: Roc, suffix: str) -> Picture:
    figure, axes = new_figure()
    names = [name for name in curve.efficiency if record.kinds.get(name) == "signal"]
    for index, name in enumerate(names):
        look = {"color": colour(index)}
        axes.plot(curve.rate_hz, curve.efficiency[name], drawstyle="steps-post", label=name, **look)
        axes.plot(curve.now_hz, curve.now[name], marker=MARKERS[index % len(MARKERS)], **look)
    axes.axvline(curve.now_hz, color=MUTED, linestyle=":", label=f"now, {quantity(curve.now_hz, 'Hz')}")
    axes.set_xscale("log")
    plain_log(axes.xaxis)
    axes.set_ylim(0, min(1.02, 1.1 * max(1e-3, *(curve.efficiency[name][-1] for name in names))))
    axes.set_xlabel(f"rate of {curve.path} [Hz]")
    axes.set_ylabel("efficiency for the signal")
    axes.legend(loc="upper left")
    label(axes, curve.path, f"input {quantity(record.input_hz, 'Hz')}")
    alt = ", ".join(f"{name} {100 * curve.now[name]:.3g} %" for name in names)
    return Picture(
        f"roc-{curve.path}{suffix}",
        f"{curve.path}: ROC",
        f"efficiency for the signal against the rate of {curve.path}; at {quantity(curve.now_hz, 'Hz')}: {alt}",
        figure,
        "For varying threshold of the path; its other steps are fixed.",
        record.menu,
    )


def _changed(record: RateRecord, suffix: str) -> Picture:
    figure, axes = new_figure(size=(6.4, 1.8 + 0.5 * len(record.changed)))
    for place, change in enumerate(reversed(record.changed)):
        common = change.rate_hz - change.lost_hz
        axes.barh(place, common, color=MUTED, height=0.6)
        axes.barh(place, change.gained_hz, left=common, color=colour(0), height=0.6)
        axes.barh(place, -change.lost_hz, color=colour(1), height=0.6)
    for look, name in ((MUTED, "in both"), (colour(0), "gained"), (colour(1), "lost")):
        axes.barh([0], [0], color=look, label=name)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(
        range(len(record.changed)), [change.path for change in reversed(record.changed)], fontsize=11
    )
    axes.set_ylim(-0.7, len(record.changed) + 0.3)
    axes.margins(x=0.08)
    axes.set_xlabel("rate [Hz]")
    axes.tick_params(axis="y", which="both", length=0)
    axes.legend(ncols=3, loc="upper right")
    label(axes, record.menu, f"at the rates of {record.before}")
    alt = "rates gained and lost at the same rate: " + ", ".join(
        f"{c.path} +{quantity(c.gained_hz, 'Hz')} -{quantity(c.lost_hz, 'Hz')}" for c in record.changed
    )
    return Picture(
        f"changed{suffix}",
        f"{record.menu}: events gained and lost",
        alt,
        figure,
        f"Against {record.before}, each path tuned to its rate there.",
        record.menu,
    )


def _turn_on(record: RateRecord, turn_on: TurnOn, suffix: str) -> Picture:
    figure, axes = new_figure()
    edges = np.array(turn_on.edges)
    middle = (edges[1:] + edges[:-1]) / 2
    for index, (name, values) in enumerate(turn_on.efficiency.items()):
        value = np.array(values)
        errors: Any = np.abs(np.array([turn_on.low[name], turn_on.high[name]]) - value)
        look = {
            "marker": MARKERS[index % len(MARKERS)],
            "color": colour(index),
            "linestyle": "-",
            "linewidth": 1,
        }
        axes.errorbar(middle, value, yerr=errors, label=name, capsize=1.5, **look)
    axes.set_ylim(-0.02, 1.18)
    axes.axhline(1.0, color=MUTED, linestyle=":", linewidth=1)
    axes.set_xlabel(turn_on.quantity)
    axes.set_ylabel(f"efficiency of {turn_on.path}")
    axes.legend(ncols=2)
    label(axes, turn_on.path, "without prescale")
    return Picture(
        f"turn-on-{turn_on.path}{suffix}",
        f"{turn_on.path}: turn-on",
        f"efficiency of the path {turn_on.path} against {turn_on.quantity}, with intervals",
        figure,
        "",
        record.menu,
    )


def rate_tables(record: RateRecord, note: str) -> list[PageTable]:
    """Return the tables of one rate study."""
    samples = list(record.samples)
    tables = [
        PageTable(
            f"{record.menu}: rates",
            ("path", "prescale", "rate", "unique", "simulated events", *(f"% of {name}" for name in samples)),
            tuple(
                Row(
                    (
                        words(p.path), number(p.prescale, "d"), _rate(p.rate), _rate(p.unique), number(p.rate.events, "d"),
                        *(number(100 * p.efficiency[name], ".3g") for name in samples),
                    ),
                    record.menu,
                )
                for p in record.paths
            ),
            f"{note} Upper limits (<) are at 95 % confidence.".strip(),
        ),
        PageTable(
            f"{record.menu}: together",
            ("", "rate"),
            tuple(
                Row((words(name), _rate(rate)), record.menu)
                for name, rate in (
                    ("all paths", record.total), *((f"stream {n}", r) for n, r in record.streams.items()), ("debug", record.debug),
                )
            ),
        ),
    ]  # fmt: skip
    if record.tuned:
        tables.append(
            PageTable(
                f"{record.menu}: tuned thresholds",
                ("path", "target", "threshold", "from", "to", "rate"),
                tuple(
                    Row(
                        (
                            words(t.path),
                            Cell(quantity(t.target_hz, "Hz"), t.target_hz),
                            number(t.threshold, ".6g"),
                            number(t.low, ".6g"),
                            number(t.high, ".6g"),
                            _rate(t.rate),
                        ),
                        record.menu,
                    )
                    for t in record.tuned
                ),
                "The interval contains 95 % of bootstrap replicas.",
            )
        )
    return tables


def _rate(rate: Rate) -> Cell:
    return Cell(rate.text, rate.hz)
