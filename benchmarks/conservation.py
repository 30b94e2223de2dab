"""Check that no event is lost or duplicated when runs and workers are killed, files are corrupt, and stages raise, hang or are slow.

Each round writes new files of random events and runs a menu over them twice: once undisturbed, and once while the run or one of its
workers is killed at random times and resumed. In both, some events make their stage raise, return NaN, take too long or kill their
process; in every third round, bytes of the files are flipped. The two outputs must be identical, and the bookkeeping must agree with
the known fate of each event:

- every entry of every file is decided once, or recorded as unreadable once;
- each event has the outcome of its fault, and is once in each stream that it was accepted for;
- unreadable entries are in corrupted baskets.

Usage: python benchmarks/conservation.py [--disturbances 240] [--seed 1] [--keep]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import awkward as ak
import numpy as np
import psutil
import pyarrow.parquet as pq
import uproot

from tamis._base import file_stamp, host_facts, utc_timestamp
from tamis.events import Events, open_writer

EVENTS, BASKET, UNIT = 900, 150, 60
RAISES, NAN, SLOW, KILLS, HANGS = 1, 2, 3, 4, 5
REASON = {RAISES: "raised", NAN: "undecided", SLOW: "time_out", KILLS: "died", HANGS: "died"}
STUCK_S = 3.0
COMPLETE = (0, 8)  # exit codes: all events decided; all but the unreadable ones
WORKER_KILLS = 0.01  # probability per 10 ms

MENU = """
menu: conservation
budget: 500ms
stages:
  kinematics: {define: {HT: "sum(where(Jet_pt > 30, Jet_pt, 0))"}}
  mine: {python: "mine.py:spread"}
paths:
  hard: {steps: [HT > 150, spread >= 0]}
  met: {steps: [spread >= 0, MET_pt > 50]}
streams:
  hard: {paths: [hard]}
  met: {paths: [met], keep: [MET_pt, trouble], format: parquet}
"""

STAGE = """
import os, time
import numpy as np
from tamis.trigger import stage

@stage(reads=["Jet_pt", "trouble"], adds=["spread"])
def spread(events):
    trouble = events["trouble"]
    out = np.zeros(len(events))
    for i, code in enumerate(trouble):
        if code == 1:
            raise ValueError("no such jet")
        if code == 2:
            out[i] = np.nan
        if code == 3:
            time.sleep(0.6 * len(events))
        if code == 4:
            os.kill(os.getpid(), 9)
        if code == 5:
            time.sleep(1000)
    return {"spread": out}
