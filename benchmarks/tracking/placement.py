"""An emulated accelerator against the formula of `tamis place`: real stages in two processes, and a throttled link between them.

Usage: python benchmarks/tracking/placement.py [--file EVENTS.root] [--mu 60] [--events 60] [--link 1,20] [--link 0.05,100] [--json OUT]
There is no GPU in it: one process plays the CPU with one core, the other one the GPU with the same kernels on another core. What a stage writes for
one on the other side is handed over in shared memory, one message after the other, each delayed by its bytes / bandwidth and the time per copy.
The formula is printed for times of the stages on each side alone, before the run, and for their times within the run, when both sides share the host;
the simulation for the latter.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import pickle
import queue
import tempfile
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tamis._base import host_facts, now_ns
from tamis.events import open_writer
from tamis.events.detector import generic_detector
from tamis.farm.gpu_times import GpuTimesFile
from tamis.farm.placement import PlacementResources, placements
from tamis.farm.placement_inputs import samples_of
from tamis.farm.placement_links import parse_link
from tamis.farm.placement_simulation import simulate_placement
from tamis.records import PlacementLink, TrackingRecord
from tamis.simulate.silicon import TrackSample, simulate_tracks
from tamis.tracking import Reconstruction, track_file
from tamis.tracking.cpu import CpuStages
from tamis.tracking.finding import FindingSettings
from tamis.tracking.kernels.types import CellArrays
from tamis.tracking.opening import warm_up
from tamis.tracking.reading import read_cell_events
from tamis.tracking.seeding import SeedingSettings, seeding_layers
from tamis.tracking.steps import STAGES

PLACEMENTS = (
    "C C C C C C",
    "G G G G C C",
    "C C G G C C",
    "C C C C G C",
    "C C G C G C",
    "G G G G G C",
    "G G G G G G",
)
READS = {
    "clusters": ("cells",), "space points": ("clusters",), "seeding": ("space points",), "parameters": ("seeding", "space points", "clusters"),
    "finding": ("parameters", "clusters"), "ambiguity": ("finding",), "fit": ("ambiguity",),
}  # fmt: skip
METHODS = {"space points": "space_points"}
IN_FLIGHT = 16  # as in the simulation, for one core and one GPU
CALIBRATION_PASSES = 2
SEED = 21
SHARED = Path("/dev/shm")  # noqa: S108 - memory, for arrays between the processes
SideTimes = dict[str, dict[str, float]]  # milliseconds by side and stage


def main() -> None:
    """Calibrate, run the placements over each link, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", type=Path, help="events with cells; default: simulated")
    parser.add_argument("--mu", type=float, default=60.0, help="pile-up of simulated events")
    parser.add_argument("--events", type=int, default=60, help="events per placement")
    parser.add_argument("--link", action="append", help="GB/s and us per copy; repeatable")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    links = [parse_link(text) for text in options.link or ("1,20", "0.05,100")]
    with tempfile.TemporaryDirectory(dir=SHARED if SHARED.is_dir() else None) as folder:
        path = options.file or simulated_events(Path(folder) / "events.root", options.mu)
        rows = measured(path, links, options.events, Path(folder))
    for row in rows:
        alone, within = (row["measured"] / row[name] for name in ("predicted_alone", "predicted_within"))
        print(
            f"{row['link']:>9}  {row['stages']}  measured {row['measured']:6.2f}/s  predicted from times alone {row['predicted_alone']:6.2f} (ratio {alone:.2f}), "
            f"within the run {row['predicted_within']:6.2f} by {row['bottleneck']:<6} (ratio {within:.2f}), "
            f"simulated {row['simulated']:6.2f} (ratio {row['measured'] / row['simulated']:.2f}); {row['bytes'] / 1e6:.2f} MB per event, "
            f"predicted {row['predicted_bytes'] / 1e6:.2f}"
        )
    if options.json is not None:
        facts = {
            "emulated": True,
            "mu": options.mu,
            "events": options.events,
            "rows": rows,
            "host": host_facts().model_dump(),
        }
        options.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def simulated_events(path: Path, mu: float) -> Path:
    """Write ttbar events with pile-up."""
    with open_writer(path) as writer:
        for batch in simulate_tracks(TrackSample("ttbar", mu=mu), 6, seed=SEED):
            writer.write(batch)
    return path


