"""Stages of tracks: the cells of a silicon detector become tracks, and if wanted charged candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from tamis._base import UsageError, require
from tamis.events import ColumnData, Frame, Jagged
from tamis.events.detector import CELL_COLUMNS, DetectorFiles, sort_cells
from tamis.features.lists import flat_columns
from tamis.trigger.stages.expression import KindOf
from tamis.trigger.stages.kinds import Kind
from tamis.trigger.stages.stage import Added, Stage

PION_MASS_GEV, PION_ID = 0.13957, 211
MM_PER_CM = 10.0
LENGTHS = ("d0", "d0Err", "dz", "dzErr")
CANDIDATE_TYPES: dict[str, type] = {
    **dict.fromkeys(("pt", "eta", "phi", "mass", "d0", "dz"), np.float32),
    "charge": np.int16,
    "pdgId": np.int32,
}
CELL_BYTES = 16  # of the columns of one cell
CELLS_TYPICAL = 120_000  # of a crowded event, for the size of micro-batches


@dataclass(frozen=True)
class TrackChoice:
    """What a stage of tracks reconstructs with, and under which names its columns are; paths are absolute."""

    files: DetectorFiles = field(default_factory=DetectorFiles)
    pt_min: float | None = None
    collection: str = "Track"
    centimetres: bool = False
    candidates: str | None = None
    seeds_from: str | None = None
    branches: int = 1


def tracks_stage(name: str, choice: TrackChoice) -> Stage:
    """Return a stage that reconstructs the tracks of events; its kernels are compiled when this returns."""
    require("numba", extra="tracking", purpose="reconstructing tracks")
    from tamis.tracking.columns import TRACK_TYPES, track_values
    from tamis.tracking.opening import ReconstructionSetup

    reconstruct = ReconstructionSetup(choice.files, choice.pt_min, choice.seeds_from, choice.branches).open()
    modules = reconstruct.detector.modules
    types = {f"{choice.collection}_{column}": kind for column, kind in TRACK_TYPES.items()}
    if choice.candidates is not None:
        types |= {f"{choice.candidates}_{column}": kind for column, kind in CANDIDATE_TYPES.items()}

    def run(frame: Frame) -> Added:
        starts, (module, u, v, charge) = flat_columns(frame, CELL_COLUMNS)
        pieces = [slice(a, b) for a, b in pairwise(starts.tolist())]
        # Cells of all events are checked first: if one is broken, no time was spent on the others, which come again one by one.
        events = [sort_cells(module[p], u[p], v[p], charge[p], modules) for p in pieces]
        found = [_columns(track_values(reconstruct(one)), choice) for one in events]
        return Added(_joined(found, types))

    def kinds(kind_of: KindOf) -> Mapping[str, Kind]:
        _check_kinds(kind_of)
        return {
            column: Kind(True, column.partition("_")[0], np.ones(1, kind)) for column, kind in types.items()
        }

    return Stage(
        name,
        "tracking",
        CELL_COLUMNS,
        tuple(types),
        run,
        row_bytes=CELLS_TYPICAL * CELL_BYTES,
        kinds=kinds,
    )


def _columns(values: Mapping[str, np.ndarray], choice: TrackChoice) -> dict[str, np.ndarray]:
    """Return the columns of one event under the names of the choice."""
    if choice.pt_min is not None:
        kept = values["pt"] >= choice.pt_min
        values = {name: column[kept] for name, column in values.items()}
    in_cm = {name: values[name] / np.float32(MM_PER_CM) for name in LENGTHS}
    own = {**values, **in_cm} if choice.centimetres else values
    found = {f"{choice.collection}_{name}": column for name, column in own.items()}
    if choice.candidates is not None:
        order = np.argsort(-values["pt"], kind="stable")
        candidates = {
            **{name: values[name][order] for name in ("pt", "eta", "phi", "charge")},
            **{name: in_cm[name][order] for name in ("d0", "dz")},
            "mass": np.full(len(order), PION_MASS_GEV),
            "pdgId": PION_ID * values["charge"][order].astype(np.int32),
        }
        found |= {
            f"{choice.candidates}_{name}": candidates[name].astype(kind)
            for name, kind in CANDIDATE_TYPES.items()
        }
    return found


def _joined(events: Sequence[Mapping[str, np.ndarray]], types: Mapping[str, type]) -> dict[str, ColumnData]:
    """Return the columns of all events as lists, those of a collection with the same offsets."""
    first = next(iter(types))
    offsets = np.zeros(len(events) + 1, np.int64)
    np.cumsum([len(one[first]) for one in events], out=offsets[1:])
    columns: dict[str, ColumnData] = {}
    for name, kind in types.items():
        flat = (
            events[0][name]
            if len(events) == 1
            else np.concatenate([*(one[name] for one in events), np.zeros(0, kind)])
        )
        columns[name] = Jagged(offsets, flat, flat)
    return columns


def _check_kinds(kind_of: KindOf) -> None:
    """Raise UsageError if the columns of cells cannot be those of cells."""
    for column in CELL_COLUMNS:
        kind = kind_of(column)
        if kind.is_list is False:
            raise UsageError(
                f"{column} has one value per event, but cells are a list per event (such as var * int32)"
            )
        if kind.is_fractional and column != "Cell_charge":
            raise UsageError(f"{column} has fractions, but modules and cells are numbered by integers")
