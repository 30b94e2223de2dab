"""The image taggers on one core: frames per second by engine and batch, and the time per event by module.

Simulates QCD events with pile-up and all low-level columns, verifies every engine, and times those that pass. First the networks
alone, with the engines interleaved in shuffled blocks. Then whole events, one at a time, through a menu with one tagger: reading
(of an open file, all events at once, divided by their number), event setup, seeds with their frames, the tagger; again interleaved.

Usage: python benchmarks/tagger_throughput/run.py [FILE.root] [-o FOLDER] [--quick]
Writes the record and the figure to FOLDER, by default benchmarks/records/. FILE.root must be simulated with --low-level.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported: one core is the unit of cost

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from figure import draw

from tamis._base import file_stamp, host_facts, now_ns, utc_timestamp, write_text
from tamis.bundle import Bundle
from tamis.events import EventFile, Frame, columns_of, open_writer
from tamis.measure import Bench, TimingPlan, run_bench
from tamis.trigger import CompiledMenu, Laps, Menu, compile_menu, menu_of
from tamis.trigger.decide import SETUP, decide_single

RECORDS = Path(__file__).parents[1] / "records"
TAGGERS = ("egamma", "quark-gluon", "top", "tau")
ENGINES = ("onnxruntime", "openvino", "torch")
BATCHES = (1, 8, 32, 64)
PROCESS, PT_HAT_GEV, MU, SEED = "qcd", 450.0, 20.0, 1
BLOCK = 15  # events per turn of a menu
Key = tuple[str, str]  # tagger and engine


def main() -> None:
    options = _arguments()
    events, rounds = (20, 1) if options.quick else (150, 3)
    plan = TimingPlan(rounds=15, least_rounds=3, budget_ns=300_000_000 if options.quick else 4_000_000_000)
    bench = Bench(ENGINES, BATCHES, modes=("call",), plan=plan, cold=False, load=False)
    print(f"the networks alone: {', '.join(TAGGERS)} on {', '.join(ENGINES)}", flush=True)
    measured = run_bench([Bundle.open(name) for name in TAGGERS], bench)
    networks = [row.model_dump(mode="json") for row in measured.latency if row.engine in ENGINES]
    with tempfile.TemporaryDirectory() as folder:
        file = options.file or simulate(Path(folder) / "events.root", events)
        print(f"whole events of {file}", flush=True)
        modules, of_events = time_modules(str(file), events, rounds)
    record = {
        "kind": "tagger-throughput",
        "created": utc_timestamp(),
        "host": host_facts().model_dump(mode="json"),
        "models": measured.models,
        "refused": measured.refused,
        "options": measured.options | {"rounds_of_events": rounds},
        "events": of_events | {"file": file.name if options.file else f"{PROCESS}, mu {MU:g}, seed {SEED}"},
        "networks": networks,
        "modules": modules,
    }
    stem = f"tagger-throughput-{file_stamp(record['created'])}"
    write_text(options.output / f"{stem}.json", json.dumps(record, indent=1) + "\n")
    draw(record, options.output, stem)
    show(record)
    print(options.output / f"{stem}.json", options.output / f"{stem}.png", sep="\n")


def simulate(file: Path, count: int) -> Path:
    """Simulate the events on which the modules are timed."""
    from tamis.simulate import SimulationSettings, simulate

    print(f"simulating {count} events", flush=True)
    settings = SimulationSettings(pt_hat_gev=PT_HAT_GEV, mu=MU, low_level=True)
    with open_writer(file) as writer:
        for batch in simulate(PROCESS, count, seed=SEED, settings=settings):
            writer.write(batch)
    return file


def time_modules(file: str, most: int, rounds: int) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Return the time per event of every module, by tagger and engine, and the numbers of events and frames."""
    with ExitStack() as stack:
        menus = {(name, engine): _menu(name, engine, stack) for name in TAGGERS for engine in ENGINES}
        opened = EventFile(file, None, 0)
        stack.callback(opened.close)
        rng = np.random.default_rng(0)
        _turn(opened, most, menus, rng)  # warms up
        turns = [_turn(opened, most, menus, rng) for _ in range(rounds)]
    modules = [
        _quantiles(name, engine, [laps[name, engine] for laps, _, _ in turns]) for name, engine in menus
    ]
    _, events, frames = turns[-1]
    return modules, {"events": events, "frames_per_event": frames}