def measured(path: Path, links: list[PlacementLink], events: int, folder: Path) -> list[dict]:
    """Return predicted and measured rates."""
    record = track_file(path, Reconstruction(generic_detector()))
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for side in "CG":
        ours, theirs = context.Pipe()
        process = context.Process(target=side_process, args=(side, path, theirs, folder), daemon=True)
        process.start()
        pipes[side] = ours
        processes.append(process)
    for pipe in pipes.values():
        pipe.recv()  # ready
    alone_times(pipes)  # the first one fills caches
    rows = []
    for link in links:
        for letters in PLACEMENTS:
            alone = alone_times(pipes)
            found = EmulatedRun(pipes, link).run(letters, events)
            rows.append(row_of(record, alone, letters, link, found))
    for pipe in pipes.values():
        pipe.send(None)
    for process in processes:
        process.join()
    return rows


def alone_times(pipes: dict[str, Connection]) -> SideTimes:
    """Return the time of every stage on each side, one side after the other."""
    times = {}
    for side, pipe in pipes.items():
        pipe.send("calibrate")
        times[side] = pipe.recv()
    return times


def row_of(
    record: TrackingRecord, alone: SideTimes, letters: str, link: PlacementLink, found: EmulatedResult
) -> dict:
    """Return both predictions for one placement, and what was measured."""
    within = {side: times | found.times[side] for side, times in alone.items()}
    predicted = {}
    for name, times in (("alone", alone), ("within", within)):
        stages = [
            one.model_copy(update=dict.fromkeys(("mean_ms", "p50_ms", "p99_ms"), times["C"][one.stage]))
            for one in record.stages
        ]
        source = GpuTimesFile(source="emulated", times=dict(times["G"]))
        (sample,) = samples_of([record.model_copy(update={"stages": stages})], [source])
        predicted[name] = next(
            one for one in placements(sample, link, PlacementResources(1, 1)) if one.stages == letters
        )
    one = predicted["within"]
    simulated = simulate_placement(sample, one, link, PlacementResources(1, 1), load=0.5, events=1000)
    return {
        "link": link.name, "stages": letters, "measured": found.events_per_second, "predicted_alone": predicted["alone"].events_per_second,
        "predicted_within": one.events_per_second, "simulated": simulated.saturated_events_per_second, "bottleneck": one.bottleneck, "bytes": found.bytes_per_event,
        "predicted_bytes": one.to_gpu_bytes + one.to_cpu_bytes, "alone": alone, "within": found.times,
    }  # fmt: skip


@dataclass(frozen=True)
class EmulatedResult:
    """What was measured in a run."""

    events_per_second: float
    bytes_per_event: float
    times: SideTimes  # of the stages that each side ran


class EmulatedRun:
    """Events that pass through both processes and over the link between them."""

    def __init__(self, pipes: dict[str, Connection], link: PlacementLink) -> None:
        """Start without events."""
        self.pipes, self.link = pipes, link
        self.locks = {side: threading.Lock() for side in pipes}
        self.crossing: queue.Queue = queue.Queue()
        self.finished: queue.Queue = queue.Queue()
        self.times: SideTimes = {}
        self.bytes = 0

    def run(self, letters: str, events: int) -> EmulatedResult:
        """Run one placement; the rate is that after the pipeline has filled."""
        for pipe in self.pipes.values():
            pipe.send(letters)
        listeners = [threading.Thread(target=self._listen, args=(side,)) for side in self.pipes]
        carrier = threading.Thread(target=self._carry)
        for thread in (*listeners, carrier):
            thread.start()
        begun, ends = 0, []
        while len(ends) < events:
            while begun < min(events, len(ends) + IN_FLIGHT):
                self._send("C", pickle.dumps(begun))
                begun += 1
            ends.append(self.finished.get())
        self.crossing.put(None)
        carrier.join()
        for side in self.pipes:
            self._send(side, b"end")
        for thread in listeners:
            thread.join()
        rate = 1e9 * (events - IN_FLIGHT) / (ends[-1] - ends[IN_FLIGHT - 1])
        return EmulatedResult(rate, self.bytes / events, self.times)

    def _send(self, side: str, message: bytes) -> None:
        with self.locks[side]:
            self.pipes[side].send_bytes(message)

    def _listen(self, side: str) -> None:
        while True:
            kind, *rest = self.pipes[side].recv()
            if kind == "end":
                self.times[side] = rest[0]
                return
            if kind == "done":
                self.finished.put(now_ns())
            else:
                self.crossing.put(rest)

    def _carry(self) -> None:
        while (item := self.crossing.get()) is not None:
            copies, other, path = item
            size = Path(path).stat().st_size
            time.sleep(copies * self.link.copy_us / 1e6 + size / self.link.gb_per_s / 1e9)
            self.bytes += size
            self._send(other, pickle.dumps(path))


