"""Events whose hits and cells ACTS makes, of the same particles as those of the fast simulation."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tamis._base import MissingExtraError, TamisError, UsageError
from tamis.events import Events
from tamis.events.detector import DetectorFiles, generic_detector
from tamis.events.detector.acts_events import (
    ACTS_PARTICLE,
    hit_of_measurements,
    particle_of_hits,
    read_table,
)
from tamis.events.detector.acts_files import digitisation_of
from tamis.simulate.parallel import check_simulation, in_order
from tamis.simulate.silicon.acts.particles import write_particles
from tamis.simulate.silicon.blocks import TrackBlock, track_blocks, track_events
from tamis.simulate.silicon.primaries import GUNS, TrackSample

BLOCKS_TOGETHER = 5  # that ACTS simulates in one go, as it takes seconds to start
LAST_LINES = 5  # of the output of ACTS, shown where it fails
SCRIPT = Path(__file__).with_name("script.py")


@dataclass(frozen=True)
class _ActsRun:
    """What one process of ACTS simulates."""

    python: str
    blocks: tuple[TrackBlock, ...]


def simulate_with_acts(
    sample: TrackSample, n: int, *, seed: int = 1, workers: int = 1, python: str | None = None
) -> Iterator[Events]:
    """Yield exactly n events in batches of up to twenty, which do not depend on the number of workers; `python` is one that can import `acts`."""
    check_simulation(n, "events", seed, workers, collisions=sample.process not in GUNS)
    python = _python_with_acts(python)
    blocks = track_blocks(sample, n, seed, DetectorFiles())
    runs = [_ActsRun(python, tuple(blocks[k : k + BLOCKS_TOGETHER])) for k in range(0, len(blocks), BLOCKS_TOGETHER)]  # fmt: skip
    return in_order(_simulate_run, iter(runs), workers if len(runs) > 1 else 1)


def _python_with_acts(python: str | None) -> str:
    """Return the Python to run ACTS with; raise an error if it cannot be run."""
    try:
        done = subprocess.run(
            [python or sys.executable, "-c", "import acts.examples"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise UsageError(f"{python} cannot be run: {error.strerror}") from error
    if done.returncode and python is None:
        raise MissingExtraError(
            "simulating with ACTS needs pyacts: install it with pip install 'tamis[acts]', or name a Python that has it (--acts-python)"
        )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise UsageError(f"{python} cannot import acts.examples ({reason}): install pyacts there")
    return python or sys.executable


def _simulate_run(run: _ActsRun) -> Events:
    detector, number = generic_detector(), 0
    with tempfile.TemporaryDirectory(prefix="tamis-acts-") as name:
        folder = Path(name)
        for block in run.blocks:
            for particles, collision in block.particles():
                write_particles(particles, collision, folder / f"event{number:09d}-particles.csv")
                number += 1
        digitisation = folder / "digitisation.json"
        digitisation.write_text(json.dumps(digitisation_of(detector.modules)), encoding="utf-8")
        _call(
            [
                run.python, SCRIPT, folder, folder, "--events", number, "--digitisation", digitisation,
                "--seed", run.blocks[0].seeds.pythia("acts"), "--field", detector.field,
            ]
        )  # fmt: skip
        return track_events(run.blocks, [_columns(folder, k) for k in range(number)])


def _call(command: list[object]) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()[-LAST_LINES:]
        raise TamisError(f"ACTS ended with {done.returncode}: {' | '.join(lines) or 'it printed nothing'}")


def _columns(folder: Path, number: int) -> dict[str, np.ndarray]:
    """Return the columns of one event from the CSV files of ACTS."""
    cells, hits, links, particles = (
        read_table(folder / f"event{number:09d}-{name}.csv")
        for name in ("cells", "hits", "measurement-simhit-map", "particles_simulated")
    )
    result: dict[str, np.ndarray] = {
        "Cell_module": cells["geometry_id"].astype(np.int64), "Cell_u": cells["channel0"].astype(np.int16), "Cell_v": cells["channel1"].astype(np.int16),
        "Cell_charge": cells["value"].astype(np.float32), "Cell_hit": hit_of_measurements(links, cells["measurement_id"]).astype(np.int32),
        "Hit_module": hits["geometry_id"].astype(np.int64), "Hit_particle": particle_of_hits(hits, particles).astype(np.int32), "Hit_index": hits["index"].astype(np.int16),
        "Particle_pdgId": particles["particle_type"].astype(np.int32), "Particle_charge": particles["q"].astype(np.int16),
        "Particle_collision": (particles[ACTS_PARTICLE[0]] - 1).astype(np.int16),
    }  # fmt: skip
    for axis in "xyz":
        result[f"Hit_{axis}"] = hits[f"t{axis}"].astype(np.float32)
        result[f"Hit_p{axis}"] = hits[f"tp{axis}"].astype(np.float32)
        result[f"Particle_v{axis}"] = particles[f"v{axis}"].astype(np.float32)
        result[f"Particle_p{axis}"] = particles[f"p{axis}"].astype(np.float32)
    return result
