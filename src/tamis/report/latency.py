"""Figures and table of latency: against batch size, per event, cold and warm, and as ratios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tamis.records import LatencyRow
from tamis.report.canvas import (
    INK,
    MARKERS,
    MUTED,
    batch_axis,
    colour,
    engine_index,
    label,
    new_figure,
    plain_log,
)
from tamis.report.content import Cell, PageTable, Picture, Row, milliseconds, number, significant, words

HLT_BUDGET_NS = 100_000_000
BUDGET = "HLT budget, 100 ms"
# labels in legends; the order is that of preference
MODE_LABELS = {"call": "", "bound": ", bound buffers", "plain": ", engine alone"}


def latency_pictures(rows: Sequence[LatencyRow], bundle: str, suffix: str) -> list[Picture]:
    """Draw the times of one model."""
    rows = [row for row in rows if row.bundle == bundle and row.engine != "null"]
    if not rows:
        return []
    pictures = [_against_batch(rows, bundle, suffix), _per_event(rows, bundle, suffix)]
    if any(row.cold for row in rows):
        pictures.append(_cold(rows, bundle, suffix))
    if any(row.ratio and row.engine not in row.ratio.baseline for row in rows):
        pictures.append(_ratios(rows, bundle, suffix))
    return pictures


def by_engine(rows: Sequence[LatencyRow]) -> dict[str, list[LatencyRow]]:
    """Return each engine's rows in order of batch size, of the first mode that was measured."""
    rows_of: dict[str, list[LatencyRow]] = {}
    for name in sorted({row.engine for row in rows}, key=engine_index):
        by_mode = [[row for row in rows if row.engine == name and row.mode == mode] for mode in MODE_LABELS]
        chosen = next(rows for rows in by_mode if rows)
        rows_of[name] = sorted(chosen, key=lambda row: row.batch)
    return rows_of


def _lines(
    axes: Any, rows: Sequence[LatencyRow], value: Callable[[LatencyRow], float | None], **options: Any
) -> None:
    for name, of_engine in by_engine(rows).items():
        points = [(row.batch, y) for row in of_engine if (y := value(row)) is not None]
        if points:
            index = engine_index(name)
            marker = {"marker": MARKERS[index % len(MARKERS)], "color": colour(index), "label": name}
            axes.plot(*zip(*points, strict=True), **(marker | options))


def _floor(axes: Any, rows: Sequence[LatencyRow], value: Callable[[LatencyRow, float], float]) -> None:
    floor = {row.batch: value(row, row.floor_ns) for row in rows if row.floor_ns}
    if not floor:
        return
    batches = sorted(floor)
    heights = [floor[b] for b in batches]
    axes.plot(batches, heights, color=MUTED, linestyle=":", label="roofline floor of the host")
    if len(batches) > 1:
        axes.fill_between(batches, [h / 1e3 for h in heights], heights, color=MUTED, alpha=0.14, lw=0)


def _bounds(axes: Any, values: Sequence[float], top: float = 3.0) -> None:
    seen = [value for value in values if value > 0]
    axes.set_ylim(min(seen) / 2.2, max(seen) * top)


def _against_batch(rows: list[LatencyRow], bundle: str, suffix: str) -> Picture:
    figure, axes = new_figure()
    for name, of_engine in by_engine(rows).items():
        x, p50 = [r.batch for r in of_engine], [r.warm.p50_ns / 1e6 for r in of_engine]
        axes.fill_between(
            x,
            p50,
            [r.warm.p95_ns / 1e6 for r in of_engine],
            color=colour(engine_index(name)),
            alpha=0.16,
            lw=0,
        )
    _lines(axes, rows, lambda row: row.warm.p50_ns / 1e6)
    _floor(axes, rows, lambda _, floor: floor / 1e6)
    budget = HLT_BUDGET_NS / 1e6
    axes.axhline(budget, color=INK, linestyle="--", linewidth=1.3, label=BUDGET)
    axes.set_yscale("log")
    seen = [r.warm.p50_ns / 1e6 for r in rows] + [r.floor_ns / 1e6 for r in rows if r.floor_ns]
    _bounds(axes, [*seen, budget], top=30)
    batch_axis(axes, [row.batch for row in rows])
    plain_log(axes.yaxis)
    axes.set_ylabel("time per call [ms]")
    axes.legend(loc="upper left", ncols=2)
    label(axes, bundle, "warm, single calls: median, band to p95")
    fastest = min(rows, key=lambda r: r.warm.p50_ns / r.batch)
    alt = (
        f"Median time per call of {bundle} against batch size on logarithmic axes for {', '.join(by_engine(rows))}; "
        f"lowest time per jet: {fastest.engine}, {significant(fastest.warm.p50_ns / 1e6)} ms at batch {fastest.batch}."
    )
    caption = "The line is the median of single calls, the band extends to the 95th percentile. The floor is the least possible time: all arithmetic at the measured peak rate of one core, or all weights read once."
    return Picture(f"latency-{bundle}{suffix}", f"{bundle}: latency", alt, figure, caption, bundle)


