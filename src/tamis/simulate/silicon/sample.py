"""Events of a silicon tracker: cells with charge, and the particles and hits that they are from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import awkward as ak
import numpy as np

from tamis.events import Events
from tamis.events.detector import DetectorFiles
from tamis.simulate.parallel import check_simulation, in_order
from tamis.simulate.processes import PROCESSES
from tamis.simulate.seeds import Seeds
from tamis.simulate.silicon.charges import HitCells, share_charge
from tamis.simulate.silicon.primaries import GUNS, TrackSample, make_primaries, pile_up_collisions
from tamis.simulate.silicon.transport import DetectorModel, Hits, Primaries, transport

TRACK_BLOCK_EVENTS = 4  # events depend on it as they do on the seed
SAMPLE_NUMBER = 300  # part of the seed, with that of the process
RUN_NUMBERS = 2**32


@dataclass(frozen=True)
class TrackBlock:
    """The parameters of one block of events."""

    sample: TrackSample
    seed: int
    block: int
    events: int
    detector: DetectorFiles


def simulate_tracks(
    sample: TrackSample, n: int, *, seed: int = 1, workers: int = 1, detector: DetectorFiles | None = None
) -> Iterator[Events]:
    """Yield exactly n events in batches of up to four, which do not depend on the number of workers; by default of the generic detector."""
    check_simulation(n, "events", seed, workers, collisions=sample.process not in GUNS)
    files = detector or DetectorFiles()
    _model_of(files)
    tasks = (
        TrackBlock(sample, seed, block, min(TRACK_BLOCK_EVENTS, n - block * TRACK_BLOCK_EVENTS), files)
        for block in range(-(-n // TRACK_BLOCK_EVENTS))
    )
    return in_order(make_track_block, tasks, workers if n > TRACK_BLOCK_EVENTS else 1)


def _model_of(files: DetectorFiles) -> DetectorModel:
    """Return the detector in its field; its files are read again if they have changed."""
    return _model(files, max((path.stat().st_mtime_ns for path in files.paths if path.exists()), default=0))


@lru_cache(maxsize=1)
def _model(files: DetectorFiles, _changed_ns: int) -> DetectorModel:
    return DetectorModel(files.open())


def make_track_block(task: TrackBlock) -> Events:
    """Simulate a whole block and return its first events."""
    sample, model = task.sample, _model_of(task.detector)
    number = SAMPLE_NUMBER + (
        PROCESSES[sample.process].number
        if sample.process in PROCESSES
        else 100 + list(GUNS).index(sample.process)
    )
    seeds = Seeds(task.seed, number, task.block)
    primaries, event, collision = make_primaries(sample, TRACK_BLOCK_EVENTS, seeds)
    columns: dict[str, list[np.ndarray]] = {}
    for k in range(task.events):
        rows = np.flatnonzero(event == k)
        own = Primaries(
            *(getattr(primaries, name)[rows] for name in ("pdg_id", "charge", "vertex", "momentum"))
        )
        hits = transport(own, model, seeds.part(k))
        cells = share_charge(hits, model.detector.modules, seeds.part(k))
        for name, values in _columns(
            own, collision[rows], hits, cells, model.detector.modules.identifier
        ).items():
            columns.setdefault(name, []).append(values)
    first = task.block * TRACK_BLOCK_EVENTS + 1
    identity = {
        "run": np.full(task.events, task.seed % RUN_NUMBERS, np.uint32),
        "luminosityBlock": np.ones(task.events, np.uint32),
        "event": np.arange(first, first + task.events, dtype=np.uint64),
        "Pileup_nPU": pile_up_collisions(sample, TRACK_BLOCK_EVENTS, seeds)[: task.events].astype(np.int32),
        "Pileup_nTrueInt": np.full(task.events, sample.mu, np.float32),
    }
    jagged = {
        name: ak.unflatten(np.concatenate(parts), [len(part) for part in parts])
        for name, parts in columns.items()
    }
    return Events.of(identity | jagged)


def _columns(
    own: Primaries, collision: np.ndarray, hits: Hits, cells: HitCells, identifier: np.ndarray
) -> dict[str, np.ndarray]:
    result = {
        "Cell_module": identifier[cells.module], "Cell_u": cells.u.astype(np.int16), "Cell_v": cells.v.astype(np.int16),
        "Cell_charge": cells.charge, "Cell_hit": cells.hit.astype(np.int32),
        "Hit_module": identifier[hits.module.astype(np.int64)], "Hit_particle": hits.particle.astype(np.int32), "Hit_index": hits.index.astype(np.int16),
        "Particle_pdgId": own.pdg_id.astype(np.int32), "Particle_charge": own.charge.astype(np.int16),
        "Particle_collision": collision.astype(np.int16),
    }  # fmt: skip
    for axis, name in enumerate("xyz"):
        result[f"Hit_{name}"] = hits.position[:, axis].astype(np.float32)
        result[f"Hit_p{name}"] = hits.momentum[:, axis].astype(np.float32)
        result[f"Particle_v{name}"] = own.vertex[:, axis].astype(np.float32)
        result[f"Particle_p{name}"] = own.momentum[:, axis].astype(np.float32)
    return result
