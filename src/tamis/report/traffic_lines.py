"""Records of loads sorted into lines of a figure: which belong together, and what a legend says of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.records import LoadPoint, Scenario, TrafficRecord
from tamis.report.canvas import MARKERS, colour


@dataclass(frozen=True)
class Line:
    """Records that are alike in all but time: repetitions, and other loads."""

    model: str
    short: str  # in what it differs from the other lines of its model; empty where there is no other
    records: tuple[TrafficRecord, ...]
    index: int  # of its colour and marker, the same in every figure

    @property
    def label(self) -> str:
        """Return what a legend says."""
        return f"{self.model}, {self.short}" if self.short else self.model

    @property
    def look(self) -> dict[str, Any]:
        """Return its colour and marker."""
        return {"color": colour(self.index), "marker": MARKERS[self.index % len(MARKERS)]}

    def points(self, *scenarios: Scenario) -> list[LoadPoint]:
        """Return its loads of some scenarios, by their size."""
        found = [p for record in self.records for p in record.points if p.traffic.scenario in scenarios]
        return sorted(found, key=lambda p: (p.traffic.scenario, p.traffic.rate_hz or 0, p.traffic.streams))

    def rate_hz(self, point: LoadPoint) -> float:
        """Return how many requests per second are for this model: models that are asked in turn share the rate."""
        return (point.traffic.rate_hz or 0.0) / (1 + len(self.records[0].together))

    def streams(self, point: LoadPoint) -> float:
        """Return how many requests are under way, of all models that are asked in turn."""
        return float(point.traffic.streams)

    def values(
        self, x: Callable[[Line, LoadPoint], float], y: Callable[[LoadPoint], float], *scenarios: Scenario
    ) -> tuple[list[float], list[float]]:
        """Return a curve; where a load was repeated, the median."""
        seen: dict[float, list[float]] = {}
        for point in self.points(*scenarios):
            seen.setdefault(x(self, point), []).append(y(point))
        places = sorted(seen)
        return places, [float(np.median(seen[place])) for place in places]

    def by_load(self, *scenarios: Scenario) -> dict[str, list[LoadPoint]]:
        """Return the loads, each with its repetitions, by what they are called."""
        found: dict[str, list[LoadPoint]] = {}
        for point in self.points(*scenarios):
            found.setdefault(self._load(point), []).append(point)
        return found

    def some_loads(self, most: int, *scenarios: Scenario) -> dict[str, list[LoadPoint]]:
        """Return the lightest load, the heaviest, and some between."""
        found = list(self.by_load(*scenarios).items())
        places = sorted({round(place) for place in np.linspace(0, len(found) - 1, most)}) if found else []
        return dict(found[place] for place in places)

    def _load(self, point: LoadPoint) -> str:
        if point.traffic.rate_hz:
            return f"{self.rate_hz(point):g}/s"
        pause = f", {point.traffic.think_s:g} s of its own" if point.traffic.think_s else ""
        return f"{point.traffic.streams} at a time{pause}"


def lines_of(records: Sequence[TrafficRecord]) -> list[Line]:
    """Sort records into lines; a line is named by its model, and by what other records of that model have otherwise."""
    by_model: dict[str, list[TrafficRecord]] = {}
    for record in records:
        by_model.setdefault(record.model, []).append(record)
    lines: list[Line] = []
    for model, mine in by_model.items():
        parts = [_parts(record) for record in mine]
        differing = [i for i in range(len(parts[0])) if len({one[i] for one in parts}) > 1]
        named: dict[str, list[TrafficRecord]] = {}
        for record, one in zip(mine, parts, strict=True):
            named.setdefault(", ".join(one[i] for i in differing if one[i]), []).append(record)
        for short, alike in named.items():
            lines.append(Line(model, short, tuple(alike), len(lines)))
    return lines


def _parts(record: TrafficRecord) -> tuple[str, ...]:
    """Return what can tell two records of a model apart, in words."""
    rows = sorted({point.rows for point in record.points})
    return (
        _batching(record),
        f"with {', '.join(record.together)}" if record.together else "",
        f"{', '.join(map(str, rows))} rows",
        record.server,
        record.host.cpu,
    )


def _batching(record: TrafficRecord) -> str:
    batching = record.batching
    if batching is None:
        return "batching not told"
    if batching.delay_us is None:
        return "one by one"
    return f"batches up to {batching.merged_rows_most or batching.rows_most}"
