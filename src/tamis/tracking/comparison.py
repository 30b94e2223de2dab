"""Two files of tracks of the same events: which objects are in both, and how well their numbers agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import awkward as ak
import numpy as np

from tamis._base import DataError, utc_timestamp
from tamis.events import read_events
from tamis.records import QuantityAgreement, StageComparison, TracksComparison
from tamis.tracking.columns import TRACK_PARAMETERS
from tamis.tracking.pairing import close_pairs, pair_nearest
from tamis.tracking.stage_columns import SEED_CLUSTERS, STAGE_COLUMNS

UNCERTAINTIES_PERCENT = (0.01, 0.1, 1.0, 5.0)  # traccc's
COMPARED_TRACK_COLUMNS = (
    *(f"Track_{name}{ending}" for name in TRACK_PARAMETERS for ending in ("", "Err")),
    "Track_chi2",
    "Track_nHits",
)
COMPARED_QUANTITIES = {
    "clusters": ("u", "v", "uVariance", "vVariance", "x", "y", "z", "size"),
    "space points": ("x", "y", "z", "rVariance", "zVariance"),
    "seeding": ("weight",),
    "parameters": ("phi", "theta", "qop"),
    "tracks": (*TRACK_PARAMETERS, "chi2", "nHits"),
}
PREFIXES = {
    "clusters": "Cluster",
    "space points": "SpacePoint",
    "seeding": "Seed",
    "parameters": "Seed",
    "tracks": "Track",
}
PAIRED_BY = {
    "clusters": "module and first cell",
    "space points": "position within 10 µm",
    "seeding": "the same three clusters",
    "parameters": "the same three clusters",
    "tracks": "the least chi2 of the five parameters",
}
POINT_REACH_MM = 0.01
DIRECTION_CELLS = 128  # around the beam
PAIR_CHI2_MAX = 50.0  # of the five parameters
CLUSTER_BITS = 21  # of a number of clusters: three of them fit in 64 bits

Columns = Mapping[str, np.ndarray]
Pairs = tuple[np.ndarray, np.ndarray]


class _EventOfTracks(NamedTuple):
    identity: tuple[int, ...]
    columns: Columns


class _StageCounts:
    """Objects in both files and in one alone, and agreeing numbers, so far."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.both = self.only_a = self.only_b = 0
        self._matching = np.zeros((len(COMPARED_QUANTITIES[stage]), len(UNCERTAINTIES_PERCENT)), np.int64)
        self._largest = np.full(len(COMPARED_QUANTITIES[stage]), -np.inf)

    def add(self, a: Columns, b: Columns, pairs: Pairs) -> None:
        prefix = PREFIXES[self.stage]
        names = [f"{prefix}_{quantity}" for quantity in COMPARED_QUANTITIES[self.stage]]
        self.both += len(pairs[0])
        self.only_a += len(a[names[0]]) - len(pairs[0])
        self.only_b += len(b[names[0]]) - len(pairs[1])
        for row, name in enumerate(names):
            first, second = (
                values[name][rows].astype(np.float64) for values, rows in zip((a, b), pairs, strict=True)
            )
            apart = np.abs(first - second)
            if name.endswith("_phi"):
                apart = np.minimum(apart, 2 * np.pi - apart)
            apart = np.where(np.isnan(first) & np.isnan(second), 0.0, apart)  # the same failure in both
            scale = (np.abs(first) + np.abs(second)) / 2
            for column, percent in enumerate(UNCERTAINTIES_PERCENT):
                self._matching[row, column] += int(((apart <= percent / 100 * scale) | (apart == 0)).sum())
            self._largest[row] = np.fmax(self._largest[row], np.max(apart, initial=-np.inf))

    def result(self) -> StageComparison:
        total = max(self.both, 1)
        return StageComparison(
            stage=self.stage,
            paired_by=PAIRED_BY[self.stage],
            both=self.both,
            only_a=self.only_a,
            only_b=self.only_b,
            quantities=[
                QuantityAgreement(
                    quantity=quantity,
                    compared=self.both,
                    matching={
                        f"{percent:g}": int(count) / total
                        for percent, count in zip(UNCERTAINTIES_PERCENT, counts, strict=True)
                    },
                    largest=float(largest) if np.isfinite(largest) else None,
                )
                for quantity, counts, largest in zip(
                    COMPARED_QUANTITIES[self.stage], self._matching, self._largest, strict=True
                )
            ],
        )


def compare_track_files(a: Path, b: Path) -> TracksComparison:
    """Compare the tracks of two files of `tamis track`, and the objects of their stages where both have them."""
    counts: dict[str, _StageCounts] = {}
    left_out: list[str] = []
    events, alone = 0, [0, 0]
    for first, second in _joined(a, b):
        if first is None or second is None:
            alone[second is not None] += 1
            continue
        if not events:
            stages, left_out = _stages_of((first, second), (a, b))
            counts = {stage: _StageCounts(stage) for stage in stages}
        events += 1
        for stage, pairs in event_pairs(first.columns, second.columns, list(counts)):
            counts[stage].add(first.columns, second.columns, pairs)
    if not events:
        raise DataError(
            f"{a} and {b} have no event in common: they have {alone[0]} and {alone[1]} events, and no run, luminosity block and event number "
            "is in both; reconstruct the same sample twice"
        )
    return TracksComparison(
        created=utc_timestamp(), a=str(a), b=str(b), events=events, only_a=alone[0], only_b=alone[1],
        stages=[one.result() for one in counts.values()], left_out=left_out,
    )  # fmt: skip


