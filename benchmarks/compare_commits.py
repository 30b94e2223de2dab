"""Compare the speed of two commits: generated code, runs and the server, interleaved on one host.

Both commits are checked out into folders of their own with environments that share the installed libraries. Ratios are new over old, so that below 1 is faster, with the 95 % interval of
the median from bootstrap samples of the rounds.

    python benchmarks/compare_commits.py before-tamis HEAD --rounds 15 --keep

The package may have different names in the two commits: the first folder in `src` with an `__init__.py` is the package, and the command is called like it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
MODELS = (
    ("facile", 16),
    ("conv-vae", 1),
    ("conv-vae", 64),
    ("graph-vae", 16),
    ("topology-gru", 8),
    ("egamma", 4),
)
BLOCK_S = 0.15

CHILD = """
import importlib, json, sys, time
import numpy as np
package = importlib.import_module(sys.argv[1])
calls = []
for name, batch in json.loads(sys.argv[2]):
    session = package.open(name, engine="native", threads=1)
    arrays = [np.resize(a, (batch, *a.shape[1:])) for a in session.bundle.golden.inputs.values()]
    call = session.bind(*arrays)
    call()
    calls.append(call)
print("ready", flush=True)
for line in sys.stdin:
    number, seconds = line.split()
    call, count = calls[int(number)], 0
    begin = time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < float(seconds) or count < 3:
        call()
        count += 1
    print(elapsed / count, flush=True)
"""


@dataclass(frozen=True)
class Checkout:
    """One commit, with its package name and an interpreter that imports it."""

    commit: str
    package: str
    python: Path

    @property
    def command(self) -> Path:
        """The console script of the commit."""
        return self.python.parent / self.package

    def environment(self, cache: Path) -> dict[str, str]:
        """Return an environment in which compiled models are cached separately."""
        name = f"{self.package.upper()}_CACHE"
        return os.environ | {"OMP_NUM_THREADS": "1", name: str(cache / self.commit[:12])}


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Checkout]:
    """Check a commit out and install it, without its dependencies, beside this interpreter's libraries."""
    place = folder / commit
    subprocess.run(["git", "worktree", "add", "--detach", "--quiet", place, commit], cwd=ROOT, check=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / ".venv"], check=True)
        python = place / ".venv" / "bin" / "python"
        command = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--quiet",
            "--no-deps",
            "-e",
            place,
        ]
        subprocess.run(command, check=True)
        libraries = next(Path(sys.prefix).glob("lib/python*/site-packages"))
        target = next((place / ".venv").glob("lib/python*/site-packages"))
        (target / "zz-shared-libraries.pth").write_text(f"{libraries}\n")  # after the commit's own path
        package = next(path.parent.name for path in sorted((place / "src").glob("*/__init__.py")))
        yield Checkout(commit, package, python)
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", place], cwd=ROOT, check=False)


@contextmanager
def native(checkout: Checkout, cache: Path) -> Iterator[Callable[[int], float]]:
    """Start a process that times the models of one commit on request."""
    command = [checkout.python, "-c", CHILD, checkout.package, json.dumps(MODELS)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=checkout.environment(cache)
    ) as process:
        requests, answers = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
        answers.readline()  # ready

        def measure(number: int) -> float:
            requests.write(f"{number} {BLOCK_S}\n")
            requests.flush()
            return float(answers.readline())

        yield measure
        requests.close()


def run_time(checkout: Checkout, cache: Path, file: Path, mode: str) -> float:
    """Return the seconds that one run of the shipped menu takes inside its process."""
    with tempfile.TemporaryDirectory() as out:
        command = [checkout.command, "run", "hlt", file, "-o", f"{out}/out", "--mode", mode]
        subprocess.run(command, check=True, capture_output=True, env=checkout.environment(cache))
        return float(json.loads(Path(out, "out", "run.json").read_text())["wall_ns"]) / 1e9


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(checkout: Checkout, cache: Path) -> Iterator[int]:
    """Serve facile on loopback and yield the gRPC port."""
    port = free_port()
    command = [checkout.command, "serve", "facile", "--grpc", str(port), "--no-http", "--metrics", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=checkout.environment(cache))
    log = cast("IO[str]", process.stderr)
    if not any(line.startswith("ready") for line in log):
        raise SystemExit(f"the server of {checkout.commit} ended before it was ready")
    try:
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def request_time(port: int, newest: Checkout, cache: Path) -> float:
    """Return the seconds per request of a closed load by eight streams, by the load generator of the newest commit."""
    with tempfile.TemporaryDirectory() as out:
        options = ["--scenario", "closed", "--streams", "8", "--seconds", "1", "-o", out]
        command = [newest.command, "load", f"grpc://127.0.0.1:{port}", "facile", *options]
        subprocess.run(command, check=True, capture_output=True, env=newest.environment(cache))
        record = json.loads(next(Path(out).glob("*.json")).read_text())
        return 1.0 / float(record["points"][0]["requests_per_s"])


def interval(pairs: list[tuple[float, float]]) -> dict[str, float | int]:
    """Return the median ratio new over old and its 95 % bootstrap interval."""
    ratios = np.array([new / old for old, new in pairs])
    samples = np.median(np.random.default_rng(0).choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.quantile(samples, [0.025, 0.975])
    return {"median": float(np.median(ratios)), "low": float(low), "high": float(high), "rounds": len(ratios)}


def main() -> None:
    """Measure all three, print a table, and keep a record if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--events", type=int, default=300, help="simulated events for the runs")
    parser.add_argument("--keep", action="store_true", help="write a record to benchmarks/records")
    options = parser.parse_args()
    commits = [
        subprocess.run(
            ["git", "rev-parse", one], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.strip()
        for one in (options.old, options.new)
    ]
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        both = [stack.enter_context(checked_out(commit, folder)) for commit in commits]
        cache, file = folder / "cache", folder / "events.root"
        simulate = [
            both[1].command,
            "simulate",
            "qcd",
            "-n",
            str(options.events),
            "--mu",
            "20",
            "--low-level",
        ]
        subprocess.run([*simulate, "--seed", "1", "-o", file], check=True, capture_output=True)
        measures: dict[str, list[Callable[[], float]]] = {}
        timers = [stack.enter_context(native(one, cache)) for one in both]
        for number, (model, batch) in enumerate(MODELS):
            measures[f"native {model}, batch {batch}"] = [lambda t=t, n=number: t(n) for t in timers]
        for mode in ("batch", "event"):
            measures[f"run, --mode {mode}"] = [lambda c=c, m=mode: run_time(c, cache, file, m) for c in both]
        ports = [stack.enter_context(server(one, cache)) for one in both]
        measures["serve, 8 streams"] = [lambda p=p: request_time(p, both[1], cache) for p in ports]
        for turn in range(options.rounds + 1):
            for title, pair in measures.items():
                order = (0, 1) if turn % 2 else (1, 0)
                times = {which: pair[which]() for which in order}
                if turn:  # the first round warms caches and compiles
                    found.setdefault(title, []).append((times[0], times[1]))
            print(f"round {turn} of {options.rounds}", file=sys.stderr)
    results = {title: interval(pairs) for title, pairs in found.items()}
    for title, result in results.items():
        print(f"{title:28} {result['median']:.3f} [{result['low']:.3f}, {result['high']:.3f}]")
    if options.keep:
        from tamis._base import host_facts

        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        record = {
            "kind": "compare-commits",
            "commits": commits,
            "host": host_facts().model_dump(mode="json"),
            "ratios": results,
        }
        (ROOT / "benchmarks" / "records" / f"compare-commits-{stamp}.json").write_text(
            json.dumps(record, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
