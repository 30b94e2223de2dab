"""Figures and tables of runs of a menu: outcomes of events, time per step, filled histograms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamis.report.canvas import INK, colour, label, new_figure, plain_log
from tamis.report.content import Cell, PageTable, Picture, Row, number, significant, words
from tamis.trigger import HistogramSum, RunSummary, TimeLine, account, concurrent_times

TIME_PARTS = ("filter", "python", "features", "model", "input and output", "framework", "one-off")
SMALL_SHARE = 0.002  # of the run; smaller lines are not drawn
LABEL_LENGTH = 34  # characters of a label; longer ones are cut


def run_pictures(run: RunSummary, suffix: str) -> list[Picture]:
    """Draw one run."""
    drawn = [_shares(run, suffix), _spread(run, suffix)]
    drawn += [_histogram(name, filled, suffix) for name, filled in run.histograms.items()]
    return [picture for picture in drawn if picture is not None]


def _shares(run: RunSummary, suffix: str) -> Picture:
    lines = sorted((line for line in account(run) if line.share > SMALL_SHARE), key=lambda line: line.share)
    figure, axes = new_figure(size=(6.4, 0.8 + 0.34 * max(4, len(lines))))
    for place, line in enumerate(lines):
        axes.barh(
            place,
            100 * line.share,
            color=colour(TIME_PARTS.index(line.part) if line.part in TIME_PARTS else 9),
            height=0.7,
        )
        axes.text(100 * line.share, place, f" {100 * line.share:.1f}", va="center", fontsize=10)
    labels = [line.label for line in lines]
    shortened = [text if len(text) <= LABEL_LENGTH else f"{text[: LABEL_LENGTH - 1]}…" for text in labels]
    axes.set_yticks(range(len(lines)), shortened, fontsize=10)
    axes.tick_params(axis="y", which="both", length=0)
    axes.set_xlim(0, 115 * max((line.share for line in lines), default=1.0))
    axes.set_xlabel("share of the run [%]")
    label(axes, "", f"{run.menu}, {run.mode}")
    alt = ", ".join(f"{line.label} {100 * line.share:.1f} %" for line in reversed(lines))
    return Picture(
        f"time{suffix}", f"{run.menu}: where the time went", alt, figure,
        "Together, these lines are the whole time of the run's processes.", run.menu,
    )  # fmt: skip


def _spread(run: RunSummary, suffix: str) -> Picture | None:
    """Draw the distribution of the time per event; None if the run did not time single events."""
    whole = next((line for line in concurrent_times(run) if line.label == "event"), None)
    if whole is None:
        return None
    time = run.times["event"]
    figure, axes = new_figure()
    edges = 1.01 ** np.arange(min(time.bins), max(time.bins) + 12, 10) / 1e6
    counts, _ = np.histogram(1.01 ** (np.array(time.bins) + 0.5) / 1e6, edges, weights=time.counts)
    axes.stairs(counts, edges, color=INK, fill=False)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(0.5, None)
    for index, (name, value) in enumerate(
        (("p50", whole.p50_ns), ("p99", whole.p99_ns), ("p99.9", whole.p999_ns))
    ):
        axes.axvline(
            value / 1e6, color=colour(index), linestyle="--", label=f"{name} {significant(value / 1e6)} ms"
        )
    plain_log(axes.xaxis)
    axes.set_xlabel("time per event [ms]")
    axes.set_ylabel("events")
    axes.legend()
    label(axes, run.menu, "one event at a time")
    alt = (
        f"time per event: median {significant(whole.p50_ns / 1e6)} ms, p99.9 {significant(whole.p999_ns / 1e6)} ms, "
        f"longest {significant(whole.most_ns / 1e6)} ms"
    )
    return Picture(f"event-time{suffix}", f"{run.menu}: time per event", alt, figure, "", run.menu)


def _histogram(name: str, filled: HistogramSum, suffix: str) -> Picture:
    figure, axes = new_figure()
    edges = np.linspace(filled.low, filled.high, len(filled.counts) + 1)
    axes.stairs(filled.counts, edges, color=INK)
    occupied = np.flatnonzero(filled.counts)
    if max(filled.counts, default=0) > 10:
        axes.set_yscale("log")
        axes.set_ylim(0.5, 2 * max(filled.counts))
    # The range of the menu, without its empty end if that is the larger part.
    last = edges[occupied[-1] + 1] if len(occupied) else filled.high
    is_cut = last - filled.low < 0.5 * (filled.high - filled.low)
    axes.set_xlim(filled.low, filled.low + 1.1 * (last - filled.low) if is_cut else filled.high)
    axes.set_xlabel(filled.title or name)
    axes.set_ylabel("entries")
    label(axes, "", f"{filled.below} below, {filled.above} above")
    alt = f"histogram of {name}: {sum(filled.counts)} entries, {filled.below} below and {filled.above} above its edges"
    return Picture(
        f"filled-{name}{suffix}",
        name,
        alt,
        figure,
        "All events of the run that reach it, whatever their outcome.",
    )


def run_tables(run: RunSummary, note: str) -> list[PageTable]:
    """Return the tables of counts and times of one run."""
    counts, lines = run.counts, account(run)
    total = max(1, counts.entered - counts.masked)
    outcome_counts = [
        ("accepted", counts.accepted),
        ("rejected", counts.rejected),
        ("debug", counts.debug),
        ("unreadable", counts.unreadable),
    ]
    if counts.masked:
        outcome_counts.append(("outside the luminosity mask", counts.masked))
    rows = [("all events", counts.entered), *outcome_counts]
    rows += [(f"path {name}", n) for name, n in counts.paths.items()]
    rows += [(f"stream {name}", n) for name, n in counts.streams.items()]
    rows += [(f"debug: {name}", n) for name, n in counts.reasons.items()]
    tables = [
        PageTable(
            f"{run.menu}: outcomes of the events",
            ("", "events", "%"),
            tuple(
                Row((words(name), number(n, "d"), number(100 * n / total, ".3f")), run.menu)
                for name, n in rows
            ),
            note,
        ),
        PageTable(
            f"{run.menu}: time per event",
            ("step", "part", "events", "mean µs", "p50", "p95", "p99", "p99.9", "max", "% of the run"),
            tuple(_time_row(line, run.menu) for line in (*lines, *concurrent_times(run)) if line.events),
            "Per event that reached the step. Reading runs in parallel with the computing and is not part of the sum.",
        ),
        PageTable(
            f"{run.menu}: one-off work",
            ("", "seconds per run", "% of the run"),
            tuple(
                Row(
                    (
                        words(line.label),
                        Cell(significant(line.total_ns / 1e9), line.total_ns / 1e9),
                        number(100 * line.share, ".2f"),
                    ),
                    run.menu,
                )
                for line in lines
                if not line.events
            ),
            "Opening models and files, compiling, and joining the output: the same whether the run has a thousand events or a million.",
        ),
    ]
    if run.losses:
        tables.append(
            PageTable(
                f"{run.menu}: files that could not be opened and entries that could not be read",
                ("file", "from", "to", "reason"),
                tuple(
                    Row(
                        (
                            words(loss.file),
                            number(loss.start, "d"),
                            number(loss.stop, "d"),
                            words(loss.reason),
                        ),
                        run.menu,
                    )
                    for loss in run.losses
                ),
            )
        )
    return tables


def _time_row(line: TimeLine, model: str) -> Row:
    values = (line.mean_ns, line.p50_ns, line.p95_ns, line.p99_ns, line.p999_ns, line.most_ns)
    cells = [number(None) if v != v else Cell(significant(v / 1e3), v) for v in values]
    return Row(
        (
            words(line.label),
            words(line.part),
            number(line.events, "d"),
            *cells,
            number(100 * line.share, ".2f"),
        ),
        model,
    )


def outcomes(runs: Sequence[RunSummary]) -> str:
    """Return the counts of some runs in one sentence."""
    return "; ".join(f"{run.menu}: {run.outcomes}" for run in runs)
