"""Events of a silicon tracker: cells with charge, and the particles and hits that they are from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from tamis.events import Events
from tamis.events.detector import DetectorFiles
from tamis.simulate.parallel import check_simulation, in_order
from tamis.simulate.silicon.blocks import TRACK_BLOCK_EVENTS, TrackBlock, track_blocks, track_events
from tamis.simulate.silicon.charges import HitCells, share_charge
from tamis.simulate.silicon.primaries import GUNS, TrackSample
from tamis.simulate.silicon.transport import DetectorModel, Hits, Primaries, transport


def simulate_tracks(
    sample: TrackSample, n: int, *, seed: int = 1, workers: int = 1, detector: DetectorFiles | None = None
) -> Iterator[Events]:
    """Yield exactly n events in batches of up to four, which do not depend on the number of workers; by default of the generic detector."""
    check_simulation(n, "events", seed, workers, collisions=sample.process not in GUNS)
    files = detector or DetectorFiles()
    _model_of(files)
    tasks = iter(track_blocks(sample, n, seed, files))
    return in_order(make_track_block, tasks, workers if n > TRACK_BLOCK_EVENTS else 1)


def _model_of(files: DetectorFiles) -> DetectorModel:
    """Return the detector in its field; its files are read again if they have changed."""
    return _model(files, max((path.stat().st_mtime_ns for path in files.paths if path.exists()), default=0))


@lru_cache(maxsize=1)
def _model(files: DetectorFiles, _changed_ns: int) -> DetectorModel:
    return DetectorModel(files.open())


def make_track_block(task: TrackBlock) -> Events:
    """Simulate the events of a block."""
    model, columns = _model_of(task.detector), []
    for k, (own, collision) in enumerate(task.particles()):
        hits = transport(own, model, task.seeds.part(k))
        cells = share_charge(hits, model.detector.modules, task.seeds.part(k))
        columns.append(_columns(own, collision, hits, cells, model.detector.modules.identifier))
    return track_events([task], columns)


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
