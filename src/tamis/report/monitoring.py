"""Sections of data-quality monitoring: what became of the blocks of a fill, and how good monitors are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tamis.measure import AnyRecord
from tamis.records import FillRecord, FillTrend, MonitorComparison, MonitorEvaluation
from tamis.report.canvas import INK, MUTED, colour, label, new_figure
from tamis.report.content import Card, Cell, PageTable, Picture, Row, Section, number, words

# Colour and marker of each state: they differ in both.
STATE_MARKS = {
    "good": (colour(0), "."),
    "bad": (colour(4), "x"),
    "unscored": (colour(3), "^"),
    "no data": (MUTED, "v"),
    "no beam": (colour(5), "1"),
    "unknown mode": (colour(2), "s"),
}
LEAST_SCORE = 1e-2
DRAWN_BLOCKS = 4000  # of a run; of more, those with the highest scores of their neighbours


def monitor_sections(records: Sequence[tuple[Path, AnyRecord]]) -> list[Section]:
    """Return the sections of all records of monitors."""
    found: list[Section] = []
    for number_of, (_, record) in enumerate(records):
        suffix = f"-{number_of}"
        if isinstance(record, FillRecord):
            found.append(_fill(record, suffix))
        elif isinstance(record, MonitorEvaluation):
            found.append(_evaluation(record, suffix))
        elif isinstance(record, MonitorComparison):
            found.append(_comparison(record, suffix))
    return found


def _fill(record: FillRecord, suffix: str) -> Section:
    certified = record.luminosity.get("certified", 0.0)
    cards = (
        Card("Certified", f"{100 * certified:.2f} %", f"of the luminosity: {record.states.get('good', 0)} of {record.blocks} blocks"),
        Card("Bad", str(record.states.get("bad", 0)), f"blocks, in {len(record.defects)} intervals"),
        Card("Alarms", str(record.alarms), f"{record.notes} notes of persons, {record.late} late or doubled parts"),
    )  # fmt: skip
    losses = PageTable(
        "Luminosity",
        ("what became of it", "share [%]"),
        tuple(Row((words(what), number(100 * share, ".2f"))) for what, share in record.luminosity.items()),
    )
    defects = PageTable(
        "Defects",
        ("run", "first block", "last block", "defect", "region", "quantity", "direction", "seconds"),
        tuple(
            Row(
                (
                    number(one.run), number(one.first_block), number(one.last_block), words(one.defect), words(one.region), words(one.quantity),
                    words(one.direction), number(one.seconds),
                )
            )
            for one in record.defects
        ),
    )  # fmt: skip
    intro = f"{record.name}: each block has one state, and only good ones are certified. Scores are over their limit: above 1 a block is bad."
    pictures = tuple(_trend(trend, suffix) for trend in record.trends)
    return Section(f"fill{suffix}", "Data quality", intro, pictures, (losses, defects), cards)


def _trend(trend: FillTrend, suffix: str) -> Picture:
    """Draw the scores of a run, and its luminosity."""
    figure, axes = new_figure(size=(12.6, 4.2))
    blocks, scores = np.array(trend.blocks), np.maximum(np.array(trend.scores), LEAST_SCORE)
    states = np.array(trend.states)
    shown = _highest(scores)
    for state, (tint, marker) in STATE_MARKS.items():
        own = shown[states[shown] == state]
        if len(own):
            axes.plot(
                blocks[own], scores[own], marker, color=tint, label=state, markersize=5, linestyle="none"
            )
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_yscale("log")
    axes.set_xlabel("luminosity block")
    axes.set_ylabel("score / limit")
    right = axes.twinx()
    right.plot(blocks[shown], np.array(trend.luminosity)[shown], color=MUTED, linewidth=1)
    right.set_ylabel("luminosity", color=MUTED)
    right.set_ylim(0, 1.3 * max([*trend.luminosity, 1e-9]))
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(STATE_MARKS), frameon=False)
    label(axes, f"run {trend.run}")
    bad = int(np.count_nonzero(states == "bad"))
    alt = f"score of the {len(blocks)} blocks of run {trend.run} over their limit; {bad} are bad"
    caption = "The line is the luminosity; blocks without a score lie at the bottom."
    return Picture(f"fill{suffix}-{trend.run}", f"run {trend.run}", alt, figure, caption, wide=True)


def _highest(scores: np.ndarray) -> np.ndarray:
    """Return which blocks are drawn: all of them, or of many the highest of some neighbours."""
    if len(scores) <= DRAWN_BLOCKS:
        return np.arange(len(scores))
    pieces = np.array_split(np.arange(len(scores)), DRAWN_BLOCKS)
    return np.array([piece[np.argmax(scores[piece])] for piece in pieces])


def _evaluation(record: MonitorEvaluation, suffix: str) -> Section:
    rate = 1e4 * record.false_alarms / max(1, record.good_blocks)
    cards = (
        Card("False alarms", f"{record.false_alarms}", f"on {record.good_blocks} good blocks: {rate:.2g} in 10,000, at most {1e4 * record.false_upper:.2g} at 95 %"),
    )  # fmt: skip
    columns = ("fault", "faults", "found", "delay [blocks]", "blocks alone", "bad [%]", "region [%]", "quantity [%]", "defect [%]")  # fmt: skip
    rows = [
        Row(
            (
                words(one.fault), number(one.faults), number(one.faults_found), _delay(one.median_delay_blocks), number(one.blocks), _share(one.found, one.blocks),
                _share(one.region, one.found), _share(one.quantity, one.found), _share(one.named, one.found),
            )
        )
        for one in record.kinds
    ]  # fmt: skip
    note = "Blocks alone have one fault only; region, quantity and defect are those of the explanation of bad ones, the defect among the first two."
    tables = (PageTable("Faults", columns, tuple(rows), note),) if rows else ()
    pictures = (_found(record, suffix),) if rows else ()
    intro = f"{record.bundle} on {record.stream}: {record.blocks} blocks whose faults are known, {record.unscored} of them unscored."
    return Section(f"monitor{suffix}", "Monitor", intro, pictures, tables, cards)


def _found(record: MonitorEvaluation, suffix: str) -> Picture:
    figure, axes = new_figure(size=(6.4, 1.6 + 0.4 * len(record.kinds)))
    for place, one in enumerate(reversed(record.kinds)):
        share = one.found / max(1, one.blocks)
        axes.barh(place, share, color=colour(0), height=0.6)
        axes.annotate(f"{one.found} of {one.blocks}", (share, place), (-6, 0), textcoords="offset points", va="center", ha="right", fontsize=10, color="white")  # fmt: skip
    axes.set_yticks(range(len(record.kinds)), [one.fault for one in reversed(record.kinds)], fontsize=11)
    axes.tick_params(axis="y", which="both", length=0)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("share of blocks that are bad")
    label(axes, record.mode, record.bundle)
    alt = ", ".join(f"{one.fault} {one.found} of {one.blocks}" for one in record.kinds)
    return Picture(f"found{suffix}", "blocks with one fault", alt, figure)


def _comparison(record: MonitorComparison, suffix: str) -> Section:
    differences = {one.against: one for one in record.differences}
    rows = []
    for one in record.monitors:
        less = differences.get(one.name)
        rows.append(
            Row(
                (
                    words(one.name), number(one.recall, ".4f"), _interval(less.recall_interval if less else None), number(one.vus_pr, ".4f"),
                    _interval(less.vus_pr_interval if less else None),
                )
            )
        )  # fmt: skip
    first = record.monitors[0].name
    columns = ("monitor", "recall", f"less than {first} by", "VUS-PR", f"less than {first} by ")
    note = f"Recall at {record.false_rate:g} false alarms per good block; differences on the same blocks, with intervals of 95 %; margins of VUS-PR up to {record.margin_blocks} blocks."
    intro = f"Monitors on {record.stream}: {record.blocks} blocks, {100 * record.prevalence:.1f} % of them with faults."
    table = PageTable("Monitors on the same blocks", columns, tuple(rows), note)
    return Section(f"monitors{suffix}", "Monitors", intro, (), (table,))


def _interval(ends: tuple[float, float] | None) -> Cell:
    return Cell("–", 0.0) if ends is None else Cell(f"{ends[0]:.4f} to {ends[1]:.4f}", ends[0])


def _share(part: int, whole: int) -> Cell:
    return number(100 * part / whole, ".1f") if whole else Cell("–", -1.0)


def _delay(blocks: float | None) -> Cell:
    return Cell("–", float("inf")) if blocks is None else number(blocks)
