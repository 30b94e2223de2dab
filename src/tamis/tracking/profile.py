"""Where the time goes, and what crosses from stage to stage: milliseconds, instructions per clock, objects and bytes of an event."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping

import numpy as np

from tamis.records import StageBoundary, StageTime, StageTransfer
from tamis.tracking.chain import StageObjects
from tamis.tracking.devices import CPU, Transfer
from tamis.tracking.steps import STAGES, SortedHits

# Written by which stage (None: the input), and read by which.
BOUNDARIES: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "cells": (None, ("clusters",)),
    "clusters": ("clusters", ("space points", "parameters", "finding")),
    "space points": ("space points", ("seeding", "parameters")),
    "seeds": ("seeding", ("parameters", "finding")),
    "parameters": ("parameters", ("finding",)),
    "found tracks": ("finding", ("ambiguity", "fit")),
    "sorted clusters": ("finding", ("ambiguity", "fit")),
    "chosen tracks": ("ambiguity", ("fit",)),
    "tracks": ("fit", ()),
}


class StageProfile:
    """Times, instructions and sizes of the events so far; a few hundred bytes for each event."""

    def __init__(self, devices: Mapping[str, str] | None = None) -> None:
        """Start without events; `devices` are those of stages that do not run on the CPU."""
        self.events = 0
        self._devices = devices or {}
        self._milliseconds = {stage: array("d") for stage in STAGES}
        self._ticks = {stage: np.zeros(2) for stage in STAGES}
        self._sizes = {name: np.zeros(2) for name in BOUNDARIES}
        self._transfers: dict[tuple[str, str], np.ndarray] = {}

    def add(
        self,
        sizes: Mapping[str, tuple[int, int]],
        nanoseconds: Mapping[str, int],
        ticks: Mapping[str, tuple[int, int]],
        transfers: Iterable[Transfer],
    ) -> None:
        """Add one event: objects and bytes at its boundaries, the time of each stage, its instructions and clocks if they were counted, copies."""
        self.events += 1
        for stage in STAGES:
            self._milliseconds[stage].append(nanoseconds.get(stage, 0) / 1e6)
            self._ticks[stage] += ticks.get(stage, (0, 0))
        for name, size in sizes.items():
            self._sizes[name] += size
        for one in transfers:
            total = self._transfers.setdefault((one.what, one.to), np.zeros(4))
            link = np.nan if one.link_nanoseconds is None else one.link_nanoseconds
            total += 1, one.bytes, one.nanoseconds, link

    def stages(self) -> list[StageTime]:
        """Return the times of each stage."""
        return [self._time(stage, np.array(self._milliseconds[stage]), (stage,)) for stage in STAGES]

    def together(self) -> StageTime:
        """Return the times of all stages of an event together."""
        return self._time("together", np.sum([self._milliseconds[stage] for stage in STAGES], axis=0), STAGES)

    def boundaries(self) -> list[StageBoundary]:
        """Return the objects and bytes that each stage leaves, per event."""
        events = max(self.events, 1)
        return [
            StageBoundary(
                name=name,
                written_by=writer,
                read_by=list(readers),
                count=float(self._sizes[name][0] / events),
                bytes=float(self._sizes[name][1] / events),
            )
            for name, (writer, readers) in BOUNDARIES.items()
        ]

    def transfers(self) -> list[StageTransfer]:
        """Return the copies between devices, per event."""
        events = max(self.events, 1)
        return [
            StageTransfer(
                what=what, to="cpu" if to == "cpu" else "gpu", count=number / events, bytes=size / events,
                mean_ms=spent / events / 1e6, link_ms=None if np.isnan(link) else link / events / 1e6,
            )
            for (what, to), (number, size, spent, link) in self._transfers.items()
        ]  # fmt: skip

    def _time(self, name: str, milliseconds: np.ndarray, stages: tuple[str, ...]) -> StageTime:
        values = milliseconds if len(milliseconds) else np.zeros(1)
        instructions, clocks = np.sum([self._ticks[stage] for stage in stages], axis=0)
        return StageTime(
            stage=name,
            device="cpu" if all(self._devices.get(stage, CPU) == CPU for stage in stages) else "gpu",
            mean_ms=float(values.mean()),
            p50_ms=float(np.median(values)),
            p99_ms=float(np.percentile(values, 99)),
            instructions_per_clock=float(instructions / clocks) if clocks else None,
        )


def boundary_sizes(objects: StageObjects) -> dict[str, tuple[int, int]]:
    """Return how many objects cross each boundary in one event, and the bytes of the arrays that hold them."""
    cells, clusters, points, seeds, found, tracks = (
        objects.cells,
        objects.clusters,
        objects.points,
        objects.seeds,
        objects.found,
        objects.tracks,
    )
    arrays: dict[str, tuple[int, list[np.ndarray]]] = {
        "cells": (len(cells), [cells.module, cells.u, cells.v, cells.charge]),
        "clusters": (len(clusters.module), list(clusters[:-1])),  # no other stage reads the sums
        "space points": (len(points), list(vars(points).values())),
        "seeds": (len(seeds), [seeds.points, seeds.weight]),
        "parameters": (len(objects.states), [objects.states]),
        "found tracks": (len(found.size), list(found)),
        "sorted clusters": (len(objects.hits.order), _sorted_arrays(objects.hits)),
        "chosen tracks": (len(objects.chosen), [objects.chosen]),
        "tracks": (
            len(tracks),
            [tracks.parameters, tracks.covariance, tracks.chi2, tracks.holes, tracks.hits, tracks.counts],
        ),
    }
    return {name: (count, sum(one.nbytes for one in held)) for name, (count, held) in arrays.items()}


def _sorted_arrays(hits: SortedHits) -> list[np.ndarray]:
    """Return the arrays that cross with found tracks: the clusters in the order of the cells of the grid."""
    grid: list[np.ndarray] = [one for one in hits.grid if not isinstance(one, int | float | np.number)]
    return [hits.order, hits.place, *hits.hits, *grid]