def _turn(
    file: EventFile, most: int, menus: dict[Key, CompiledMenu], rng: np.random.Generator
) -> tuple[dict[Key, Laps], int, dict[str, float]]:
    """Read the events for every menu, then run the menus in turn on one block of events after the other."""
    laps = {key: Laps() for key in menus}
    frames = dict.fromkeys(TAGGERS, 0)
    read = {key: _read(file, menus[key], most, laps[key]) for key in _shuffled(menus, rng)}
    events = next(iter(read.values())).size
    for start in range(0, events, BLOCK):
        stop = min(start + BLOCK, events)
        for key in _shuffled(menus, rng):
            block = read[key].frame.rows(start, stop)
            columns = {name: block[name] for name in read[key].names}
            found = decide_single(menus[key].program, columns, stop - start, laps[key])
            if found.reason.any():
                raise SystemExit(f"{key}: {np.count_nonzero(found.reason)} events were not decided")
            frames[key[0]] += len(found.added[f"{_stage(key[0])}_score"].flat)
    return laps, events, {name: count / len(ENGINES) / events for name, count in frames.items()}


def _shuffled(menus: dict[Key, CompiledMenu], rng: np.random.Generator) -> list[Key]:
    keys = list(menus)
    return [keys[int(index)] for index in rng.permutation(len(keys))]


def _menu(name: str, engine: str, stack: ExitStack) -> CompiledMenu:
    """Return a menu that runs one tagger and accepts every event."""
    stage = _stage(name)
    spec = {
        "menu": stage,
        "stages": {stage: {"bundle": name, "engine": engine}},
        "paths": {"tagged": {"steps": [f"count({stage}_score >= 0) >= 0"]}},
        "streams": {"tagged": {"paths": ["tagged"]}},
    }
    compiled = compile_menu(menu_of(Menu.model_validate(spec)))
    stack.callback(compiled.close)
    return compiled


class _Read(NamedTuple):
    frame: Frame
    names: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.frame)


def _read(file: EventFile, menu: CompiledMenu, most: int, laps: Laps) -> _Read:
    """Read the columns of a menu, timed like in the trigger."""
    start = now_ns()
    names = file.choose(menu.program.reads)
    events = file.read_intact(names, 0, min(most, file.entries)).events
    read = now_ns()
    columns = columns_of(events)
    done = now_ns()
    laps.add("reading", read - start, len(events))
    laps.add("columns", done - read, len(events))
    return _Read(Frame(columns, len(events)), tuple(columns))


def _quantiles(name: str, engine: str, turns: list[Laps]) -> dict[str, object]:
    def times(label: str) -> np.ndarray:
        return np.concatenate([laps.of(label)[0] for laps in turns])

    per_event = {
        "reading": times("reading"),
        "event setup": times(SETUP) + np.median(times("columns")),
        "seeds and frames": times(f"{_stage(name)}_frames"),
        "tagger": times(_stage(name)),
    }
    quantiles = {
        module: dict(zip(("p50_ns", "p95_ns"), np.percentile(times, [50, 95]).tolist(), strict=True))
        for module, times in per_event.items()
    }
    return {"bundle": name, "engine": engine, "per_event": quantiles}


def _stage(name: str) -> str:
    return name.replace("-", "_")


def show(record: dict[str, object]) -> None:
    """Print the results."""
    for row in record["networks"]:
        spread = row["warm"]["p50_ns"] / row["batch"] / 1e3
        ratio = row["ratio"]["median"]
        print(
            f"{row['bundle']:12s} {row['engine']:12s} batch {row['batch']:3d} {row['events_per_second']:9.0f} frames/s "
            f"{spread:8.0f} us/frame  x{ratio:.2f}"
        )
    for row in record["modules"]:
        parts = ", ".join(
            f"{module} {times['p50_ns'] / 1e3:.0f}" for module, times in row["per_event"].items()
        )
        print(f"{row['bundle']:12s} {row['engine']:12s} us per event: {parts}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=RECORDS)
    parser.add_argument("--quick", action="store_true", help="few events, for a quick check")
    return parser.parse_args()


if __name__ == "__main__":
    main()