def _per_event(rows: list[LatencyRow], bundle: str, suffix: str) -> Picture:
    figure, axes = new_figure()
    _lines(axes, rows, lambda row: row.warm.p50_ns / row.batch / 1e3)
    _floor(axes, rows, lambda row, floor: floor / row.batch / 1e3)
    axes.set_yscale("log")
    values = [r.warm.p50_ns / r.batch / 1e3 for r in rows]
    _bounds(axes, values + [r.floor_ns / r.batch / 1e3 for r in rows if r.floor_ns], top=6)
    batch_axis(axes, [row.batch for row in rows])
    plain_log(axes.yaxis)
    axes.set_ylabel("time per jet [µs]")
    axes.legend(loc="upper right", ncols=2)
    label(axes, bundle, "warm, median")
    alt = f"Median time per jet of {bundle} against batch size, from {significant(max(values))} down to {significant(min(values))} microseconds."
    return Picture(f"time-per-jet-{bundle}{suffix}", f"{bundle}: time per jet", alt, figure, "", bundle)


def _cold(rows: list[LatencyRow], bundle: str, suffix: str) -> Picture:
    figure, axes = new_figure()
    _lines(axes, rows, lambda row: row.warm.p50_ns / 1e6)
    _lines(
        axes,
        rows,
        lambda row: row.cold.p50_ns / 1e6 if row.cold else None,
        linestyle="--",
        mfc="none",
        label=None,
    )
    axes.plot([], [], color=INK, label="warm")
    axes.plot([], [], color=INK, linestyle="--", label="caches evicted")
    axes.set_yscale("log")
    _bounds(axes, [s.p50_ns / 1e6 for r in rows for s in (r.warm, r.cold) if s], top=8)
    batch_axis(axes, [row.batch for row in rows])
    plain_log(axes.yaxis)
    axes.set_ylabel("time per call [ms]")
    axes.legend(loc="upper left", ncols=2)
    label(axes, bundle, "median")
    alt = f"Median time per call of {bundle} warm (solid) and with evicted caches (dashed, open markers) against batch size."
    caption = (
        "Cold: the caches were filled with other data before each call, as between two events in a trigger."
    )
    return Picture(f"cold-{bundle}{suffix}", f"{bundle}: cold and warm", alt, figure, caption, bundle)


def _ratios(rows: list[LatencyRow], bundle: str, suffix: str) -> Picture:
    figure, axes = new_figure()
    baseline = next(row.ratio.baseline for row in rows if row.ratio)
    others = [row for row in rows if row.ratio and f"{row.engine} {row.mode}" != baseline]
    for shift, (name, of_engine) in enumerate(by_engine(others).items()):
        index = engine_index(name)
        ratios = [(row.batch * 1.05 ** (shift - 1), row.ratio) for row in of_engine if row.ratio]
        y = [ratio.median for _, ratio in ratios]
        errors = [[r.median - r.low for _, r in ratios], [r.high - r.median for _, r in ratios]]
        axes.errorbar(
            [x for x, _ in ratios],
            y,
            yerr=errors,
            color=colour(index),
            marker=MARKERS[index % len(MARKERS)],
            capsize=3,
            label=name + MODE_LABELS[of_engine[0].mode],
        )
    axes.axhline(1.0, color=INK, linestyle="--", linewidth=1.2)
    axes.set_yscale("log")
    values = [v for row in others if row.ratio for v in (row.ratio.low, row.ratio.high, 1.0)]
    axes.set_ylim(min(values) / 1.5, max(values) * 2.2)
    batch_axis(axes, [row.batch for row in rows])
    bottom, top = axes.get_ylim()
    ticks = [t for t in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100) if bottom <= t <= top]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_yticks([], minor=True)
    axes.set_ylabel(f"time / time of {baseline.split()[0]}")
    axes.legend(loc="upper right", ncols=2)
    label(axes, bundle, "per round: median and quartiles")
    medians = ", ".join(
        f"{row.engine} {row.ratio.median:.2f} at batch {row.batch}"
        for row in others
        if row.ratio and row.mode == "call"
    )
    alt = f"Time of each engine over that of {baseline} against batch size: {medians}."
    caption = "Above one is slower. Engines were interleaved in shuffled blocks of one run; the ratio is taken round by round."
    return Picture(
        f"ratio-{bundle}{suffix}", f"{bundle}: ratio to {baseline.split()[0]}", alt, figure, caption, bundle
    )


def latency_table(rows: Sequence[LatencyRow], note: str) -> PageTable:
    """Return all measured times."""
    columns = (
        "model",
        "engine",
        "mode",
        "batch",
        "p50 [ms]",
        "p95 [ms]",
        "p99 [ms]",
        "cold p50 [ms]",
        "jets per second",
        "ratio",
        "quartiles",
        "time / floor",
        "share of 100 ms",
    )
    engines = [row for row in rows if row.engine != "null"]  # that one measures the harness
    return PageTable("Latency", columns, tuple(map(_latency_row, engines)), note)


def _latency_row(row: LatencyRow) -> Row:
    quartiles = f"{row.ratio.low:.2f} to {row.ratio.high:.2f}" if row.ratio else "–"
    share = row.warm.p50_ns / HLT_BUDGET_NS
    cells = (
        words(row.bundle),
        words(f"{row.engine} {row.version}"),
        words(row.mode),
        number(row.batch),
        milliseconds(row.warm.p50_ns),
        milliseconds(row.warm.p95_ns),
        milliseconds(row.warm.p99_ns),
        milliseconds(row.cold.p50_ns if row.cold else None),
        Cell(f"{row.events_per_second:,.0f}", row.events_per_second),
        number(row.ratio.median if row.ratio else None, ".2f"),
        Cell(quartiles, row.ratio.low if row.ratio else float("inf")),
        number(row.warm.p50_ns / row.floor_ns if row.floor_ns else None, ".1f"),
        Cell(f"{100 * share:.3g} %", share),
    )
    return Row(cells, row.bundle, "bad" if share > 1 else "")