def side_process(side: str, path: Path, pipe: Connection, folder: Path) -> None:
    """Run the stages of one side until there is nothing left."""
    detector = generic_detector()
    warm_up(Reconstruction(detector))
    kernels = CpuStages(detector, seeding_layers(detector), SeedingSettings(), FindingSettings())
    cells = [event.cells for event in read_cell_events(path, detector.modules)]
    events = [CellArrays(one.module, one.u, one.v, one.charge) for one in cells if one is not None]
    pipe.send("ready")
    while (order := pipe.recv()) is not None:
        if order == "calibrate":
            pipe.send(calibrated(kernels, events))
        else:
            serve(side, order, kernels, events, pipe, folder)


def calibrated(kernels: CpuStages, events: list[CellArrays]) -> dict[str, float]:
    """Return the mean time of each stage in milliseconds."""
    spent = dict.fromkeys(STAGES, 0)
    for _ in range(CALIBRATION_PASSES):
        for cells in events:
            held = {"cells": cells}
            for stage in STAGES:
                start = now_ns()
                held[stage] = stage_of(kernels, stage, held)
                spent[stage] += now_ns() - start
    return {stage: time_ns / 1e6 / len(events) / CALIBRATION_PASSES for stage, time_ns in spent.items()}


def stage_of(kernels: CpuStages, stage: str, held: dict) -> object:
    """Run one stage on what it reads."""
    return getattr(kernels, METHODS.get(stage, stage))(*(held[name] for name in READS[stage]))


def serve(
    side: str, letters: str, kernels: CpuStages, events: list[CellArrays], pipe: Connection, folder: Path
) -> None:
    """Run stages of events that arrive, and hand them to the other side where its stages are next."""
    placed = letters.split()
    on = {stage: placed[min(index, len(placed) - 1)] for index, stage in enumerate(STAGES)}
    other = "G" if side == "C" else "C"
    held: dict[int, dict] = {}
    spent: dict[str, list[int]] = {}
    while (message := pipe.recv_bytes()) != b"end":
        found = pickle.loads(message)  # noqa: S301 - of the parent
        if isinstance(found, int):
            number, step, values = found, 0, {"cells": events[found % len(events)]}
        else:
            number, step, values = pickle.loads(Path(found).read_bytes())  # noqa: S301 - of the other side
            Path(found).unlink()
        mine = held.setdefault(number, {})
        mine.update(values)
        written = list(values) if step == 0 else []
        while step < len(STAGES) and on[STAGES[step]] == side:
            start = now_ns()
            mine[STAGES[step]] = stage_of(kernels, STAGES[step], mine)
            spent.setdefault(STAGES[step], []).append(now_ns() - start)
            written.append(STAGES[step])
            step += 1
        if step == len(STAGES) and side == "C":
            del held[number]
            pipe.send(("done",))
            continue
        later = {name for stage in STAGES[step:] if on[stage] == other for name in READS[stage]} | {"fit"}
        crossing = {name: mine[name] for name in written if name in later}
        path = folder / f"{side}{number}-{step}"
        path.write_bytes(pickle.dumps((number, step, crossing), 5))
        pipe.send(("copy", len(crossing), other, str(path)))
        if not any(on[stage] == side for stage in STAGES[step:]):
            del held[number]
    pipe.send(
        (
            "end",
            {
                stage: sum(values[IN_FLIGHT:]) / len(values[IN_FLIGHT:]) / 1e6
                for stage, values in spent.items()
            },
        )
    )


if __name__ == "__main__":
    main()
