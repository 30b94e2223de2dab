"""Sections of a study of placements: throughput against latency, against cores and GPUs, and where the time goes."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

from tamis._base import human_bytes, quantity
from tamis.records import Placement, PlacementKnee, PlacementRecord, PlacementStudy
from tamis.report.canvas import INK, MARKERS, MUTED, colour, label, new_figure, plain_log
from tamis.report.content import Card, Cell, PageTable, Picture, Row, Section, number, significant, words

BOTTLENECKS = ("cores", "GPUs", "links")
PLACEMENT_BARS = 10  # placements whose times are drawn
LABEL_WIDTH = 0.17  # of a name in the plane, as a fraction of its logarithmic axis


def placement_sections(record: PlacementRecord, suffix: str = "") -> list[Section]:
    """Return one section for each size of the events, and a first one across sizes if there are several."""
    drawn = [
        _section(record, study, f"{suffix}-{index}" if index else suffix)
        for index, study in enumerate(record.studies)
    ]
    if len(record.studies) > 1:
        across = Section(
            f"placement-sizes{suffix}", "Placement by event size", "The best placement of each size of the events.",
            (_across(record, suffix),), (_across_table(record),),
        )  # fmt: skip
        drawn.insert(0, across)
    return drawn


def event_size(study: PlacementStudy) -> str:
    """Return the size of the events in words."""
    if study.pile_up is not None:
        return f"pile-up {study.pile_up:.3g}"
    return f"{study.cells_per_event:.0f} cells"


def _section(record: PlacementRecord, study: PlacementStudy, suffix: str) -> Section:
    best, link = study.placements[0], record.link
    stages = ", ".join(one.name for one in study.stages)
    intro = (
        f"{study.name}, {study.events} events of {study.cells_per_event:.0f} cells: every assignment of the stages ({stages}) to the CPU (C) and a GPU (G). "
        f"CPU times are of {record.measured_on.cpu}; link {link.name}: {link.gb_per_s:g} GB/s each way, {link.copy_us:g} us per copy ({link.source}). "
        + " ".join(f"{note[0].upper()}{note[1:]}." for note in record.notes)
    )
    cards = [
        Card("Best placement", best.stages, f"{significant(best.events_per_second)} events/s on {record.cores} cores and {record.gpus} GPUs; limited by the {best.bottleneck}"),
        Card("Latency", f"{significant(best.latency_ms)} ms", "of an event that never waits"),
        *(
            Card(f"Knee in {knee.of}", "none" if knee.count is None else str(knee.count), "from here one more brings less than 5 % of what the first one brings")
            for knee in study.knees
        ),
    ]  # fmt: skip
    pictures = (
        _plane(record, study, suffix),
        *(_scaling(record, study, knee, suffix) for knee in study.knees),
        _times(record, study, suffix),
    )
    title = f"Placement, {event_size(study)}"
    return Section(f"placement{suffix}", title, intro, pictures, tuple(_tables(record, study)), tuple(cards))


def _plane(record: PlacementRecord, study: PlacementStudy, suffix: str) -> Picture:
    figure, axes = new_figure()
    possible = [one for one in study.placements if one.events_per_second > 0]
    for index, bottleneck in enumerate(BOTTLENECKS):
        shown = [one for one in possible if one.bottleneck == bottleneck]
        if shown:
            axes.plot(
                [one.latency_ms for one in shown], [one.events_per_second for one in shown], MARKERS[index],
                color=colour(index), mfc="none", label=f"limited by {bottleneck}",
            )  # fmt: skip
    front = sorted((one for one in possible if one.on_front), key=lambda one: one.latency_ms)
    axes.plot(
        [one.latency_ms for one in front], [one.events_per_second for one in front],
        drawstyle="steps-post", color=INK, linewidth=1.2, label="front", zorder=1,
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    rates = [one.events_per_second for one in possible]
    axes.set_ylim(min(rates) / 1.5, max(rates) * 1.8)
    times = [one.latency_ms for one in possible]
    axes.set_xlim(min(times) / 1.25, max(times) * 1.3)
    left, right = axes.get_xlim()
    for one in _apart(front, LABEL_WIDTH * log(right / left)):
        axes.annotate(
            one.stages.replace(" ", ""), (one.latency_ms, one.events_per_second), xytext=(-3, 7), textcoords="offset points",
            fontsize=9.5, color=INK, ha="center",
        )  # fmt: skip
    plain_log(axes.xaxis)
    plain_log(axes.yaxis)
    axes.set_xlabel("latency of an event [ms]")
    axes.set_ylabel("events per second")
    figure.legend(loc="outside lower center", ncols=4)
    label(axes, event_size(study), _farm(record))
    best = study.placements[0]
    return Picture(
        f"placement-plane{suffix}", "Throughput against latency",
        f"{len(possible)} placements; the highest throughput is {significant(best.events_per_second)} events per second with {best.stages}.",
        figure, "Every point is an assignment of the stages; on the front no other one is better in both.",
    )  # fmt: skip


def _apart(front: Sequence[Placement], least: float) -> list[Placement]:
    """Return the placements of a front from the highest throughput down, without those whose names would overlap."""
    named: list[Placement] = []
    for one in reversed(front):
        if not named or log(named[-1].latency_ms / one.latency_ms) > least:
            named.append(one)
    return named


def _scaling(record: PlacementRecord, study: PlacementStudy, knee: PlacementKnee, suffix: str) -> Picture:
    figure, axes = new_figure()
    counts = [point.count for point in knee.points]
    best = study.placements[0].stages
    axes.plot(
        counts, [point.best_events_per_second for point in knee.points], "--", color=colour(1),
        label=f"best placement for each number of {knee.of}",
    )  # fmt: skip
    axes.plot(counts, [point.events_per_second for point in knee.points], color=colour(0), label=best)
    axes.axvline(
        record.cores if knee.of == "cores" else record.gpus, color=MUTED, linestyle=":", linewidth=1.2, label="as given"
    )  # fmt: skip
    if knee.count is not None and knee.events_per_second is not None:
        axes.plot(
            knee.count, knee.events_per_second, "o", color=INK, ms=8, label=f"knee: {knee.count}", zorder=4
        )
    axes.set_xlim(0, max(counts))
    axes.set_ylim(0, max(point.best_events_per_second for point in knee.points) * 1.1)
    axes.set_xlabel(knee.of)
    axes.set_ylabel("events per second")
    figure.legend(loc="outside lower center", ncols=2)
    other = (
        f"{record.gpus} GPU{'s' if record.gpus != 1 else ''}"
        if knee.of == "cores"
        else f"{record.cores} cores"
    )
    label(axes, event_size(study), f"{other}, {record.link.name}")
    where = "has no knee" if knee.count is None else f"stops growing at {knee.count}"
    return Picture(
        f"placement-{knee.of.lower()}{suffix}", f"Throughput against {knee.of}",
        f"Throughput of {best} against the number of {knee.of}: it {where}.", figure,
    )  # fmt: skip


def _times(record: PlacementRecord, study: PlacementStudy, suffix: str) -> Picture:
    shown = _drawn(study.placements)
    figure, axes = new_figure(size=(6.4, 1.9 + 0.36 * len(shown)))
    starts = [0.0] * len(shown)
    parts = (
        ("CPU", [one.cpu_ms for one in shown]),
        ("GPU", [one.gpu_ms for one in shown]),
        ("link", [one.link_ms for one in shown]),
    )
    for index, (name, values) in enumerate(parts):
        axes.barh(range(len(shown)), values, 0.72, left=starts, color=colour(index), alpha=0.75, label=name)
        starts = [start + value for start, value in zip(starts, values, strict=True)]
    most = max(starts)
    for place, one in enumerate(shown):
        axes.text(
            starts[place] + most / 80,
            place,
            f"{significant(one.events_per_second)}/s",
            va="center",
            fontsize=9.5,
        )
    axes.set_xlim(0, most * 1.16)
    axes.set_yticks(range(len(shown)), [one.stages for one in shown], family="monospace")
    axes.set_yticks([], minor=True)
    axes.tick_params(axis="y", which="both", length=0)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel("time per event [ms]")
    figure.legend(loc="outside lower center", ncols=3)
    label(axes, event_size(study), _farm(record))
    alt = "; ".join(f"{one.stages}: {significant(one.latency_ms)} ms" for one in shown)
    return Picture(
        f"placement-times{suffix}", "Where the time goes", f"Time per event: {alt}.", figure,
        "The best placements, and the one without a GPU; numbers are events per second.",
    )  # fmt: skip


def _drawn(placements: Sequence[Placement]) -> list[Placement]:
    shown = list(placements[:PLACEMENT_BARS])
    return shown + [one for one in placements if "G" not in one.stages and one not in shown]


def _farm(record: PlacementRecord) -> str:
    return f"{record.cores} cores, {record.gpus} GPU{'s' if record.gpus != 1 else ''}, {record.link.name}"


def _tables(record: PlacementRecord, study: PlacementStudy) -> list[PageTable]:
    stages = PageTable(
        "Stages",
        ("stage", "CPU ms", "GPU ms", "source of the GPU time"),
        tuple(
            Row(
                (
                    words(one.name),
                    _value(one.cpu_ms),
                    _value(one.gpu_ms),
                    words(one.gpu_source or "not known"),
                )
            )
            for one in study.stages
        ),
    )
    columns = ("stages", "on the front", "bottleneck", "events/s", "latency ms", "CPU ms", "GPU ms", "link ms", "copies", "to GPU", "to CPU")  # fmt: skip
    rows = tuple(
        Row(
            (
                words(one.stages), words("yes" if one.on_front else ""), words(one.bottleneck), _value(one.events_per_second),
                _value(one.latency_ms), _value(one.cpu_ms), _value(one.gpu_ms), _value(one.link_ms), number(one.copies, "d"),
                Cell(human_bytes(one.to_gpu_bytes), one.to_gpu_bytes), Cell(human_bytes(one.to_cpu_bytes), one.to_cpu_bytes),
            )
        )
        for one in study.placements
    )  # fmt: skip
    note = "throughput = min(cores / CPU time, GPUs / GPU time, GPUs / link time); latency = the sum of the three, without waiting."
    tables = [PageTable("All placements", columns, rows, note), stages]
    if study.simulated:
        tables.append(_simulated_table(record, study))
    if study.purchases and record.rate_hz is not None:
        tables.append(_purchase_table(record, study))
    if study.runs:
        tables.append(_run_table(study))
    return tables


def _simulated_table(record: PlacementRecord, study: PlacementStudy) -> PageTable:
    return PageTable(
        "Simulated",
        ("stages", "formula events/s", "saturated", "offered", "p50 ms", "p99 ms"),
        tuple(
            Row(
                (
                    words(one.stages), _value(one.formula_events_per_second), _value(one.saturated_events_per_second),
                    _value(one.offered_events_per_second), _value(one.latency.p50_us / 1e3), _value(one.latency.p99_us / 1e3),
                )
            )
            for one in study.simulated
        ),
        f"Discrete events; the latency is that of random arrivals at {100 * record.load:.0f} % of the throughput by the formula, with waiting.",
    )  # fmt: skip


def _purchase_table(record: PlacementRecord, study: PlacementStudy) -> PageTable:
    assert record.rate_hz is not None  # noqa: S101 - purchases are for a rate
    return PageTable(
        f"To buy for {quantity(record.rate_hz, 'Hz')}",
        ("stages", "cores", "GPUs", "cost", "events/s at full load", "latency ms"),
        tuple(
            Row(
                (
                    words(one.stages), number(one.cores, "d"), number(one.gpus, "d"), number(one.cost),
                    _value(one.events_per_second), _value(one.latency_ms),
                )
            )
            for one in study.purchases
        ),
        f"At {100 * record.load:.0f} % load; the first row is the cheapest, or without prices the one with the fewest devices.",
    )  # fmt: skip


def _run_table(study: PlacementStudy) -> PageTable:
    return PageTable(
        "Measured with all stages on the CPU",
        ("record of", "workers", "cores / CPU time", "measured events/s", "ms outside the stages"),
        tuple(
            Row(
                (
                    words(one.source), number(one.workers, "d"), _value(one.predicted_events_per_second),
                    _value(one.measured_events_per_second), _value(one.outside_ms),
                )
            )
            for one in study.runs
        ),
        "Measured rates are of wall time, with reading and writing, which --host-ms adds to the prediction.",
    )  # fmt: skip


def _across(record: PlacementRecord, suffix: str) -> Picture:
    figure, axes = new_figure()
    of_pile_up = all(study.pile_up is not None for study in record.studies)
    sizes = [study.pile_up if of_pile_up else study.cells_per_event for study in record.studies]
    best = [study.placements[0] for study in record.studies]
    curves: list[tuple[str, list[Any]]] = [
        ("best placement", best),
        ("all on the CPU", [_only(study, "C") for study in record.studies]),
        ("all on the GPU", [_only(study, "G") for study in record.studies]),
    ]
    for index, (name, values) in enumerate(curves):
        points = [
            (size, one.events_per_second) for size, one in zip(sizes, values, strict=True) if one is not None
        ]
        if points:
            axes.plot(
                *zip(*points, strict=True), marker=MARKERS[index], color=colour(index), mfc="none", label=name,
                linestyle=("-", "--", "-.")[index], ms=9 - 2 * index,
            )  # fmt: skip
    for size, one in zip(sizes, best, strict=True):
        axes.annotate(
            one.stages.replace(" ", ""), (size, one.events_per_second), xytext=(0, 9), textcoords="offset points",
            ha="center", fontsize=9.5, color=INK,
        )  # fmt: skip
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low / 1.2, high * 3)
    axes.margins(x=0.1)
    plain_log(axes.yaxis)
    axes.set_xlabel("pile-up collisions" if of_pile_up else "cells per event")
    axes.set_ylabel("events per second")
    axes.legend(loc="upper right")
    label(axes, record.detector, _farm(record))
    alt = "; ".join(
        f"{event_size(study)}: {one.stages}" for study, one in zip(record.studies, best, strict=True)
    )
    return Picture(f"placement-sizes{suffix}", "Best placement by event size", alt, figure)


def _only(study: PlacementStudy, letter: str) -> Placement | None:
    return next((one for one in study.placements if set(one.stages.split()) == {letter}), None)


def _across_table(record: PlacementRecord) -> PageTable:
    rows = []
    for study in record.studies:
        best, alone = study.placements[0], _only(study, "C")
        rows.append(
            Row(
                (
                    words(event_size(study)), words(best.stages), words(best.bottleneck), _value(best.events_per_second),
                    _value(None if alone is None else alone.events_per_second),
                )
            )
        )  # fmt: skip
    return PageTable(
        "Best placements",
        ("events", "stages", "bottleneck", "events/s", "events/s without a GPU"),
        tuple(rows),
    )


def _value(value: float | None) -> Cell:
    return number(None) if value is None else Cell(significant(value), value)
