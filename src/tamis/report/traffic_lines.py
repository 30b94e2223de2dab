"""Group records of loads into the lines of a figure, with their labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.records import LoadPoint, Scenario, TrafficRecord
from tamis.report.canvas import MARKERS, colour


@dataclass(frozen=True)
class Line:
    """Records that differ only in time and load."""

    model: str
    short: str  # the difference from the other lines of its model; empty for a single line
    records: tuple[TrafficRecord, ...]
    index: int  # of its colour and marker, the same in every figure

    @property
    def label(self) -> str:
        """Return the label in a legend."""
        return f"{self.model}, {self.short}" if self.short else self.model

    @property
    def look(self) -> dict[str, Any]:
        """Return the colour and marker."""
        return {"color": colour(self.index), "marker": MARKERS[self.index % len(MARKERS)]}

    def points(self, *scenarios: Scenario) -> list[LoadPoint]:
        """Return the loads of some scenarios, sorted by rate and streams."""
        points = [p for record in self.records for p in record.points if p.traffic.scenario in scenarios]
        return sorted(points, key=lambda p: (p.traffic.scenario, p.traffic.rate_hz or 0, p.traffic.streams))

    def rate_hz(self, point: LoadPoint) -> float:
        """Return the request rate of this model; models called in turn share the rate equally."""
        return (point.traffic.rate_hz or 0.0) / (1 + len(self.records[0].together))

    def streams(self, point: LoadPoint) -> float:
        """Return the number of requests in flight, of all models called in turn."""
        return float(point.traffic.streams)

    def values(
        self, x: Callable[[Line, LoadPoint], float], y: Callable[[LoadPoint], float], *scenarios: Scenario
    ) -> tuple[list[float], list[float]]:
        """Return a curve as x and y values; y is the median over repetitions."""
        repeated: dict[float, list[float]] = {}
        for point in self.points(*scenarios):
            repeated.setdefault(x(self, point), []).append(y(point))
        places = sorted(repeated)
        return places, [float(np.median(repeated[place])) for place in places]

    def by_load(self, *scenarios: Scenario) -> dict[str, list[LoadPoint]]:
        """Return the repetitions of each load, by the name of the load."""
        loads: dict[str, list[LoadPoint]] = {}
        for point in self.points(*scenarios):
            if point.traffic.rate_hz:
                load = f"{self.rate_hz(point):g}/s"
            else:
                pause = f", {point.traffic.think_s:g} s think time" if point.traffic.think_s else ""
                load = f"{point.traffic.streams} at a time{pause}"
            loads.setdefault(load, []).append(point)
        return loads

    def some_loads(self, most: int, *scenarios: Scenario) -> dict[str, list[LoadPoint]]:
        """Return at most `most` loads, evenly spaced from the lightest to the heaviest."""
        loads = list(self.by_load(*scenarios).items())
        places = sorted({round(place) for place in np.linspace(0, len(loads) - 1, most)}) if loads else []
        return dict(loads[place] for place in places)


def lines_of(records: Sequence[TrafficRecord]) -> list[Line]:
    """Group records into lines, labelled by the model and by the properties in which its records differ."""
    by_model: dict[str, list[TrafficRecord]] = {}
    for record in records:
        by_model.setdefault(record.model, []).append(record)
    lines: list[Line] = []
    for model, of_model in by_model.items():
        parts = [_properties(record) for record in of_model]
        differing = [i for i in range(len(parts[0])) if len({part[i] for part in parts}) > 1]
        named: dict[str, list[TrafficRecord]] = {}
        for record, part in zip(of_model, parts, strict=True):
            named.setdefault(", ".join(part[i] for i in differing if part[i]), []).append(record)
        for short, alike in named.items():
            lines.append(Line(model, short, tuple(alike), len(lines)))
    return lines


def _properties(record: TrafficRecord) -> tuple[str, ...]:
    """Return the properties that distinguish two records of a model, in words."""
    rows = sorted({point.rows for point in record.points})
    batching = "batching unknown"
    if record.batching is not None and record.batching.delay_us is None:
        batching = "one by one"
    elif record.batching is not None:
        batching = f"batches up to {record.batching.merged_rows_most or record.batching.rows_most}"
    return (
        batching,
        f"with {', '.join(record.together)}" if record.together else "",
        f"{', '.join(map(str, rows))} rows",
        record.server,
        record.host.cpu,
    )
