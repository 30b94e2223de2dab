"""Figures and tables of the agreement with the float64 reference."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tamis.records import Agreement
from tamis.report.canvas import INK, MARKERS, MUTED, colour, engine_index, new_figure
from tamis.report.content import Cell, PageTable, Picture, Row, number, words

LIMITS = {"0.0001": "0.01 %", "0.001": "0.1 %", "0.01": "1 %", "0.05": "5 %"}
FLOAT32_STEP = 2.0**-23
TINY_NOTE = "* Of a tiny value, for which the absolute tolerance decides and not the relative error."


def agreement_picture(agreements: Sequence[Agreement], suffix: str) -> Picture | None:
    """Draw the largest relative error of every output; None if there is nothing to draw."""
    rows = [
        (f"{a.bundle}, {o.output}", a.engine, o.largest_relative)
        for a in agreements
        for o in a.outputs
        if a.engine != "reference" and math.isfinite(o.largest_relative)
    ]
    if not rows:
        return None
    names = list(dict.fromkeys(name for name, _, _ in rows))
    figure, axes = new_figure(size=(11.0, 1.9 + 0.36 * len(names)))
    engines = sorted({engine for _, engine, _ in rows}, key=engine_index)
    least = 1e-9
    for shift, engine in enumerate(engines):
        index = engine_index(engine)
        points = [(max(value, least), names.index(name)) for name, e, value in rows if e == engine]
        offset = 0.16 * (shift - (len(engines) - 1) / 2)
        axes.scatter(
            [x for x, _ in points],
            [y + offset for _, y in points],
            s=48,
            marker=MARKERS[index % len(MARKERS)],
            color=colour(index),
            label=engine,
            zorder=3,
        )
    axes.set_xscale("log")
    axes.axvline(FLOAT32_STEP, color=MUTED, linestyle=":", label="one float32 step, $2^{-23}$")
    axes.axvline(1e-4, color=INK, linestyle="--", lw=1.2, label="0.01 %")
    axes.set_xlim(least / 2, max(3e-4, *(value * 5 for _, _, value in rows)))
    axes.set_yticks(range(len(names)), names)
    axes.set_yticks([], minor=True)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    for place in range(len(names) - 1):
        axes.axhline(place + 0.5, color=MUTED, alpha=0.25, lw=0.8)
    axes.set_xlabel("largest relative error against float64")
    figure.legend(loc="outside upper right", ncols=len(engines) + 2)
    worst = max(rows, key=lambda row: row[2])
    alt = f"Largest relative error of every output and engine against the float64 reference; the largest is {worst[2]:.2g} ({worst[0]}, {worst[1]})."
    return Picture(f"agreement{suffix}", "Largest relative error", alt, figure, "", wide=True)


def agreement_table(agreements: Sequence[Agreement], note: str) -> PageTable:
    """Return the errors and matching fractions, one row per output."""
    columns = (
        "model",
        "engine",
        "output",
        "values",
        "largest absolute error",
        "largest relative error",
        *(f"within {text}" for text in LIMITS.values()),
        "out of tolerance",
        "gate",
    )
    rows = []
    for a in agreements:
        gate = words("passed" if a.passed else "failed")
        head = (words(a.bundle), words(f"{a.engine} {a.version}"))
        mark = "good" if a.passed else "bad"
        if not a.outputs:
            blank = tuple(words("–") for _ in range(len(columns) - 4))
            rows.append(Row((*head, words(a.problem or "–"), *blank, gate), a.bundle, mark))
        for o in a.outputs:
            relative = number(o.largest_relative, ".2e")
            if o.is_tiny:
                relative = Cell(f"{relative.text}*", relative.key)
            errors = (number(o.largest_absolute, ".2e"), relative)
            matching = []
            for key in LIMITS:
                share = o.matching.get(key)
                if share is None:
                    matching.append(words("–"))
                else:  # only all values are 100 %, whatever the rounding
                    text = "100 %" if share == 1 else f"{min(100 * share, 99.99):.4g} %"
                    matching.append(Cell(text, share))
            cells = (*head, words(o.output), number(o.values), *errors, *matching, number(o.out_of_tolerance))
            rows.append(Row((*cells, gate), a.bundle, mark))
    if any(o.is_tiny for a in agreements for o in a.outputs):
        note = f"{note} {TINY_NOTE}".strip()
    return PageTable("Errors against the float64 reference, value by value", columns, tuple(rows), note)


def flips_table(agreements: Sequence[Agreement], note: str) -> PageTable | None:
    """Return the decision flips at the working points; None if no engine has any working point."""
    columns = (
        "model",
        "engine",
        "working point",
        "threshold",
        "decisions",
        "flips",
        "95 % interval of the probability",
    )
    rows = [
        Row(
            (
                words(a.bundle),
                words(f"{a.engine} {a.version}"),
                words(f.working_point),
                number(f.threshold, ".6g"),
                number(f.decisions),
                number(f.flips),
                Cell(f"{f.low:.2g} to {f.high:.2g}", f.high),
            ),
            a.bundle,
            "bad" if f.flips else "good",
        )
        for a in agreements
        for f in a.flips
    ]
    return PageTable("Decision flips at the working points", columns, tuple(rows), note) if rows else None
