"""Figures of a farm: time per event against clients per server, latency against rate, servers against p99."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tamis.farm import Workload, servers_needed
from tamis.records import FarmRecord, Knee, PublishedRecord
from tamis.report.canvas import INK, MARKERS, MUTED, colour, label, new_figure, plain_log, save, style
from tamis.report.content import Picture, significant

P99_TARGETS = 40  # points along the axis of p99 targets


def draw_farm(record: FarmRecord | PublishedRecord, folder: Path) -> list[Path]:
    """Draw a farm study as PNG and PDF files; return the PNGs."""
    with style():
        pictures = (
            [_published(record)]
            if isinstance(record, PublishedRecord)
            else [_clients(record), _latency(record), _servers(record)]
        )
        for picture in pictures:
            save(picture.figure, folder, picture.name)
    return [folder / f"{picture.name}.png" for picture in pictures]


def _knee(axes: Any, knee: Knee, unit_s: float) -> None:
    clients = [point.clients for point in knee.points]
    series: list[tuple[str, list[float | None]]] = [
        ("simulated, identical clients", [point.fixed_s for point in knee.points]),
        ("simulated, random work", [point.random_s for point in knee.points]),
        ("simulated, one shared link", [point.shared_s for point in knee.points]),
    ]
    for index, (name, values) in enumerate(series):
        points = [(n, value / unit_s) for n, value in zip(clients, values, strict=True) if value is not None]
        if points:
            look = {"marker": MARKERS[index], "color": colour(index), "linestyle": "none", "mfc": "none"}
            axes.plot(*zip(*points, strict=True), label=name, **look)
    formula_clients = sorted({*clients, knee.knee})
    workload = Workload(knee.cpu_s, knee.moved, knee.server_s, knee.latency_s)
    formula = [workload.time_per_event_s(n) / unit_s for n in formula_clients]
    axes.plot(formula_clients, formula, color=INK, linewidth=1.4, label="closed formula", zorder=1)
    axes.set_xlim(0, max(clients) * 1.04)
    axes.set_xlabel("clients per server")


def _published(record: PublishedRecord) -> Picture:
    figure, axes = new_figure()
    knee = record.knee
    _knee(axes, knee, 1.0)
    axes.axvline(record.published_clients, color=MUTED, linestyle="--", linewidth=1.2)
    axes.annotate(
        f"published: {record.published_clients}",
        (record.published_clients, knee.cpu_s * 0.93),
        xytext=(-5, 0), textcoords="offset points", ha="right", fontsize=10.5, color=MUTED,
    )  # fmt: skip
    axes.axhline(knee.cpu_s, color=MUTED, linestyle=":", linewidth=1.2)
    axes.text(2, knee.cpu_s * 1.01, "CPU alone", fontsize=10.5, color=MUTED, va="bottom")
    axes.set_ylim(0, knee.cpu_s * 1.3)
    axes.set_ylabel("time per event [s]")
    axes.legend(loc="lower left")
    label(axes, "ProtoDUNE-SP chain", f"knee {knee.knee:.1f}")
    alt = f"time per event is {knee.points[0].formula_s:.4g} s until {knee.knee:.3g} clients share a server, then rises"
    return Picture("farm-published", "the published knee", alt, figure)


def _clients(record: FarmRecord) -> Picture:
    figure, axes = new_figure()
    _knee(axes, record.knee, 1e-3)
    axes.axvline(record.knee.knee, color=MUTED, linestyle="--", linewidth=1.2, label="knee of the formula")
    highest = max(point.random_s for point in record.knee.points) * 1e3
    axes.set_ylim(0, highest * 1.25)
    axes.set_ylabel("time per event [ms]")
    axes.legend(loc="lower right")
    label(axes, record.model, f"{record.rows} rows; knee {record.knee.knee:.3g}")
    alt = (
        f"time per event of {record.model} against clients per server; the knee is at {record.knee.knee:.3g}"
    )
    return Picture("farm-clients", "clients per server", alt, figure)


def _latency(record: FarmRecord) -> Picture:
    figure, axes = new_figure()
    chosen = next(delay for delay in record.delays if delay.delay_ms == record.delay_ms)
    rates = [point.rate_hz for point in chosen.points]
    for index, (name, values) in enumerate(
        (
            ("p99.9", [point.latency.p999_us for point in chosen.points]),
            ("p99", [point.latency.p99_us for point in chosen.points]),
            ("median", [point.latency.p50_us for point in chosen.points]),
        )
    ):
        axes.plot(rates, [v / 1e3 for v in values], marker=MARKERS[index], color=colour(index), label=name)
    axes.axhline(
        record.p99_ms, color=MUTED, linestyle="--", linewidth=1.2, label=f"target p99, {record.p99_ms:g} ms"
    )
    if chosen.rate_hz:
        axes.axvline(
            record.rate_hz / record.servers, color=INK, linewidth=1.2, label=f"{record.servers} servers"
        )
    axes.set_yscale("log")
    low = min(point.latency.p50_us for point in chosen.points) / 1e3
    high = max(*(point.latency.p999_us / 1e3 for point in chosen.points), record.p99_ms)
    axes.set_ylim(low / 1.6, high * 8)
    plain_log(axes.yaxis)
    axes.set_xlim(0, record.capacity_hz)
    axes.set_xlabel("requests per second per server")
    axes.set_ylabel("latency [ms]")
    axes.legend(loc="upper left", ncols=2)
    label(axes, record.model, f"delay {chosen.delay_ms:g} ms, {record.rows} rows")
    alt = f"latency against rate of one server: p99 is {record.p99_ms:g} ms at {significant(chosen.rate_hz or 0)} requests per second"
    return Picture("farm-latency", "latency against rate", alt, figure)


def _servers(record: FarmRecord) -> Picture:
    figure, axes = new_figure()
    lowest = min(delay.points[0].latency.p99_us for delay in record.delays) / 1e3
    highest = max(record.p99_ms * 3, lowest * 10)
    targets = [lowest * (highest / lowest) ** (i / P99_TARGETS) for i in range(P99_TARGETS + 1)]
    drawn: list[float] = []
    for index, delay in enumerate(record.delays):
        needed = servers_needed(delay, record.rate_hz, targets)
        drawn += [count for _, count in needed]
        axes.plot(
            [target for target, _ in needed],
            [count for _, count in needed],
            color=colour(index),
            linestyle=("-", "--", "-.", ":", (0, (5, 1, 1, 1)))[index % 5],
            label=f"delay {delay.delay_ms:g} ms",
        )
    axes.plot(record.p99_ms, record.servers, marker="o", color=INK, linestyle="none", label="this farm")
    axes.axvline(record.p99_ms, color=MUTED, linestyle="--", linewidth=1.2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(min([*drawn, record.servers]) / 1.6, max([*drawn, record.servers]) * 1.6)
    ticks = [t * 10**e for e in range(-2, 6) for t in (1, 2, 5) if lowest <= t * 10**e <= highest]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    plain_log(axes.yaxis)
    axes.set_xlabel("target p99 [ms]")
    axes.set_ylabel("servers")
    axes.legend(loc="upper right")
    label(axes, record.model, f"{record.rate_hz:g} requests/s")
    alt = f"servers needed against p99: {record.servers} for {record.p99_ms:g} ms"
    return Picture("farm-servers", "servers against p99", alt, figure)
