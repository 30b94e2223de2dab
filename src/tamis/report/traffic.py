"""Figures and table of loads on a server: latency against rate, throughput against streams, parts of the latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tamis.records import LoadPoint, Scenario, TrafficRecord
from tamis.report.canvas import INK, LINES, batch_axis, colour, label, new_figure, plain_log, save, style
from tamis.report.content import Cell, PageTable, Picture, Row, number, significant, words
from tamis.report.traffic_lines import Line, lines_of

CLOSED_SCENARIOS = (Scenario.CLOSED, Scenario.OFFLINE)
Quantity = Callable[[LoadPoint], float]
QUANTILES: tuple[tuple[str, Quantity], ...] = (
    ("p50", lambda point: point.p50_us / 1e3),
    ("p99", lambda point: point.p99_us / 1e3),
    ("p99.9", lambda point: point.p999_us / 1e3),
)
P99 = QUANTILES[1:2]
FAILED = "open: some requests failed"
SHORT = 30  # characters of a label that fits into a legend of two columns
BARS = 5  # drawn per line; the table has all loads
LOG_RANGE = 30  # rates that span a larger factor are drawn on a logarithmic axis


def draw_traffic(records: Sequence[TrafficRecord], folder: Path) -> list[Path]:
    """Draw loads as PNG and PDF files; return the PNGs."""
    with style():
        pictures = traffic_pictures(records)
        for picture in pictures:
            save(picture.figure, folder, picture.name)
    return [folder / f"{picture.name}.png" for picture in pictures]


def traffic_pictures(records: Sequence[TrafficRecord]) -> list[Picture]:
    """Draw all models together, and each model with its quantiles and the parts of its latency."""
    lines = lines_of(records)
    models = list(dict.fromkeys(line.model for line in lines))
    drawn = []
    if len(models) > 1:
        drawn += [
            _against_rate(lines, "all models", "all", P99),
            _against_streams(lines, "all models", "all"),
        ]
    for model in models:
        of_model = [line for line in lines if line.model == model]
        drawn.append(_against_rate(of_model, model, model, QUANTILES))
        drawn.append(_against_streams(of_model, model, model))
        drawn.append(_split(of_model, model, (Scenario.SERVER,), "rate"))
        drawn.append(_split(of_model, model, CLOSED_SCENARIOS, "streams"))
    return [picture for picture in drawn if picture is not None]


def _against_rate(
    lines: Sequence[Line], title: str, name: str, quantiles: Sequence[tuple[str, Quantity]]
) -> Picture | None:
    figure, axes = new_figure()
    rates: list[float] = []
    values: list[float] = []
    failed = 0
    for line in lines:
        for name_of_quantile, quantity in quantiles:
            x, y = line.values(Line.rate_hz, quantity, Scenario.SERVER)
            dashes = (
                LINES[[q for q, _ in QUANTILES].index(name_of_quantile)] if len(quantiles) > 1 else LINES[0]
            )
            axes.plot(x, y, linestyle=dashes, **line.look)
            # open markers: some requests failed, and the latencies count only the answered ones
            lost = {line.rate_hz(point) for point in line.points(Scenario.SERVER) if point.failed}
            marked = [(rate, value) for rate, value in zip(x, y, strict=True) if rate in lost]
            if marked:
                axes.plot(*zip(*marked, strict=True), **(line.look | {"mfc": "white", "linestyle": "none"}))
            failed += len(marked)
            rates += x
            values += y
    if not rates:
        return None
    if max(rates) > LOG_RANGE * min(rates):
        axes.set_xscale("log")
        plain_log(axes.xaxis)
    else:
        axes.set_xlim(0, 1.05 * max(rates))
    axes.set_yscale("log")
    loaded = [line for line in lines if line.points(Scenario.SERVER)]
    _legend(axes, loaded, [quantile for quantile, _ in quantiles] if len(quantiles) > 1 else [])
    if failed:
        axes.plot([], [], color=INK, marker="o", mfc="white", linestyle="none", label=FAILED)
        _place_legend(axes)
    axes.set_ylim(min(values) / 1.6, max(values) * (6 if len(loaded) < 3 else 25))
    plain_log(axes.yaxis)
    axes.set_xlabel("requests per second")
    axes.set_ylabel("latency [ms]" if len(quantiles) > 1 else f"{quantiles[0][0]} latency [ms]")
    label(axes, title, "random arrivals")
    sentences = []
    for line in loaded:
        x, y = line.values(Line.rate_hz, QUANTILES[1][1], Scenario.SERVER)
        low, high = (f"{significant(y[i])} ms at {significant(x[i])} requests per second" for i in (0, -1))
        sentences.append(f"{line.label}: p99 {low}, {high}")
    alt = "; ".join(sentences)
    caption = "Open loop: requests arrive at random, whether or not earlier ones are answered. The server saturates where a curve turns upwards."
    model = title if name == title else ""
    return Picture(f"service-rate-{name}", f"{title}: latency against rate", alt, figure, caption, model)


def _against_streams(lines: Sequence[Line], title: str, name: str) -> Picture | None:
    loaded = [line for line in lines if line.points(*CLOSED_SCENARIOS)]
    if not loaded:
        return None
    figure, (left, right) = new_figure(2, (11.5, 4.6))
    highest, streams = [], []
    for line in loaded:
        x, y = line.values(Line.streams, lambda point: point.requests_per_s, *CLOSED_SCENARIOS)
        left.plot(x, y, **line.look)
        right.plot(*line.values(Line.streams, QUANTILES[1][1], *CLOSED_SCENARIOS), **line.look)
        streams += [round(n) for n in x]
        highest.append(f"{line.label}: at most {significant(max(y))} requests per second")
    for axes, what in ((left, "requests per second"), (right, "p99 latency [ms]")):
        batch_axis(axes, streams, "requests at a time")
        axes.set_ylabel(what)
    left.set_ylim(0, left.get_ylim()[1] * (1.12 + 0.08 * len(loaded)))
    right.set_yscale("log")
    low, high = right.get_ylim()
    ticks = [t * 10.0**e for e in range(-3, 6) for t in (1, 2, 5) if low <= t * 10.0**e <= high]
    right.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    right.set_yticks([], minor=True)
    _legend(left, loaded, [])
    label(left, title, "throughput")
    label(right, title, "p99")
    caption = (
        "Closed loop: a constant number of requests is in flight; a new one is sent when one is answered."
    )
    model = title if name == title else ""
    return Picture(
        f"service-streams-{name}", f"{title}: throughput against concurrency", "; ".join(highest), figure,
        caption, model, wide=True,
    )  # fmt: skip


def _legend(axes: Any, lines: Sequence[Line], quantiles: Sequence[str]) -> None:
    """Add a legend of colours (lines) and dashes (quantiles)."""
    for line in lines:
        axes.plot([], [], label=line.label, **line.look)
    for place, quantile in enumerate(quantiles):
        axes.plot([], [], color=INK, linestyle=LINES[place], label=quantile)
    _place_legend(axes)


def _place_legend(axes: Any) -> None:
    entries = len(axes.get_legend_handles_labels()[0])
    longest = max(len(text) for text in axes.get_legend_handles_labels()[1])
    axes.legend(loc="upper left", ncols=2 if entries > 3 and longest < SHORT else 1)


LATENCY_PARTS: tuple[tuple[str, Quantity], ...] = (
    ("queue", lambda point: point.server.queue_us if point.server else 0.0),
    ("model", lambda point: point.server.infer_us if point.server else 0.0),
    (
        "stacking and splitting arrays",
        lambda point: point.server.input_us + point.server.output_us if point.server else 0.0,
    ),
    ("transport and client", lambda point: max(0.0, point.transport_us or 0.0)),
)


def _split(lines: Sequence[Line], model: str, scenarios: Sequence[Scenario], name: str) -> Picture | None:
    """Draw the parts of the mean latency as a stacked bar for each load."""
    bars = [
        (line, load, [float(np.mean([part(point) for point in points])) for _, part in LATENCY_PARTS])
        for line in lines
        for load, points in line.some_loads(BARS, *scenarios).items()
        if all(point.server for point in points)
    ]
    if not bars:
        return None
    figure, axes = new_figure(size=(6.4, 1.6 + 0.3 * len(bars)))
    for place, (_, _, parts) in enumerate(bars):
        begin, whole = 0.0, sum(parts)
        for index, part in enumerate(parts):
            axes.barh(place, 100 * part / whole, left=begin, height=0.72, color=colour(index))
            begin += 100 * part / whole
        axes.text(101, place, f"{significant(whole / 1e3)} ms", va="center", fontsize=10)
    several = len({line.label for line, _, _ in bars}) > 1
    ticks = [f"{line.short}, {load}" if several else load for line, load, _ in bars]
    axes.set_yticks(range(len(bars)), ticks, fontsize=10)
    axes.tick_params(axis="y", which="both", length=0)
    axes.set_xlim(0, 122)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xticks([], minor=True)
    axes.set_xlabel("share of the mean latency [%]")
    for index, (part_name, _) in enumerate(LATENCY_PARTS):
        axes.bar(0, 0, color=colour(index), label=part_name)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=10)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    label(axes, "", f"{model}, mean")
    alt = "; ".join(
        f"{tick}: "
        + ", ".join(
            f"{part} {value / 1e3:.3g} ms" for (part, _), value in zip(LATENCY_PARTS, parts, strict=True)
        )
        for tick, (_, _, parts) in zip(ticks, bars, strict=True)
    )
    caption = "Queue, model and arrays are the server's own counters; the rest of the client's latency is transport, including the client's own time and requests not yet read by a full server."
    return Picture(
        f"service-split-{name}-{model}", f"{model}: where the time goes", alt, figure, caption, model
    )


def traffic_table(records: Sequence[TrafficRecord], note: str) -> PageTable:
    """Return all loads."""
    columns = (
        "model", "", "load", "requests/s", "events/s", "p50 [ms]", "p90 [ms]", "p99 [ms]", "p99.9 [ms]", "max [ms]",
        "queue [ms]", "compute [ms]", "transport [ms]", "events per execution", "failed",
    )  # fmt: skip
    rows = []
    for line in lines_of(records):
        for load, points in line.by_load(*Scenario).items():
            rows += [_row(line, load, point) for point in points]
    return PageTable("Loads", columns, tuple(rows), note)


def _row(line: Line, load: str, point: LoadPoint) -> Row:
    server = point.server
    times = (
        point.p50_us, point.p90_us, point.p99_us, point.p999_us, point.most_us,
        server.queue_us if server else None, server.compute_us if server else None, point.transport_us,
    )  # fmt: skip
    cells = (
        words(line.model),
        words(line.short),
        Cell(f"{point.traffic.scenario.value}, {load}", point.traffic.rate_hz or point.traffic.streams),
        Cell(significant(point.requests_per_s), point.requests_per_s),
        Cell(significant(point.requests_per_s * point.rows), point.requests_per_s * point.rows),
        *(number(None) if us is None else Cell(significant(us / 1e3), us) for us in times),
        number(point.events_per_execution, ".3g"),
        number(point.failed, "d"),
    )
    return Row(cells, line.model, "bad" if point.failed else "")