def event_pairs(a: Columns, b: Columns, stages: Sequence[str]) -> Iterator[tuple[str, Pairs]]:
    """Yield the rows of the objects that are in both events, stage by stage."""
    if "clusters" in stages:
        numbers_a, numbers_b = _cluster_numbers(a, b)
        yield "clusters", _equal(numbers_a, numbers_b)
        yield "space points", _paired_points(a, b)
        seeds = _equal(_triplets(a, numbers_a), _triplets(b, numbers_b))
        yield "seeding", seeds
        yield "parameters", seeds
    yield "tracks", paired_tracks(a, b)


def paired_tracks(a: Columns, b: Columns) -> Pairs:
    """Return tracks of two events that are the same within their errors, those with the least chi2 first."""
    cells = []
    for columns in (a, b):
        phi, theta = (np.nan_to_num(columns[f"Track_{name}"].astype(np.float64)) for name in ("phi", "theta"))
        turn = np.floor((phi / (2 * np.pi) + 0.5) * DIRECTION_CELLS).astype(np.int64) % DIRECTION_CELLS
        cells.append(
            np.stack([turn, np.floor(theta / (2 * np.pi) * DIRECTION_CELLS).astype(np.int64)], axis=1)
        )
    i, j = close_pairs(cells[0], cells[1], DIRECTION_CELLS)
    chi2 = np.zeros(len(i))
    for name in TRACK_PARAMETERS:
        apart = a[f"Track_{name}"][i].astype(np.float64) - b[f"Track_{name}"][j]
        if name == "phi":
            apart = np.mod(apart + np.pi, 2 * np.pi) - np.pi
        error = np.hypot(a[f"Track_{name}Err"][i], b[f"Track_{name}Err"][j], dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            chi2 += np.where(apart == 0, 0.0, (apart / error) ** 2)
    near = chi2 < PAIR_CHI2_MAX
    return pair_nearest(i[near], j[near], chi2[near])


def _paired_points(a: Columns, b: Columns) -> Pairs:
    places = [
        np.stack([columns[f"SpacePoint_{axis}"].astype(np.float64) for axis in "xyz"], axis=1)
        / POINT_REACH_MM
        for columns in (a, b)
    ]
    cells = [np.floor(place[:, :2]).astype(np.int64) for place in places]
    i, j = close_pairs(cells[0], cells[1])
    distance = np.sqrt(((places[0][i] - places[1][j]) ** 2).sum(axis=1))
    return pair_nearest(i[distance <= 1], j[distance <= 1], distance[distance <= 1])


def _cluster_numbers(a: Columns, b: Columns) -> Pairs:
    """Return numbers of clusters that are the same for the same module and first cell."""
    names = ("Cluster_module", "Cluster_firstU", "Cluster_firstV")
    keys = np.stack([np.concatenate([a[name], b[name]]).astype(np.uint64) for name in names], axis=1)
    _, number = np.unique(keys, axis=0, return_inverse=True)
    number = number.reshape(-1).astype(np.int64)
    count = len(a[names[0]])
    return number[:count], number[count:]


def _triplets(columns: Columns, numbers: np.ndarray) -> np.ndarray:
    """Return one number for the three clusters of each seed."""
    result = np.zeros(len(columns[SEED_CLUSTERS[0]]), np.int64)
    for name in SEED_CLUSTERS:
        result = (result << CLUSTER_BITS) | numbers[columns[name]]
    return result


def _equal(a: np.ndarray, b: np.ndarray) -> Pairs:
    _, rows_a, rows_b = np.intersect1d(a, b, return_indices=True)
    return rows_a, rows_b


def _stages_of(
    events: tuple[_EventOfTracks, _EventOfTracks], paths: tuple[Path, Path]
) -> tuple[list[str], list[str]]:
    """Return the stages of which both files have objects, and why others are left out."""
    lacking = [
        str(path)
        for event, path in zip(events, paths, strict=True)
        if any(name not in event.columns for name in STAGE_COLUMNS)
    ]
    if not lacking:
        return list(COMPARED_QUANTITIES), []
    reason = f"clusters, space points, seeds and parameters are not compared: {' and '.join(lacking)} lack{'s' if len(lacking) == 1 else ''} them; write them with `tamis track --keep-stages`"
    return ["tracks"], [reason]


def _joined(a: Path, b: Path) -> Iterator[tuple[_EventOfTracks | None, _EventOfTracks | None]]:
    """Yield events of both files, whatever their order; memory is bounded if the order is the same."""
    waiting: tuple[dict[tuple[int, ...], _EventOfTracks], ...] = ({}, {})
    for both in zip_longest(_events_of(a), _events_of(b)):
        for side, event in enumerate(both):
            if event is None:
                continue
            other = waiting[1 - side].pop(event.identity, None)
            if other is None:
                waiting[side][event.identity] = event
            else:
                yield (other, event) if side else (event, other)
    for event in waiting[0].values():
        yield event, None
    for event in waiting[1].values():
        yield None, event


def _events_of(path: Path) -> Iterator[_EventOfTracks]:
    seen: set[tuple[int, ...]] = set()
    for chunk in read_events([str(path)], columns=COMPARED_TRACK_COLUMNS, optional=tuple(STAGE_COLUMNS)):
        events = chunk.events
        known = [name for name in (*COMPARED_TRACK_COLUMNS, *STAGE_COLUMNS) if name in events]
        for row, numbers in enumerate(events.identity):
            identity = tuple(int(value) for value in numbers)
            if identity in seen:
                raise DataError(
                    f"{path} has the event {':'.join(map(str, identity))} more than once: tracks cannot be compared event by event"
                )
            seen.add(identity)
            yield _EventOfTracks(identity, {name: ak.to_numpy(events[name][row]) for name in known})
