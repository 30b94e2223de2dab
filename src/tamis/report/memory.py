"""Figures and tables of memory and loading times."""

from __future__ import annotations

from collections.abc import Sequence

from tamis.records import LoadRow, MemoryRow
from tamis.report.canvas import MARKERS, batch_axis, colour, engine_index, label, new_figure
from tamis.report.content import Cell, PageTable, Picture, Row, milliseconds, number, words

MB = 1e6


def memory_pictures(rows: Sequence[MemoryRow], bundle: str, suffix: str) -> list[Picture]:
    """Draw the memory of one model."""
    rows = [row for row in rows if row.bundle == bundle]
    pictures = []
    if len({row.batch for row in rows}) > 1:
        pictures.append(_against_batch(rows, bundle, suffix))
    longest = {}  # each engine's run over the most events
    for name in _engines(rows):
        tracked = [row for row in rows if row.engine == name and len(row.curve) > 1]
        if tracked:
            longest[name] = max(tracked, key=lambda row: row.events)
    if longest:
        pictures.append(_against_events(longest, bundle, suffix))
    return pictures


def _engines(rows: Sequence[MemoryRow]) -> list[str]:
    return sorted({row.engine for row in rows}, key=engine_index)


def _against_batch(rows: list[MemoryRow], bundle: str, suffix: str) -> Picture:
    figure, axes = new_figure()
    top = 0.0
    for name in _engines(rows):
        # the shortest run at each batch size; longer ones show memory against the number of events
        shortest = {r.batch: r for r in sorted(rows, key=lambda r: -r.events) if r.engine == name}
        points = [shortest[batch] for batch in sorted(shortest)]
        index = engine_index(name)
        style = {"color": colour(index), "marker": MARKERS[index % len(MARKERS)]}
        peaks = [r.rss_peak_bytes / MB for r in points]
        top = max(top, *peaks)
        axes.plot([r.batch for r in points], peaks, label=f"{name}, process", **style)
        heap = [(r.batch, r.allocated_peak_bytes / MB) for r in points if r.allocated_peak_bytes]
        if heap:
            axes.plot(*zip(*heap, strict=True), label=f"{name}, heap", linestyle="--", mfc="none", **style)
    axes.set_ylim(0, top * 1.5)
    batch_axis(axes, [row.batch for row in rows])
    axes.set_ylabel("peak memory [MB]")
    axes.legend(loc="upper left", ncols=2)
    label(axes, bundle, "resident set and heap")
    highest = max(rows, key=lambda r: r.rss_peak_bytes)
    alt = f"Peak memory of {bundle} against batch size; highest resident set {highest.rss_peak_bytes / MB:.0f} MB with {highest.engine}."
    caption = "Process: high-water mark of the resident set, including Python and libraries. Heap: high-water mark of the allocations tracked by memray."
    return Picture(
        f"memory-batch-{bundle}{suffix}", f"{bundle}: memory against batch", alt, figure, caption, bundle
    )


def _against_events(long: dict[str, MemoryRow], bundle: str, suffix: str) -> Picture:
    figure, axes = new_figure()
    top = 0.0
    for name, row in long.items():
        index = engine_index(name)
        events, rss = zip(*row.curve, strict=True)
        axes.plot(
            events,
            [value / MB for value in rss],
            color=colour(index),
            marker=MARKERS[index % len(MARKERS)],
            markevery=max(1, len(events) // 8),
            label=f"{name}, batch {row.batch}",
        )
        top = max(top, max(rss) / MB)
    axes.set_ylim(0, top * 1.45)
    axes.set_xlim(0, max(row.events for row in long.values()) * 1.03)
    axes.set_xlabel("processed jets")
    axes.set_ylabel("resident set [MB]")
    axes.legend(loc="upper left")
    label(axes, bundle, "one process per engine")
    ranges = ", ".join(
        f"{name} {row.curve[0][1] / MB:.0f} to {row.curve[-1][1] / MB:.0f} MB over {row.events} jets"
        for name, row in long.items()
    )
    caption = "A flat line means that memory does not depend on the number of scored jets."
    alt = f"Resident set of {bundle} against the number of processed jets: {ranges}."
    return Picture(
        f"memory-events-{bundle}{suffix}", f"{bundle}: memory against jets", alt, figure, caption, bundle
    )


def memory_table(rows: Sequence[MemoryRow], note: str) -> PageTable:
    """Return all memory measurements."""
    columns = (
        "model",
        "engine",
        "batch",
        "jets",
        "before [MB]",
        "opened [MB]",
        "after [MB]",
        "peak RSS [MB]",
        "peak heap [MB]",
    )
    table_rows = []
    for row in rows:
        sizes = (row.rss_before_bytes, row.rss_open_bytes, row.rss_after_bytes, row.rss_peak_bytes)
        heap = None if row.allocated_peak_bytes is None else row.allocated_peak_bytes / MB
        cells = (words(row.bundle), words(row.engine), number(row.batch), number(row.events, ".0f"))
        table_rows.append(
            Row((*cells, *(number(s / MB, ".0f") for s in sizes), number(heap, ".1f")), row.bundle)
        )
    return PageTable("Memory, one process per row", columns, tuple(table_rows), note)


def load_picture(rows: Sequence[LoadRow], suffix: str) -> Picture:
    """Draw import, open and first call as stacked bars."""
    figure, axes = new_figure(size=(11.0, 1.6 + 0.42 * len(rows)))
    parts = (("import", "import_ns"), ("open and verify", "open_ns"), ("first call", "first_call_ns"))
    names = [f"{row.bundle}, {row.engine}" for row in rows]
    left = [0.0] * len(rows)
    for index, (name, field) in enumerate(parts):
        widths = [getattr(row, field) / 1e6 for row in rows]
        hatch = ("", "//", "..")[index]
        axes.barh(
            names,
            widths,
            left=left,
            height=0.6,
            color=colour(index),
            label=name,
            hatch=hatch,
            edgecolor="white",
            lw=0,
        )
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for place, total in enumerate(left):
        axes.text(total + max(left) * 0.01, place, f"{total:.0f} ms", va="center", fontsize=11)
    axes.set_xlim(0, max(left) * 1.16)
    axes.invert_yaxis()
    axes.tick_params(axis="y", which="both", length=0)
    axes.minorticks_off()
    axes.set_xlabel("time [ms]")
    figure.legend(loc="outside upper right", ncols=3)
    totals = "; ".join(f"{name} {total:.0f} ms" for name, total in zip(names, left, strict=True))
    alt = f"Time from the start of Python's imports to the end of the first call: {totals}."
    return Picture(f"loading{suffix}", "Loading", alt, figure, "Medians over fresh processes.", wide=True)


def load_table(rows: Sequence[LoadRow], note: str) -> PageTable:
    """Return the times of import, open, first and second call."""
    columns = (
        "model",
        "engine",
        "processes",
        "import [ms]",
        "open and verify [ms]",
        "first call [ms]",
        "second call [ms]",
        "first / second",
    )
    table_rows = []
    for row in rows:
        times = (row.import_ns, row.open_ns, row.first_call_ns, row.second_call_ns)
        ratio = row.first_call_ns / row.second_call_ns if row.second_call_ns else None
        cells: tuple[Cell, ...] = (words(row.bundle), words(row.engine), number(row.processes))
        table_rows.append(Row((*cells, *map(milliseconds, times), number(ratio, ".1f")), row.bundle))
    return PageTable("Import, open, first call", columns, tuple(table_rows), note)
