"""The shipped menu over simulated events: time per event, overhead of the framework, one and two workers, a Dask cluster.

Every run is a `tamis run` process, timed by this script; compared runs are interleaved. Simulate the files with pile-up and
low-level columns:

    tamis simulate qcd -n 1500 --mu 60 --low-level --seed 91 -o qcd.root

Usage: python benchmarks/hlt_study.py FILE... [--rounds 3] [--dask 4] [--keep]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pyarrow.parquet as pq
import uproot

from tamis._base import file_stamp, host_facts, utc_timestamp
from tamis.trigger import account, read_summary

FRAMEWORK = "framework"


def run(files: list[str], out: Path, *options: str) -> tuple[float, Any]:
    """Run the shipped menu with `tamis run`; return the elapsed time and the summary of the run."""
    command = [sys.executable, "-m", "tamis", "run", "hlt", *files, "-o", str(out), *options]
    start = time.perf_counter()
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    elapsed_s = time.perf_counter() - start
    if finished.returncode:
        raise SystemExit(f"{' '.join(command)} exited with {finished.returncode}: {finished.stderr}")
    return elapsed_s, read_summary(out)


def described(elapsed_s: float, summary: Any) -> dict[str, float]:
    """Return the measured quantities of a run."""
    times = summary.times
    lines = account(summary)
    own = sum(line.total_ns for line in lines if line.part == FRAMEWORK)
    whole = times["event"] if "event" in times else times["unit"]
    events = summary.counts.entered
    work = sum(line.total_ns for line in lines if line.part in {"filter", "python", "features", "model"})
    return {
        "events": events,
        "outside_s": elapsed_s,
        "told_s": summary.wall_ns / 1e9,
        "told_over_outside": summary.wall_ns / 1e9 / elapsed_s,
        "sum_of_lines_over_told": sum(line.total_ns for line in lines) / (summary.wall_ns * summary.workers),
        "events_per_s": events / elapsed_s,
        "own_us_per_event": own / events / 1e3,
        "own_share_of_deciding": own / (own + work),
        **{
            f"{name}_ms": whole.quantile_ns(q) / 1e6
            for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999))
        },
        "max_ms": whole.most_ns / 1e6,
    }


def content(out: Path) -> dict[str, str]:
    """Return the output of a run without times and hosts."""
    found = {}
    for path in sorted(out.iterdir()):
        if path.suffix == ".parquet":
            found[path.name] = repr(pq.read_table(path).to_pydict())
        elif path.suffix == ".root" and path.name != "histograms.root":
            with uproot.open(path) as file:
                found[path.name] = repr(file["Events"].arrays(library="ak").to_list())
    return found


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """Start a Dask scheduler and workers as processes on loopback, and stop them at the end."""
    from distributed import Client

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m"]
    scheduler = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]
    worker = [
        "distributed.cli.dask_worker",
        address,
        "--nthreads",
        "1",
        "--no-dashboard",
        "--host",
        "127.0.0.1",
    ]
    started = [subprocess.Popen([*dask, *scheduler], **quiet)]
    started += [subprocess.Popen([*dask, *worker, "--name", f"w{i}"], **quiet) for i in range(workers)]
    try:
        with Client(address, timeout=60) as client:
            client.wait_for_workers(workers, timeout=60)
        yield address
    finally:
        for process in started:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dask", type=int, default=4, help="workers of the cluster; 0 for none")
    parser.add_argument("--keep", action="store_true", help="write a record")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hlt-study-"))
    found: dict[str, list[dict[str, float]]] = {}
    try:
        for turn in range(options.rounds):
            for name, arguments in {
                "event by event": ["--mode", "event"],
                "one worker": [],
                "two workers": ["--workers", "2"],
            }.items():
                out = folder / f"{name}-{turn}"
                found.setdefault(name, []).append(described(*run(options.files, out, *arguments)))
                print(name, json.dumps({k: round(v, 4) for k, v in found[name][-1].items()}), flush=True)
        expected = content(folder / "one worker-0")
        same = {"two workers": content(folder / "two workers-0") == expected}
        # the score of a single event may differ from that in a batch in the last bit, but the decision may not
        one = pq.read_table(folder / "event by event-0" / "decisions.parquet")
        same["event by event, decisions"] = one.equals(
            pq.read_table(folder / "one worker-0" / "decisions.parquet")
        )
        if options.dask:
            with cluster(options.dask) as address:
                out = folder / "dask"
                found["dask"] = [described(*run(options.files, out, "--scheduler", address))]
            same["dask"] = content(out) == expected
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ratios = [
        one["outside_s"] / two["outside_s"]
        for one, two in zip(found["one worker"], found["two workers"], strict=True)
    ]
    record = {
        "kind": "hlt",
        "created": utc_timestamp(),
        "host": host_facts().model_dump(mode="json"),
        "files": [Path(name).name for name in options.files],
        "dask_workers": options.dask,
        "runs": found,
        "same_output": same,
        "two_workers_over_one": {"median": median(ratios), "low": min(ratios), "high": max(ratios)},
    }
    print(json.dumps({"same output": same, "two workers over one": record["two_workers_over_one"]}))
    if options.keep:
        stamp = file_stamp(record["created"])
        (Path(__file__).parent / "records" / f"hlt-{stamp}.json").write_text(
            json.dumps(record, indent=1) + "\n"
        )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
