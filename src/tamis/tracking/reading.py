"""Events with cells, from files of tamis (ROOT, Parquet), of ACTS or of the TrackML challenge (CSV)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import awkward as ak
import numpy as np

from tamis._base import DataError
from tamis.events import EventFile, Events, read_events
from tamis.events.detector import CELL_COLUMNS, Modules, SiliconCells, sort_cells
from tamis.events.detector.acts_events import (
    ACTS_PARTICLE,
    hit_of_measurements,
    particle_of_hits,
    read_table,
)
from tamis.events.detector.identifiers import pack_identifier

VECTORS = tuple(f"Particle_{kind}{axis}" for kind in "vp" for axis in "xyz")
TRUTH_COLUMNS = ("Cell_hit", "Hit_particle", "Particle_pdgId", "Particle_charge", *VECTORS)
PILE_UP_COLUMN = "Pileup_nPU"
READ_COLUMNS = (*CELL_COLUMNS, *TRUTH_COLUMNS, PILE_UP_COLUMN)
CELLS_SUFFIX = "-cells.csv"
BLOCK_BYTES = 16_000_000
BLOCKS_PER_WORKER = 8  # at least


@dataclass(frozen=True)
class TrueParticles:
    """The particles of an event, and the one that each cell is from (-1 where unknown)."""

    pdg_id: np.ndarray
    charge: np.ndarray
    vertex: np.ndarray  # (n, 3), mm
    momentum: np.ndarray  # (n, 3), GeV
    of_cell: np.ndarray  # in the order of `SiliconCells`
    barcode: np.ndarray | None = (
        None  # ACTS' identifiers, (n, 5): primary vertex, secondary vertex, particle, generation, sub-particle
    )

    def __len__(self) -> int:
        """Return the number of particles."""
        return len(self.pdg_id)


@dataclass(frozen=True)
class CellEvent:
    """One event; `reason` says why it cannot be reconstructed, in which case it has no cells."""

    run: int
    lumi: int
    number: int
    cells: SiliconCells | None
    truth: TrueParticles | None = None
    reason: str = ""
    collisions: int | None = None  # of pile-up, None where unknown


@dataclass(frozen=True)
class CellBlock:
    """Events `start` to `stop` of a source: entries of a file, or CSV files of a folder by name."""

    source: Path
    start: int
    stop: int


def read_cell_events(source: str | Path, modules: Modules) -> Iterator[CellEvent]:
    """Yield the events of a file, or of the CSV files `event...-cells.csv` in a folder or with the path as prefix."""
    source = Path(source)
    if _is_csv(source):
        yield from _read_csv(_csv_paths(source), modules)
        return
    for chunk in read_events([str(source)], columns=(), optional=READ_COLUMNS):
        yield from _events_of(chunk.events, modules, source)


def cell_blocks(source: str | Path, workers: int) -> list[CellBlock]:
    """Return blocks for several workers, none of which takes much memory; each CSV file is one.

    They begin where a piece of the file does, if that is nearby, so that no piece is decoded twice. The last ones are short, down to
    one event, so that all workers end at about the same time.
    """
    source = Path(source)
    if _is_csv(source):
        return [CellBlock(source, k, k + 1) for k in range(len(_csv_paths(source)))]
    with EventFile(str(source)) as file:
        names = _known(file.type_of)
        _check_complete(names, source)
        most = min(
            int(BLOCK_BYTES / max(file.bytes_per_event(names), 1.0)),
            -(-file.entries // (BLOCKS_PER_WORKER * workers)),
        )
        edges = [*file.clusters(names), file.entries]
        cuts = [0]
        while cuts[-1] < file.entries:
            begin, share = cuts[-1], -(-(file.entries - cuts[-1]) // workers)
            stop = begin + max(min(most, share // 2), 1)
            near = [edge for edge in edges[max(bisect_right(edges, stop) - 1, 0) :][:2] if edge > begin]
            is_near = bool(near) and near[0] <= min(stop + most, begin + share)
            cuts.append(near[0] if is_near else min(stop, file.entries))
    return [CellBlock(source, a, b) for a, b in pairwise(cuts)]


def read_cell_block(block: CellBlock, modules: Modules) -> Iterator[CellEvent]:
    """Yield the events of a block."""
    if _is_csv(block.source):
        paths = _csv_paths(block.source)[block.start : block.stop]
        yield from _read_csv(paths, modules, block.start + 1)
        return
    with EventFile(str(block.source)) as file:
        events = file.read(_known(file.type_of), block.start, block.stop)
    yield from _events_of(events, modules, block.source)


def _known(type_of: Callable[[str], str | None]) -> list[str]:
    """Return the columns of cells and of the truth that there are."""
    return [name for name in READ_COLUMNS if type_of(name)]


def _check_complete(names: Container[str], source: Path) -> None:
    missing = [name for name in CELL_COLUMNS if name not in names]
    if missing:
        raise DataError(
            f"{source} has no column {missing[0]}: cells are the columns {', '.join(CELL_COLUMNS)}, as `tamis simulate tracks` writes them"
        )


def _events_of(events: Events, modules: Modules, source: Path) -> Iterator[CellEvent]:
    _check_complete(events, source)
    identity = events.identity
    known = [name for name in (*CELL_COLUMNS, *TRUTH_COLUMNS) if name in events]
    with_truth = all(name in events for name in TRUTH_COLUMNS)
    pile_up = ak.to_numpy(events[PILE_UP_COLUMN]) if PILE_UP_COLUMN in events else None
    for k in range(len(events)):
        columns = {name: ak.to_numpy(events[name][k]) for name in known}
        event = _event(tuple(int(value) for value in identity[k]), columns, modules, with_truth=with_truth)
        yield event if pile_up is None else replace(event, collisions=int(pile_up[k]))


def cell_columns(events: Events, row: int) -> Mapping[str, np.ndarray]:
    """Return the columns of the cells of one event."""
    return {name: ak.to_numpy(events[name][row]) for name in CELL_COLUMNS}


def _event(
    identity: tuple[int, ...], columns: Mapping[str, np.ndarray], modules: Modules, *, with_truth: bool
) -> CellEvent:
    run, lumi, number = identity
    try:
        cells = sort_cells(
            columns["Cell_module"], columns["Cell_u"], columns["Cell_v"], columns["Cell_charge"], modules
        )
    except DataError as error:
        return CellEvent(run, lumi, number, None, reason=str(error))
    truth = None
    if with_truth:
        hit = columns["Cell_hit"][cells.source]
        particle = np.append(columns["Hit_particle"], -1)
        vertex, momentum = (
            np.stack([columns[f"Particle_{kind}{axis}"] for axis in "xyz"], axis=1).astype(np.float64)
            for kind in "vp"
        )
        truth = TrueParticles(
            columns["Particle_pdgId"],
            columns["Particle_charge"],
            vertex,
            momentum,
            particle[np.where((hit >= 0) & (hit < len(particle)), hit, -1)],
        )
    return CellEvent(run, lumi, number, cells, truth)


def _is_csv(source: Path) -> bool:
    return source.is_dir() or source.name.endswith(".csv")


def _csv_paths(source: Path) -> list[Path]:
    """Return the files with the cells of events, by name."""
    if source.is_dir():
        paths = sorted(source.glob(f"*{CELLS_SUFFIX}"))
        if not paths:
            raise DataError(f"{source} has no file named event...{CELLS_SUFFIX}")
        return paths
    if not source.name.endswith(CELLS_SUFFIX):
        raise DataError(
            f"{source} is not named event...{CELLS_SUFFIX}, as ACTS and TrackML name the cells of an event"
        )
    return [source]


def _read_csv(paths: Sequence[Path], modules: Modules, first: int = 1) -> Iterator[CellEvent]:
    for order, path in enumerate(paths, first):
        stem = path.name.removesuffix(CELLS_SUFFIX)
        digits = "".join(filter(str.isdigit, stem))
        number = int(digits) if digits else order
        try:
            yield _csv_event(path.parent / stem, number, modules)
        except DataError as error:
            yield CellEvent(1, 1, number, None, reason=str(error))


def _csv_event(prefix: Path, number: int, modules: Modules) -> CellEvent:
    cells = _table(prefix, "cells")
    if "geometry_id" in cells:
        identifier, u, v, charge = _needed(
            prefix, "cells", cells, ("geometry_id", "channel0", "channel1", "value")
        )
        sorted_cells = sort_cells(identifier, u, v, charge, modules)
        return CellEvent(1, 1, number, sorted_cells, _acts_truth(prefix, cells, sorted_cells))
    hit, u, v, charge = _needed(prefix, "cells", cells, ("hit_id", "ch0", "ch1", "value"))
    hits = _table(prefix, "hits")
    number_of, *place = _needed(prefix, "hits", hits, ("hit_id", "volume_id", "layer_id", "module_id"))
    row = _rows(hit, number_of, f"{prefix.name}-cells.csv", "hit_id")
    identifier = pack_identifier(*place)[row]
    sorted_cells = sort_cells(identifier, u, v, charge, modules)
    return CellEvent(1, 1, number, sorted_cells, _trackml_truth(prefix, hit, sorted_cells))


def _acts_truth(
    prefix: Path, cells: Mapping[str, np.ndarray], sorted_cells: SiliconCells
) -> TrueParticles | None:
    """Return the particles of an event of ACTS, if its files are there."""
    tables = {
        name: _optional(prefix, name) for name in ("measurement-simhit-map", "hits", "particles_simulated")
    }
    links, hits, particles = tables.values()
    if links is None or hits is None or particles is None or "measurement_id" not in cells:
        return None
    of_hit = np.append(particle_of_hits(hits, particles), -1)
    hit = hit_of_measurements(links, cells["measurement_id"])[sorted_cells.source]
    truth = _particles(particles, "particle_type", "q", of_hit[hit])
    return replace(truth, barcode=np.stack([particles[name] for name in ACTS_PARTICLE], axis=1))


def _trackml_truth(prefix: Path, hit: np.ndarray, sorted_cells: SiliconCells) -> TrueParticles | None:
    truth, particles = _optional(prefix, "truth"), _optional(prefix, "particles")
    if truth is None or particles is None:
        return None
    order = np.argsort(particles["particle_id"])
    names = particles["particle_id"][order]
    found = np.minimum(np.searchsorted(names, truth["particle_id"]), len(names) - 1)
    of_hit = np.where(names[found] == truth["particle_id"], order[found], -1)
    row = _rows(hit[sorted_cells.source], truth["hit_id"], f"{prefix.name}-cells.csv", "hit_id")
    return _particles(particles, "particle_type", "q", of_hit[row])


def _particles(table: Mapping[str, np.ndarray], kind: str, charge: str, of_cell: np.ndarray) -> TrueParticles:
    vertex, momentum = (np.stack([table[f"{letter}{axis}"] for axis in "xyz"], axis=1) for letter in "vp")
    pdg_id = (
        table[kind] if kind in table else np.zeros(len(table[charge]), np.int64)
    )  # the challenge leaves it out
    return TrueParticles(pdg_id, table[charge], vertex, momentum, of_cell)


def _rows(wanted: np.ndarray, known: np.ndarray, where: str, name: str) -> np.ndarray:
    """Return where values are among known ones; raise DataError for one that is not."""
    order = np.argsort(known)
    found = np.minimum(np.searchsorted(known[order], wanted), max(len(known) - 1, 0))
    if len(wanted) and (len(known) == 0 or (known[order][found] != wanted).any()):
        bad = wanted[0] if len(known) == 0 else wanted[known[order][found] != wanted][0]
        raise DataError(f"{where} has a {name} of {bad}, which no hit has")
    return order[found]


def _optional(prefix: Path, name: str) -> dict[str, np.ndarray] | None:
    return _table(prefix, name) if prefix.with_name(f"{prefix.name}-{name}.csv").exists() else None


def _table(prefix: Path, name: str) -> dict[str, np.ndarray]:
    """Return a table of an event."""
    return read_table(prefix.with_name(f"{prefix.name}-{name}.csv"))


def _needed(
    prefix: Path, name: str, table: Mapping[str, np.ndarray], columns: tuple[str, ...]
) -> list[np.ndarray]:
    found = []
    for column in columns:
        if column not in table:
            raise DataError(
                f"{prefix.name}-{name}.csv has no column {column}: its columns are {', '.join(table)}"
            )
        if table[column].dtype.kind not in "iuf":
            raise DataError(f"the column {column} of {prefix.name}-{name}.csv is not numbers throughout")
        if table[column].dtype.kind == "f" and column != "value" and np.isnan(table[column]).any():
            raise DataError(f"the column {column} of {prefix.name}-{name}.csv has a row without a value")
        found.append(table[column])
    return found