"""


def write_file(path: Path, number: int, rng: np.random.Generator, trouble: np.ndarray) -> None:
    """Write a file with one basket per 150 events."""
    with open_writer(path, flush_bytes=1) as writer:
        for first in range(0, EVENTS, BASKET):
            jets = rng.integers(0, 6, BASKET)
            writer.write(
                Events.of(
                    {
                        "run": np.full(BASKET, number, np.uint32),
                        "luminosityBlock": np.full(BASKET, first // BASKET, np.uint32),
                        "event": np.arange(first, first + BASKET, dtype=np.uint64),
                        "Jet_pt": ak.unflatten(rng.exponential(80, jets.sum()).astype("f4"), jets),
                        "MET_pt": rng.exponential(40, BASKET).astype("f4"),
                        "trouble": trouble[first : first + BASKET],
                    }
                )
            )


def corrupt(path: Path, moments: random.Random) -> int:
    """Flip bytes within one basket of a branch that the menu reads; return the first entry of the basket."""
    with uproot.open(path) as file:
        branch = file["Events"][moments.choice(["Jet_pt", "MET_pt", "event"])]
        basket = moments.randrange(branch.num_baskets)
        seek, size = int(branch.member("fBasketSeek")[basket]), int(branch.member("fBasketBytes")[basket])
    data = bytearray(path.read_bytes())
    begin = seek + size // 2
    data[begin : begin + 48] = b"\xff" * 48
    path.write_bytes(data)
    return basket * BASKET


def command(folder: Path, out: Path, *options: str) -> list[str]:
    """Return the command of a run."""
    files = sorted(map(str, folder.glob("*.root")))
    fixed = ["--unit-events", str(UNIT), "--workers", "2", "--stuck", f"{STUCK_S:g}", "--mode", "event"]
    return [
        sys.executable,
        "-m",
        "tamis",
        "run",
        str(folder / "menu.yaml"),
        *files,
        "-o",
        str(out),
        *fixed,
        *options,
    ]


def undisturbed(folder: Path) -> float:
    """Run without kills; return the time in seconds."""
    start = time.monotonic()
    finished = subprocess.run(
        command(folder, folder / "calm"), capture_output=True, text=True, check=False, timeout=300
    )
    if finished.returncode not in COMPLETE:
        raise SystemExit(f"the undisturbed run exited with {finished.returncode}: {finished.stderr}")
    return time.monotonic() - start


def disturbed(folder: Path, moments: random.Random, lasts_s: float, kills: int) -> Counter[str]:
    """Kill the run or one of its workers repeatedly, then let it finish; return the counts of kills."""
    made: Counter[str] = Counter()
    out = folder / "out"
    while True:
        options = ["--resume"] if (out / "plan.json").exists() else []
        if not options:
            shutil.rmtree(out, ignore_errors=True)  # killed before it wrote its plan
        with (folder / "errors").open("wb") as errors:
            process = subprocess.Popen(
                command(folder, out, *options), stdout=subprocess.DEVNULL, stderr=errors
            )
        until = time.monotonic() + moments.uniform(0.2, lasts_s)
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
            if moments.random() < WORKER_KILLS and kill_a_worker(process.pid, moments):
                made["workers killed"] += 1
        if process.poll() is None and made["runs killed"] < kills:
            family = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            made["runs killed"] += 1
            psutil.wait_procs(family, timeout=30)
        if process.wait(timeout=300) in COMPLETE:
            return made
        demand(process.returncode == -signal.SIGKILL, f"a run exited with {process.returncode}; see {folder}")


def kill_a_worker(pid: int, moments: random.Random) -> bool:
    """Kill one of the worker processes of a run."""
    try:
        helpers = psutil.Process(pid).children()  # includes the forkserver, which is killed too
        workers = [
            child
            for helper in helpers
            for child in [helper, *helper.children()]
            if "forkserver" in " ".join(child.cmdline())
        ]
        if not workers:
            return False
        moments.choice(workers).send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return False
    return True


def content(out: Path) -> dict[str, str]:
    """Return the output of a run without times."""
    found: dict[str, str] = {}
    for path in sorted(out.iterdir()):
        if path.suffix == ".parquet":
            found[path.name] = repr(pq.read_table(path).to_pydict())
        elif path.suffix == ".root" and path.name != "histograms.root":
            with uproot.open(path) as file:
                found[path.name] = repr(file["Events"].arrays(library="ak").to_list())
    summary = json.loads((out / "run.json").read_text())
    found["counts"] = repr(summary["counts"])
    found["unreadable"] = repr(summary["unreadable"])
    return found


def check_bookkeeping(folder: Path, troubles: list[np.ndarray], broken: dict[int, set[int]]) -> None:
    """Compare the output with the known fate of every event."""
    out = folder / "out"
    decided = pq.read_table(out / "decisions.parquet").to_pydict()
    summary = json.loads((out / "run.json").read_text())
    files = [file["url"] for file in summary["files"]]
    seen = Counter(zip(decided["file"], decided["entry"], strict=True))
    unreadable = Counter(
        (files.index(entry["file"]), number)
        for entry in summary["unreadable"]
        for number in range(entry["start"], entry["stop"])
    )
    everything = {(file, entry) for file in range(len(files)) for entry in range(EVENTS)}
    demand(set(seen) | set(unreadable) == everything, "events are missing")
    demand(max((seen + unreadable).values()) == 1, "events are duplicated")

    def in_broken(file: int, entry: int) -> bool:
        return any(first <= entry < first + BASKET for first in broken.get(file, ()))

    for file, entry in unreadable:
        demand(in_broken(file, entry), f"the readable event {file}:{entry} is recorded as unreadable")

    reasons = dict(zip(zip(decided["file"], decided["entry"], strict=True), decided["reason"], strict=True))
    for (file, entry), reason in reasons.items():
        if in_broken(
            file, entry
        ):  # ROOT stores incompressible data uncompressed and without checksum: flipped bytes read as NaN
            continue
        code = int(troubles[file][entry])
        demand(
            reason == REASON.get(code, "none"), f"{file}:{entry} with fault {code} has the reason {reason}"
        )
    kept = pq.read_table(out / "met.parquet").to_pydict()
    expected = [
        (run, event)
        for run, event, bit, outcome in zip(
            decided["run"], decided["event"], decided["HLT_met"], decided["outcome"], strict=True
        )
        if bit and outcome == "accepted"
    ]
    there = list(zip(kept["run"], kept["event"], strict=True))
    demand(there == expected, "the stream met differs from the accepted events")


def demand(condition: bool, message: str) -> None:
    """Exit with a message if a condition does not hold."""
    if not condition:
        raise SystemExit(message)


def one_round(number: int, seed: int) -> Counter[str]:
    """Run one round in a temporary folder; return the counts of disturbances."""
    rng, moments = np.random.default_rng([seed, number]), random.Random(f"{seed} {number}")  # noqa: S311 - not cryptography
    folder = Path(tempfile.mkdtemp(prefix="conservation-"))
    (folder / "menu.yaml").write_text(MENU)
    (folder / "mine.py").write_text(STAGE)
    made: Counter[str] = Counter()
    troubles, broken = [], {}
    for file in range(2):
        trouble = rng.choice([0] * 200 + [RAISES, NAN], EVENTS).astype(np.int32)
        trouble[rng.choice(EVENTS, 2, replace=False)] = SLOW
        if number % 4 == 0 and file == 0:
            trouble[rng.integers(EVENTS)] = KILLS
        if number % 8 == 4 and file == 1:
            trouble[rng.integers(EVENTS)] = HANGS
        path = folder / f"{file}.root"
        write_file(path, file + 1, rng, trouble)
        if number % 3 == 2:
            broken[file] = {corrupt(path, moments) for _ in range(2)}
            made["corruptions"] += len(broken[file])
        troubles.append(trouble)
        for name, codes in (
            ("exceptions", [RAISES]),
            ("not finite", [NAN]),
            ("time-outs", [SLOW]),
            ("deadly", [KILLS, HANGS]),
        ):
            made[name] += int(np.isin(trouble, codes).sum())
    lasts_s = undisturbed(folder)
    made += disturbed(folder, moments, min(lasts_s, 6.0), kills=5)
    if content(folder / "calm") != content(folder / "out"):
        raise SystemExit(f"round {number}: the output differs from that of the undisturbed run; see {folder}")
    check_bookkeeping(folder, troubles, broken)
    shutil.rmtree(folder)
    return made


def main() -> None:
    """Run rounds until there were enough disturbances, and print their counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--disturbances", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="write a record")
    options = parser.parse_args()
    total: Counter[str] = Counter()
    rounds = 0
    start = time.monotonic()
    # at least a quarter of them must be kills of whole runs
    while sum(total.values()) < options.disturbances or total["runs killed"] < options.disturbances // 4:
        total += one_round(rounds, options.seed)
        rounds += 1
        print(f"round {rounds}, {time.monotonic() - start:.0f} s: {dict(total)}", flush=True)
    record = {
        "kind": "conservation",
        "created": utc_timestamp(),
        "host": host_facts().model_dump(mode="json"),
        "rounds": rounds,
        "events": rounds * 2 * EVENTS,
        "disturbances": dict(total),
        "lost": 0,  # a lost event exits above
        "twice": 0,
    }
    print(
        f"{sum(total.values())} disturbances, {record['events']} events: none lost, none duplicated, identical outputs"
    )
    if options.keep:
        stamp = file_stamp(record["created"])
        (Path(__file__).parent / "records" / f"conservation-{stamp}.json").write_text(
            json.dumps(record, indent=1) + "\n"
        )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
