"""`tamis track` against ACTS on the same events: clusters, seeds, efficiency as a paired difference, residuals, and time in turns on one core.

Usage: python benchmarks/tracking/run.py --acts-python ACTS/bin/python --configs FOLDER [--process ttbar] [--mu 200] [--events 10] [-o RECORD.json]

Particles are generated here; Fatras and ACTS' geometric digitisation make hits and cells of them; both reconstruct the cells. ACTS needs a Python
of its own with requirements.txt. Its times are those of its algorithms, ours process CPU times, in turns, each at its best of the rounds.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tamis._base import host_facts, library_versions, utc_timestamp
from tamis.events.detector import read_detector
from tamis.simulate.seeds import Seeds
from tamis.simulate.silicon.acts import write_particles
from tamis.simulate.silicon.primaries import GUNS, TrackSample, make_primaries
from tamis.tracking import Reconstruction
from tamis.tracking.matching import match_tracks, perigee_of
from tamis.tracking.reading import CellEvent, read_cell_events

ACTS_STAGES = {
    "space points": "SpacePointMaker",
    "seeding": "GridTripletSeedingAlgorithm",
    "parameters": "TrackParamsEstimationAlgorithm",
    "finding": "TrackFindingAlgorithm",
    "ambiguity": "GreedyAmbiguityResolutionAlgorithm",
}
HIGH_PT, CENTRAL = 0.9, 2.5  # of the bin of most interest
PARAMETERS = ("d0", "z0", "phi", "theta", "qop")


def main() -> None:
    """Generate, reconstruct in turns, compare and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--acts-python", required=True)
    parser.add_argument(
        "--configs",
        type=Path,
        required=True,
        help="ACTS' digitisation and seeding files of the generic detector",
    )
    parser.add_argument("--process", default="ttbar")
    parser.add_argument("--mu", type=float, default=0.0)
    parser.add_argument("--pt", type=float, nargs=2, default=(0.5, 100.0), help="of a gun")
    parser.add_argument("--particles", type=int, default=100, help="of a gun, in each event")
    parser.add_argument("--events", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder to keep and to continue from")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="tracking-race-"))
    sample = TrackSample(options.process, mu=options.mu, particles=options.particles, pt=tuple(options.pt))
    particles, acts = work / "particles", work / "acts"
    if not particles.exists():
        generate(sample, options.events, options.seed, particles)
    command = [
        options.acts_python,
        Path(__file__).with_name("acts_chain.py"),
        particles,
        acts,
        "--events",
        options.events,
        "--configs",
        options.configs,
    ]
    command += ["--seed", options.seed]
    if not (acts / "detectors.csv").exists():
        call([*command, "--csv"])
    detector = read_detector(acts / "detectors.csv", options.configs / "generic-digi-geometric-config.json")
    reconstruction = Reconstruction(detector)
    events = list(read_cell_events(acts, detector.modules))
    times = measure(reconstruction, events, [*command[:3], work / "timed", *command[4:]], options.rounds)
    rows = [compare(reconstruction, event, acts, detector.field) for event in events]
    record = summary(rows, times) | {
        "kind": "tracking-race", "created": utc_timestamp(), "process": options.process, "mu": options.mu, "events": options.events,
        "seed": options.seed, "host": host_facts().model_dump(mode="json"), "versions": library_versions(("numba", "numpy", "tamis")) | {"ACTS": "48.1.0"},
    }  # fmt: skip
    if options.process in GUNS:
        record |= {"pt": list(options.pt), "particles": options.particles}
    print(json.dumps({key: value for key, value in record.items() if key != "host"}, indent=1))
    if options.output is not None:
        options.output.write_text(json.dumps(record, indent=1) + "\n")


def generate(sample: TrackSample, events: int, seed: int, folder: Path) -> None:
    """Write the particles of events as ACTS reads them, event by event from a seed of its own."""
    folder.mkdir(parents=True)
    for number in range(events):
        particles, _, collision = make_primaries(sample, 1, Seeds(seed, 900, number))
        write_particles(particles, collision, folder / f"event{number:09d}-particles.csv")


def call(command: list[object]) -> None:
    """Run a command, whose output is only shown if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(map(str, command))} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        )


def measure(
    reconstruction: Reconstruction, events: list[CellEvent], command: list[object], rounds: int
) -> dict[str, Any]:
    """Return the time of an event in ms, ours and of ACTS, in turns."""
    ours, stages, acts = [], [], []
    for event in events[:2]:
        reconstruction(event.cells)
    for _ in range(rounds):
        call(command)
        with (Path(str(command[3])) / "timing.csv").open() as file:
            acts.append(
                {
                    row["identifier"].partition(":")[2]: 1e3 * float(row["time_perevent_s"])
                    for row in csv.DictReader(file)
                }
            )
        total, parts = 0.0, dict[str, float]()
        for event in events:
            start = time.process_time()
            reconstruction(event.cells)
            total += time.process_time() - start
            for stage, value in reconstruction.nanoseconds.items():
                parts[stage] = parts.get(stage, 0.0) + value / 1e6 / len(events)
        ours.append(1e3 * total / len(events))
        stages.append(parts)
        print(
            f"ours {ours[-1]:.1f} ms, ACTS {sum(acts[-1][name] for name in ACTS_STAGES.values()):.1f} ms",
            flush=True,
        )
    best = int(np.argmin(ours))
    together = [sum(one[name] for name in ACTS_STAGES.values()) for one in acts]
    fastest = int(np.argmin(together))
    return {
        "ours_ms": ours[best], "acts_ms": together[fastest], "ratios": [b / a for a, b in zip(ours, together, strict=True)],
        "our_stages_ms": stages[best], "acts_stages_ms": {stage: acts[fastest][name] for stage, name in ACTS_STAGES.items()},
        "note": "ACTS' clusters are made in its digitisation and not counted; its finder goes one way with one branch, ours both ways",
    }  # fmt: skip


def compare(reconstruction: Reconstruction, event: CellEvent, folder: Path, field: float) -> dict[str, Any]:
    """Compare one event: clusters, seeds, which particles are found, and parameters of tracks."""
    stem = f"event{event.number:09d}-"
    measurements = columns(folder / f"{stem}measurements.csv", ("measurement_id",))["measurement_id"]
    tracks = reconstruction(event.cells)
    truth = event.truth
    particle = truth.of_cell[tracks.first_cell]
    ours = match_tracks(tracks, particle, truth, field)
    cells = columns(folder / f"{stem}cells.csv", ("measurement_id",))["measurement_id"]
    of_cluster = cells[event.cells.source][tracks.first_cell]
    of_measurement = np.full(int(measurements.max()) + 1, -1, np.int64)
    of_measurement[of_cluster] = particle
    clusters = reconstruction.clusters(event.cells)
    points = reconstruction.space_points(clusters)
    mine = {tuple(row) for row in of_cluster[points.cluster[reconstruction.seeds(points).points]].tolist()}
    theirs = {tuple(row[:3]) for row in lists(folder / f"{stem}seeds.csv", "Hits_ID")}
    number = columns(folder / f"{stem}tracks.csv", ("track_id",))["track_id"]
    found = [np.array(row) for row in lists(folder / f"{stem}tracks.csv", "Measurements_ID")]
    acts = matched(
        found, of_measurement, truth, ours_hits=np.bincount(particle[particle >= 0], minlength=len(truth))
    )
    return {
        "clusters": len(tracks.first_cell), "acts_clusters": len(measurements), "seeds": len(mine), "acts_seeds": len(theirs), "same_seeds": len(mine & theirs),
        "pt": ours.pt, "eta": ours.eta, "found": ours.found > 0, "acts_found": acts["found"][wanted(truth, particle)],
        "tracks": len(tracks), "fakes": int(ours.fake.sum()), "duplicates": int(ours.duplicate.sum()),
        "acts_tracks": len(found), "acts_fakes": acts["fakes"], "acts_duplicates": acts["duplicates"],
        "residual": ours.residual, "pull": ours.pull, "track_pt": ours.track_pt, "track_eta": ours.track_eta,
        "acts_parameters": acts_parameters(folder / f"{stem}track_parameters.csv", number, acts["owner"], truth, field),
    }  # fmt: skip


def wanted(truth: Any, particle: np.ndarray) -> np.ndarray:
    """Return which particles `match_tracks` asks for."""
    pt = np.hypot(truth.momentum[:, 0], truth.momentum[:, 1])
    eta = np.arcsinh(truth.momentum[:, 2] / np.maximum(pt, 1e-9))
    hits = np.bincount(particle[particle >= 0], minlength=len(truth))
    result: np.ndarray = (truth.charge != 0) & (hits >= 7) & (pt > 0.5) & (np.abs(eta) < 3.0)
    return result


def matched(
    found: list[np.ndarray], of_measurement: np.ndarray, truth: Any, ours_hits: np.ndarray
) -> dict[str, Any]:
    """Match ACTS' tracks by the same definition."""
    owner = np.full(len(found), -1, np.int64)
    for n, hits in enumerate(found):
        names, counts = np.unique(of_measurement[hits], return_counts=True)
        best = int(counts.argmax())
        if (
            names[best] >= 0
            and counts[best] >= 0.5 * len(hits)
            and counts[best] >= 0.5 * ours_hits[names[best]]
        ):
            owner[n] = names[best]
    good = owner[owner >= 0]
    count = np.bincount(good, minlength=len(truth))
    return {
        "found": count > 0,
        "fakes": int((owner < 0).sum()),
        "duplicates": int((count - (count > 0)).sum()),
        "owner": owner,
    }


def acts_parameters(
    path: Path, number: np.ndarray, owner: np.ndarray, truth: Any, field: float
) -> dict[str, np.ndarray]:
    """Return ACTS' residuals and pulls; `number` are the tracks whose owners are given."""
    table = columns(path, ("trackId", *PARAMETERS, *(f"var_{name}" for name in PARAMETERS)))
    order = np.argsort(number)
    place = np.minimum(np.searchsorted(number[order], table["trackId"]), len(number) - 1)
    owner = np.where(number[order][place] == table["trackId"], owner[order][place], -1)
    rows = np.flatnonzero(owner >= 0)
    values = np.stack([table[name][rows] for name in PARAMETERS], axis=1)
    residual = values - perigee_of(truth, owner[rows], field)
    residual[:, 2] = np.mod(residual[:, 2] + np.pi, 2 * np.pi) - np.pi
    sigma = np.sqrt(np.stack([table[f"var_{name}"][rows] for name in PARAMETERS], axis=1))
    momentum = truth.momentum[owner[rows]]
    pt = np.hypot(momentum[:, 0], momentum[:, 1])
    return {"residual": residual, "pull": residual / sigma, "pt": pt, "eta": np.arcsinh(momentum[:, 2] / pt)}


def columns(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Read some columns of a CSV file."""
    import pyarrow.csv

    table = pyarrow.csv.read_csv(
        path, convert_options=pyarrow.csv.ConvertOptions(include_columns=list(names))
    )
    return {name: table[name].to_numpy() for name in names}


def lists(path: Path, column: str) -> list[list[int]]:
    """Read a column of lists of numbers."""
    with path.open(newline="") as file:
        return [
            [int(part) for part in row[column].strip("[]").split(",") if part] for row in csv.DictReader(file)
        ]


def summary(rows: list[dict[str, Any]], times: dict[str, Any]) -> dict[str, Any]:
    """Return sums over events and intervals at 95 %."""

    def joined(name: str) -> np.ndarray:
        return np.concatenate([row[name] for row in rows])

    def total(name: str) -> int:
        return int(sum(row[name] for row in rows))

    pt, eta, found, theirs = (joined(name) for name in ("pt", "eta", "found", "acts_found"))
    bins = {
        "all": np.ones(len(pt), bool),
        f"pt > {HIGH_PT}, |eta| < {CENTRAL}": (pt > HIGH_PT) & (np.abs(eta) < CENTRAL),
    }
    for low, high in ((0.5, 0.9), (0.9, 2.0), (2.0, 1e9)):
        for inner, outer in ((0.0, 1.0), (1.0, 2.0), (2.0, 2.5)):
            bins[f"{low:g} < pt < {high:g}, {inner:g} < |eta| < {outer:g}"] = (
                (pt > low) & (pt < high) & (np.abs(eta) >= inner) & (np.abs(eta) < outer)
            )
    efficiency = {}
    for name, chosen in bins.items():
        count = int(chosen.sum())
        if not count:
            continue
        difference = found[chosen].astype(float) - theirs[chosen]
        efficiency[name] = {
            "particles": count, "ours": float(found[chosen].mean()), "acts": float(theirs[chosen].mean()), "difference": float(difference.mean()),
            "error_95": float(1.96 * difference.std() / np.sqrt(count)),
        }  # fmt: skip
    seeds, acts_seeds, same = total("seeds"), total("acts_seeds"), total("same_seeds")
    return {
        "time": times,
        "clusters_equal": all(row["clusters"] == row["acts_clusters"] for row in rows), "clusters": total("clusters"),
        "seeds": {"ours": seeds, "acts": acts_seeds, "same": same, "of_acts": same / max(acts_seeds, 1), "of_ours": same / max(seeds, 1)},
        "efficiency": efficiency,
        "fakes": {"ours": total("fakes") / max(total("tracks"), 1), "acts": total("acts_fakes") / max(total("acts_tracks"), 1)},
        "duplicates": {"ours": total("duplicates") / max(total("tracks"), 1), "acts": total("acts_duplicates") / max(total("acts_tracks"), 1)},
        "residuals": residuals(rows),
    }  # fmt: skip


def residuals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return half the widths that hold 68 % of residuals and pulls, ours and of ACTS, for tracks above 0.9 GeV."""
    result = {}
    own = (np.concatenate([row["track_pt"] for row in rows]) > HIGH_PT) & (
        np.abs(np.concatenate([row["track_eta"] for row in rows])) < CENTRAL
    )
    acts = [row["acts_parameters"] for row in rows]
    other = (np.concatenate([one["pt"] for one in acts]) > HIGH_PT) & (
        np.abs(np.concatenate([one["eta"] for one in acts])) < CENTRAL
    )
    for k, name in enumerate(PARAMETERS):
        result[name] = {
            "ours": width(np.concatenate([row["residual"] for row in rows])[own, k]), "acts": width(np.concatenate([one["residual"] for one in acts])[other, k]),
            "our_pull": width(np.concatenate([row["pull"] for row in rows])[own, k]), "acts_pull": width(np.concatenate([one["pull"] for one in acts])[other, k]),
        }  # fmt: skip
    return result


def width(values: np.ndarray) -> float | None:
    """Return half the width that holds 68 %."""
    if len(values) < 2:
        return None
    low, high = np.nanpercentile(values, [15.87, 84.13])
    return float(high - low) / 2


if __name__ == "__main__":
    main()
