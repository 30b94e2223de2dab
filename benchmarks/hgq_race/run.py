"""Race: `tamis compress --pareto` against HGQ2 with alkaid, on the same jets, with one thread and about the same CPU time each.

Usage: python benchmarks/hgq_race/run.py TRAIN.h5 TEST.h5 --peer-python PEER/bin/python [--seeds 1 2] [--epochs 80] [-o RECORD.json]

The peer needs a Python of its own with requirements.txt. For each seed both train in turn: we a float tagger and then the front, the peer one
training with a growing weight of the EBOPs. Verilog of every model of both fronts, cut for the same clock, is counted by the same yosys command, and accuracy is that of
the integers of the hardware on TEST. The ratio at each model of the peer is that of our LUTs, interpolated at its accuracy, to its own.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import tamis
from tamis._base import host_facts, library_versions, utc_timestamp
from tamis.bundle import Bundle, rows_of
from tamis.firmware.design import make_design
from tamis.firmware.emulator import Emulator
from tamis.firmware.synthesis import FAMILY, synthesise, yosys_version

CLOCK_MHZ = 240.0
VALIDATION = 0.15  # of the rows, as `tamis compress` has it
POINTS = 8
SYNTHESIS = f"synth_xilinx -family {FAMILY} -flatten -noiopad -noclkbuf -top peer"


def main() -> None:
    """Train in turn, count, compare and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--epochs", type=int, default=80, help="of our front")
    parser.add_argument(
        "--peer-epochs", type=int, help="default: as many as fit into the CPU time that we took"
    )
    parser.add_argument(
        "--most-luts", type=float, default=20_000, help="larger designs, by estimate, are not synthesised"
    )
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--work", type=Path, help="folder to keep and to continue from")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="hgq-race-"))
    work.mkdir(parents=True, exist_ok=True)
    rows = write_rows(options.train, options.test, work)
    races = []
    for seed in options.seeds:
        ours = run_ours(options.train, options.test, work / f"ours-{seed}", seed, options)
        peer = run_peer(rows, work / f"peer-{seed}", seed, options, ours["cpu_seconds"])
        races.append(
            {"seed": seed, "ours": ours, "peer": peer, "ratios": ratios(ours["points"], peer["points"])}
        )
        for row in races[-1]["ratios"]:
            print(json.dumps(row), flush=True)
    found = [row["ratio"] for race in races for row in race["ratios"] if row["ratio"]]
    record = {
        "kind": "hgq-race",
        "created": utc_timestamp(),
        "host": host_facts().model_dump(mode="json"),
        "versions": library_versions(("torch", "numpy", "tamis", "alkaid"))
        | {"yosys": yosys_version(), "HGQ2": "0.2.0"},
        "clock_mhz": CLOCK_MHZ,
        "races": races,
        "geometric_mean_ratio": math.exp(np.mean(np.log(found))) if found else None,
    }
    print("LUTs of ours over the peer's at equal accuracy, geometric mean:", record["geometric_mean_ratio"])
    if options.output is not None:
        options.output.write_text(json.dumps(record, indent=1) + "\n")


def write_rows(train: Path, test: Path, work: Path) -> Path:
    """Write standardised rows for the peer, split like ours."""
    target = work / "rows.npz"
    with h5py.File(train) as file, h5py.File(test) as other:
        x, y = file["features"][:], file["label"][:]
        x_test, y_test = other["features"][:], other["label"][:]
    order = np.random.default_rng(7).permutation(len(x))
    held = round(VALIDATION * len(x))
    first, second = order[held:], order[:held]
    mean, spread = x[first].mean(0), x[first].std(0)

    def scaled(values: np.ndarray) -> np.ndarray:
        return ((values - mean) / spread).astype(np.float32)

    np.savez(
        target,
        x=scaled(x[first]), y=y[first], x_validation=scaled(x[second]), y_validation=y[second], x_test=scaled(x_test), y_test=y_test,
    )  # fmt: skip
    return target


