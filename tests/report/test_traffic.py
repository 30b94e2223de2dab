"""Figures and tables of loads: the drawn curves are the measured values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tamis._base import DataError, Host
from tamis.measure import read_traffic
from tamis.records import Batches, LoadPoint, Scenario, ServerTime, Traffic, TrafficRecord
from tamis.report import write_report
from tamis.report.canvas import style
from tamis.report.traffic import traffic_pictures
from tamis.report.traffic_lines import lines_of

HOST = Host(
    cpu="Test CPU", cores=4, memory_bytes=10**10, instruction_sets=(), system="Linux", python="3", versions={}
)
MERGING, PLAIN = Batches(rows_most=32, delay_us=0.0), Batches(rows_most=32)


def load(size: float, p99_us: float, scenario: Scenario = Scenario.SERVER, failed: int = 0) -> LoadPoint:
    open_loop = scenario is Scenario.SERVER
    return LoadPoint(
        traffic=Traffic(
            scenario=scenario, rate_hz=size if open_loop else None, streams=1 if open_loop else int(size)
        ),
        requests=1000,
        rows=2,
        requests_per_s=size if open_loop else 100 * size,
        mean_us=p99_us / 2,
        p50_us=p99_us / 4,
        p90_us=p99_us / 2,
        p95_us=p99_us / 2,
        p99_us=p99_us,
        p999_us=p99_us * 2,
        most_us=p99_us * 3,
        late_us=0.0,
        errors={"full": failed} if failed else {},
        unanswered=0,
        server=ServerTime(
            requests=1000,
            executions=250,
            queue_us=p99_us / 8,
            input_us=10.0,
            infer_us=p99_us / 8,
            output_us=10.0,
        ),
        transport_us=p99_us / 4 - 20,
    )


def record(*points: LoadPoint, **more: object) -> TrafficRecord:
    fields = {"model": "m", "batching": MERGING, **more}
    return TrafficRecord(
        created="2026-01-02T03:04:05+00:00",
        host=HOST,
        server="tamis",
        server_version="1",
        platform="p",
        points=points,
        **fields,
    )


def drawn(axes, legend=None) -> dict[str, list[tuple[float, float]]]:
    """Return the curves by legend label (of their colour) and line style."""
    handles, labels = (legend or axes).get_legend_handles_labels()
    names = {handle.get_color(): name for handle, name in zip(handles, labels, strict=True)}
    return {
        f"{names[line.get_color()]} {line.get_linestyle()}": list(zip(*line.get_data(), strict=True))
        for line in axes.get_lines()
        if len(line.get_xdata())
    }


def pictures(*records: TrafficRecord) -> dict[str, object]:
    with style():
        return {picture.name: picture for picture in traffic_pictures(records)}


def test_latency_is_drawn_against_rate_at_three_quantiles() -> None:
    found = pictures(record(load(300, 8000), load(100, 4000)))
    (axes,) = found["service-rate-m"].figure.axes
    curves = drawn(axes)
    assert curves["m -"] == [(100, 1.0), (300, 2.0)]
    assert curves["m --"] == [(100, 4.0), (300, 8.0)]
    assert curves["m -."] == [(100, 8.0), (300, 16.0)]
    assert set(found) == {"service-rate-m", "service-split-rate-m"}


def test_records_with_and_without_batching_are_separate_lines() -> None:
    loads = [load(n, 1000 * n, Scenario.CLOSED) for n in (1, 4)]
    found = pictures(record(*loads), record(*loads[:1], batching=PLAIN))
    left, right = found["service-streams-m"].figure.axes
    assert drawn(left)["m, batches up to 32 -"] == [(1, 100), (4, 400)]
    assert drawn(right, left)["m, batches up to 32 -"] == [(1, 1.0), (4, 4.0)]
    assert drawn(left)["m, one by one -"] == [(1, 100)]


def test_loads_with_failed_requests_have_open_markers() -> None:
    """Latencies count answered requests only, so a server that rejects requests would look fast."""
    (axes,) = pictures(record(load(100, 1000), load(900, 2000, failed=1)))["service-rate-m"].figure.axes
    opened = [line for line in axes.get_lines() if line.get_markerfacecolor() == "white"]
    assert {tuple(line.get_xdata()) for line in opened if len(line.get_xdata())} == {(900,)}
    assert "open: some requests failed" in axes.get_legend_handles_labels()[1]


def test_models_share_one_figure_each_at_its_own_rate() -> None:
    alone = [record(load(100, 1000), model=name) for name in ("a", "b")]
    both = record(load(400, 6000), model="a", together=("b",))
    (axes,) = pictures(*alone, both)["service-rate-all"].figure.axes
    curves = drawn(axes)
    assert curves["a -"] == curves["b -"] == [(100, 1.0)]
    assert curves["a, with b -"] == [(200, 6.0)]  # of 400 for both


def test_repeated_loads_are_one_line_at_their_median() -> None:
    (line,) = lines_of([record(load(100, us)) for us in (1000, 9000, 2000)])
    assert line.label == "m"
    assert line.values(type(line).rate_hz, lambda point: point.p99_us, Scenario.SERVER) == ([100], [2000])


def test_parts_of_the_latency_fill_the_bar() -> None:
    (axes,) = pictures(record(load(100, 4000)))["service-split-rate-m"].figure.axes
    widths = [bar.get_width() for bar in axes.patches if bar.get_width() and bar.get_height()]
    assert widths == pytest.approx([25, 25, 1, 49])  # queue, model, arrays, transport
    assert "2 ms" in [text.get_text() for text in axes.texts]


def test_report_has_a_section_of_loads(tmp_path: Path) -> None:
    (tmp_path / "traffic.json").write_text(record(load(100, 4000, failed=3)).model_dump_json())
    page = write_report([tmp_path], tmp_path / "out").read_text(encoding="utf-8")
    assert re.findall(r'aria-controls="(\w+)"', page) == ["service", "records"]
    (row,) = re.findall(r'<tr data-model="m" class="bad">(.*)</tr>', page)
    cells = re.findall(r">([^<>]+)</td>", row)
    assert cells[1:5] == ["server, 100/s", "100", "200", "1"]
    assert cells[-2:] == ["8", "3"]  # events per execution; failed
    assert (tmp_path / "out" / "figures" / "service-rate-m.png").stat().st_size > 8000


def test_loads_on_several_models_in_turn_are_not_read_for_sizing(tmp_path: Path) -> None:
    shared, alone = record(load(100, 1), together=("b",)), record(load(100, 2))
    (tmp_path / "shared.json").write_text(shared.model_dump_json())
    with pytest.raises(DataError, match="several models in turn"):
        read_traffic([tmp_path])
    (tmp_path / "alone.json").write_text(alone.model_dump_json())
    assert read_traffic([tmp_path]) == [alone]
