"""Is an event ever lost or there twice: runs are killed, their workers are killed, input is corrupted, stages raise, hang and dawdle.

Each round makes new files of simulated-looking events, and runs a menu over them twice: once undisturbed, and once
while the run, or one of its workers, is killed at random moments and resumed. In both, some events make their stage
raise, give NaN, take too long, or kill their process; and in every third round bytes of the files are flipped. The two
outputs must be the same to the bit, and the books are checked against what is known of each event:

- every entry of every file is decided once, or booked as unreadable once;
- each event left through the door that its trouble says, and is in the streams of its paths once;
- what is unreadable lies in a basket that was corrupted.

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
RAISES, NAN, DAWDLES, KILLS, HANGS = 1, 2, 3, 4, 5
REASON = {RAISES: 1, NAN: 3, DAWDLES: 4, KILLS: 5, HANGS: 5}
STUCK_S = 3.0
FINE = (0, 8)  # all was decided; all was decided but what cannot be read
WORKER_KILLS = 0.01  # in each hundredth of a second

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
    """Write a file with a basket per 150 events."""
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
    """Run in peace; return how long it took."""
    start = time.monotonic()
    done = subprocess.run(
        command(folder, folder / "calm"), capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode not in FINE:
        raise SystemExit(f"the undisturbed run ended with {done.returncode}: {done.stderr}")
    return time.monotonic() - start


def disturbed(folder: Path, moments: random.Random, lasts_s: float, kills: int) -> Counter[str]:
    """Run under fire: kill the whole run, or a worker, again and again; then let it end."""
    made: Counter[str] = Counter()
    out = folder / "out"
    while True:
        options = ["--resume"] if (out / "plan.json").exists() else []
        if not options:
            shutil.rmtree(out, ignore_errors=True)  # killed before it had a plan
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
        if process.wait(timeout=300) in FINE:
            return made
        demand(
            process.returncode == -signal.SIGKILL, f"a run ended with {process.returncode}; look at {folder}"
        )


def kill_a_worker(pid: int, moments: random.Random) -> bool:
    """Kill one of the worker processes of a run."""
    try:
        helpers = psutil.Process(
            pid
        ).children()  # among them the one that workers are forked from: it is killed too
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
    """Return all of a run's output that does not depend on when it ran."""
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


def check_books(folder: Path, troubles: list[np.ndarray], broken: dict[int, set[int]]) -> None:
    """Hold the output against what is known of every event."""
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
    demand(max((seen + unreadable).values()) == 1, "events are there twice")

    def in_broken(file: int, entry: int) -> bool:
        return any(first <= entry < first + BASKET for first in broken.get(file, ()))

    for file, entry in unreadable:
        demand(in_broken(file, entry), f"the readable event {file}:{entry} was given up")

    reasons = dict(zip(zip(decided["file"], decided["entry"], strict=True), decided["reason"], strict=True))
    for (file, entry), reason in reasons.items():
        if in_broken(
            file, entry
        ):  # ROOT keeps what does not shrink as it is, with no checksum: it reads as NaN
            continue
        code = int(troubles[file][entry])
        demand(
            reason == REASON.get(code, 0), f"{file}:{entry} of trouble {code} left for the reason {reason}"
        )
    kept = pq.read_table(out / "met.parquet").to_pydict()
    expected = [
        (run, event)
        for run, event, bit, outcome in zip(
            decided["run"], decided["event"], decided["HLT_met"], decided["outcome"], strict=True
        )
        if bit and outcome == 1
    ]
    there = list(zip(kept["run"], kept["event"], strict=True))
    demand(there == expected, "the stream met is not what was accepted")


def demand(holds: bool, otherwise: str) -> None:
    """Stop where a promise is broken."""
    if not holds:
        raise SystemExit(otherwise)


def one_round(number: int, seed: int) -> Counter[str]:
    """Do one round in a folder of its own."""
    rng, moments = np.random.default_rng([seed, number]), random.Random(f"{seed} {number}")  # noqa: S311 - no secret
    folder = Path(tempfile.mkdtemp(prefix="conservation-"))
    (folder / "menu.yaml").write_text(MENU)
    (folder / "mine.py").write_text(STAGE)
    made: Counter[str] = Counter()
    troubles, broken = [], {}
    for file in range(2):
        trouble = rng.choice([0] * 200 + [RAISES, NAN], EVENTS).astype(np.int32)
        trouble[rng.choice(EVENTS, 2, replace=False)] = DAWDLES
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
            ("time-outs", [DAWDLES]),
            ("deadly", [KILLS, HANGS]),
        ):
            made[name] += int(np.isin(trouble, codes).sum())
    lasts_s = undisturbed(folder)
    made += disturbed(folder, moments, min(lasts_s, 6.0), kills=5)
    if content(folder / "calm") != content(folder / "out"):
        raise SystemExit(
            f"round {number}: the output differs from that of the undisturbed run; look at {folder}"
        )
    check_books(folder, troubles, broken)
    shutil.rmtree(folder)
    return made


def main() -> None:
    """Go on until there were disturbances enough, and tell each kind."""
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
    # a good part of them kills: exceptions are easy
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
        "lost": 0,  # whoever finds one stops above
        "twice": 0,
    }
    print(
        f"{sum(total.values())} disturbances, {record['events']} events: none lost, none there twice, outputs the same"
    )
    if options.keep:
        stamp = file_stamp(record["created"])
        (Path(__file__).parent / "records" / f"conservation-{stamp}.json").write_text(
            json.dumps(record, indent=1) + "\n"
        )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