def run_ours(train: Path, test: Path, work: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train the tagger and the front, and count what each model costs."""
    work.mkdir(exist_ok=True)
    parent, front, spent = work / "float.tamis", work / "front", work / "cpu-seconds.json"
    if not front.exists():
        before = children_seconds()
        tamis_command = [sys.executable, "-m", "tamis"]
        call([*tamis_command, "train", "jet-tagger", train, "-o", parent, "--seed", seed, "--threads", 1])
        way = ["--pareto", "--points", POINTS, "--epochs", options.epochs, "--seed", seed]
        call([*tamis_command, "compress", parent, "--data", train, *way, "-o", front])
        spent.write_text(json.dumps(children_seconds() - before))
    with h5py.File(test) as file:
        x, y = file["features"][:].astype(np.float32), file["label"][:]
    points: list[dict[str, Any]] = []
    for path in sorted(front.glob("*.tamis"), reverse=True):  # from cheap to dear
        bundle = Bundle.open(path)
        with tamis.open(bundle, engine="firmware") as session:
            right = session.run(features=x)["probabilities"].argmax(1) == y
        program = Emulator(bundle.model, rows_of(bundle.golden.inputs, slice(0, 1))).graph.program
        design = make_design(program, bundle.name, CLOCK_MHZ)
        lut = None
        if sum(layer.lut_estimate for layer in design.layers) <= options.most_luts:
            with tempfile.TemporaryDirectory() as folder:
                lut = synthesise(design, Path(folder)).lut
        points.append(
            {"name": path.name, "accuracy": float(right.mean()), "lut": lut, "cycles": design.latency}
        )
        print("ours", json.dumps(points[-1]), flush=True)
    with tamis.open(parent, engine="onnxruntime") as session:
        of_parent = float((session.run(features=x)["probabilities"].argmax(1) == y).mean())
    seconds = json.loads(spent.read_text()) if spent.exists() else None
    return {"cpu_seconds": seconds, "accuracy_of_float": of_parent, "points": points}


def run_peer(
    rows: Path, work: Path, seed: int, options: argparse.Namespace, budget_s: float | None
) -> dict[str, Any]:
    """Let the peer train for about as much CPU time, and count what each of its models costs."""
    work.mkdir(exist_ok=True)
    command = [options.peer_python, Path(__file__).with_name("peer.py"), rows]
    if not (work / "points.json").exists():
        epochs = options.peer_epochs
        if epochs is None:
            call([*command, work / "calibration", "--seed", seed, "--epochs", 3, "--no-points"])
            history = json.loads((work / "calibration" / "history.json").read_text())
            first, last = history[0]["cpu_seconds"], history[-1]["cpu_seconds"]
            epochs = max(1, round((budget_s or 0) / ((last - first) / (len(history) - 1))))
        call([*command, work, "--seed", seed, "--epochs", epochs, "--clock", CLOCK_MHZ])
    points = json.loads((work / "points.json").read_text())
    for point in points:
        point["lut"] = None
        if point["cost_estimate"] <= options.most_luts:
            point["lut"] = count_luts(Path(point.pop("folder")) / "src")
        print("peer", json.dumps({key: point[key] for key in ("accuracy", "ebops", "lut")}), flush=True)
    history = json.loads((work / "history.json").read_text())
    return {"cpu_seconds": history[-1]["cpu_seconds"], "epochs": len(history), "points": points}


def count_luts(folder: Path) -> int:
    """Return the LUTs of alkaid's Verilog by the same command as ours."""
    sources = [
        str(path)
        for path in sorted([*folder.glob("*.v"), *folder.glob("static/*.v")])
        if "wrapper" not in path.name
    ]
    script = f"read_verilog -defer {' '.join(sources)}; {SYNTHESIS}; tee -q -o cells.json stat -json"
    subprocess.run(["yosys", "-q", "-p", script], cwd=folder, check=True, capture_output=True)
    cells = list(json.loads((folder / "cells.json").read_text())["modules"].values())[-1]["num_cells_by_type"]
    return sum(count for name, count in cells.items() if name in {f"LUT{n}" for n in range(1, 7)})


def ratios(ours: list[dict[str, Any]], peer: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return our LUTs at the accuracy of each model on the peer's front, over its own; None beyond our front."""
    own, other = front_of(ours), front_of(peer)
    accuracies, logs = [row[0] for row in own], [math.log(row[1]) for row in own]
    found = []
    for accuracy, lut in other:
        inside = accuracies[0] <= accuracy <= accuracies[-1]
        at = math.exp(np.interp(accuracy, accuracies, logs)) if inside else None
        if accuracy < accuracies[0]:
            at = own[0][1]  # our cheapest one is better than this
        found.append(
            {"accuracy": accuracy, "peer_lut": lut, "our_lut": at, "ratio": None if at is None else at / lut}
        )
    return found


def front_of(points: list[dict[str, Any]]) -> list[tuple[float, int]]:
    """Return accuracy and LUTs of the models that no cheaper one equals, from cheap to dear."""
    best, kept = 0.0, []
    counted = [point for point in points if point["lut"] is not None]
    for point in sorted(counted, key=lambda one: (one["lut"], -one["accuracy"])):
        if point["accuracy"] > best:
            best = point["accuracy"]
            kept.append((best, point["lut"]))
    return kept


def call(command: list[object]) -> None:
    """Run a command; its output goes to the terminal."""
    subprocess.run([str(part) for part in command], check=True)


def children_seconds() -> float:
    """Return the CPU time of all finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
