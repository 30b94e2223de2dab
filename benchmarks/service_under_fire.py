"""Load servers for minutes while they are killed, paused, slowed and restarted at random, and check every response.

Threads send requests to three servers of one model through the engine `remote` with a local fallback, and directly to a fourth,
undisturbed server. Every response is compared with that of the local engine. The record holds the number of responses by server, the
disturbances and the memory. A request without a response, with several or with a wrong one fails the run.

Usage: python benchmarks/service_under_fire.py [--minutes 10] [--seed 1] [--keep]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil

import tamis
from tamis._base import file_stamp, host_facts, utc_timestamp
from tamis.engines import Remote

MODEL, INPUTS = "topology-hlf", 64
SERVERS, THREADS, TIMEOUT_S = 3, 3, 0.1
SAMPLE_S = 2.0


def free_port() -> int:
    """Return a free port; a restarted server uses the same one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@dataclass
class TestedServer:
    """A server process that is disturbed."""

    port: int
    engine: str
    process: subprocess.Popen | None = None
    said: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start the server; connections are refused until it listens."""
        command = [
            sys.executable,
            "-m",
            "tamis",
            "serve",
            MODEL,
            "--engine",
            self.engine,
            "--grpc",
            str(self.port),
            "--no-http",
            "--metrics",
            "0",
        ]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen) -> None:
        self.said.extend(line.strip() for line in process.stderr)

    def end(self, number: int) -> None:
        """Send a signal that ends the process, and wait for it."""
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        self.process.wait(60)


class Disturber:
    """A thread that disturbs one random server after the other."""

    def __init__(self, servers: list[TestedServer], rng: np.random.Generator) -> None:
        """Prepare the thread; `thread.start()` starts it."""
        self.servers, self.rng, self.done = servers, rng, Counter()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self.ended.wait(float(self.rng.exponential(0.7))):
            server = self.servers[int(self.rng.integers(len(self.servers)))]
            what = str(self.rng.choice(["kill", "hang", "slow", "restart"]))
            self.done[what] += 1
            getattr(self, f"_{what}")(server)

    def _kill(self, server: TestedServer) -> None:
        server.end(signal.SIGKILL)
        self.ended.wait(float(self.rng.uniform(0, 2)))
        server.start()

    def _restart(self, server: TestedServer) -> None:
        server.end(signal.SIGTERM)
        server.start()

    def _hang(self, server: TestedServer) -> None:
        server.process.send_signal(signal.SIGSTOP)
        self.ended.wait(float(self.rng.uniform(0.2, 3)))
        server.process.send_signal(signal.SIGCONT)

    def _slow(self, server: TestedServer) -> None:
        for _ in range(int(self.rng.integers(5, 30))):
            server.process.send_signal(signal.SIGSTOP)
            time.sleep(0.05)
            server.process.send_signal(signal.SIGCONT)
            time.sleep(0.01)


class Clients:
    """Threads that send requests and check the responses."""

    def __init__(
        self, session: tamis.Session, inputs: list[dict], expected: list[dict], pause_s: float
    ) -> None:
        """Prepare the threads."""
        self.session, self.inputs, self.expected, self.pause_s = session, inputs, expected, pause_s
        self.asked, self.answered, self.wrong, self.raised = 0, 0, 0, Counter()
        self.longest_s = 0.0
        self.lock, self.ended = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(THREADS)]

    def _run(self, number: int) -> None:
        rng = np.random.default_rng(number)
        while not self.ended.wait(self.pause_s):
            which = int(rng.integers(len(self.inputs)))
            with self.lock:
                self.asked += 1
            begin = time.monotonic()
            try:
                found = self.session.run(**self.inputs[which])
            except tamis.TamisError as error:
                with self.lock:
                    self.raised[str(error)[:200]] += 1
                continue
            took = time.monotonic() - begin
            same = all(
                np.allclose(found[key], value, rtol=1e-5, atol=1e-6)
                for key, value in self.expected[which].items()
            )
            with self.lock:
                self.answered += 1
                self.wrong += not same
                self.longest_s = max(self.longest_s, took)


def counted(address: str) -> int:
    """Return the number of successful requests in a server's statistics."""
    import tritonclient.grpc as grpc

    with grpc.InferenceServerClient(address) as client:
        return int(client.get_inference_statistics(MODEL).model_stats[0].inference_stats.success.count)


def main() -> None:
    """Disturb, count and check; exit with the faults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--engine", default="native", help="of the servers, the local comparison and the fallback"
    )
    parser.add_argument("--keep", action="store_true", help="write a record into benchmarks/records")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tamis.open(MODEL, options.engine) as local:
        golden = local.bundle.golden.inputs
        picked = [
            rng.integers(0, len(next(iter(golden.values()))), int(rng.integers(1, 5))) for _ in range(INPUTS)
        ]
        inputs = [{key: np.asarray(value)[rows] for key, value in golden.items()} for rows in picked]
        expected = [local.run(**one) for one in inputs]
    servers = [TestedServer(free_port(), options.engine) for _ in range(SERVERS)]
    spared = TestedServer(free_port(), options.engine)
    for server in (*servers, spared):
        server.start()
    while not all(any(line == "ready" for line in server.said) for server in (*servers, spared)):
        time.sleep(0.05)
    addresses = tuple(f"127.0.0.1:{server.port}" for server in servers)
    remote = Remote(addresses, fallback=options.engine, timeout_s=TIMEOUT_S)
    alone = Remote((f"127.0.0.1:{spared.port}",), timeout_s=30)
    with (
        tamis.open(MODEL, "remote", remote=remote) as session,
        tamis.open(MODEL, "remote", remote=alone) as direct,
    ):
        at_first = Counter(session._runner.answered_by)
        before = counted(f"127.0.0.1:{spared.port}")
        clients = [Clients(session, inputs, expected, 0.002), Clients(direct, inputs, expected, 0.002)]
        fire = Disturber(servers, rng)
        memory = {"clients": [], "spared_server": []}
        me, other = psutil.Process(), psutil.Process(spared.process.pid)
        for group in clients:
            for thread in group.threads:
                thread.start()
        fire.thread.start()
        until = time.monotonic() + 60 * options.minutes
        while time.monotonic() < until:
            time.sleep(SAMPLE_S)
            memory["clients"].append(me.memory_info().rss >> 10)
            memory["spared_server"].append(other.memory_info().rss >> 10)
        fire.ended.set()
        fire.thread.join()
        for group in clients:
            group.ended.set()
            for thread in group.threads:
                thread.join()
        answered_by = dict(Counter(session._runner.answered_by) - at_first)
        computed = counted(f"127.0.0.1:{spared.port}") - before
    for server in (*servers, spared):
        server.end(signal.SIGTERM)
    shot, quiet = clients
    growth = {}
    for name, kib in memory.items():
        half = len(kib) // 2
        growth[name] = {
            "early_MiB": float(np.median(kib[len(kib) // 10 : half]) / 1024),
            "late_MiB": float(np.median(kib[half:]) / 1024),
        }
    traces = sum("Traceback" in line for server in (*servers, spared) for line in server.said)
    record = {
        "engine": options.engine,
        "kind": "service-under-fire",
        "created": utc_timestamp(),
        "host": host_facts().model_dump(),
        "minutes": options.minutes,
        "seed": options.seed,
        "disturbances": dict(fire.done),
        "under_fire": {
            "asked": shot.asked,
            "answered": shot.answered,
            "wrong": shot.wrong,
            "raised": dict(shot.raised),
            "answered_by": answered_by,
            "longest_s": shot.longest_s,
        },
        "spared": {
            "asked": quiet.asked,
            "answered": quiet.answered,
            "wrong": quiet.wrong,
            "raised": dict(quiet.raised),
            "computed_by_server": computed,
            "longest_s": quiet.longest_s,
        },
        "memory": growth,
        "tracebacks": traces,
    }
    print(
        json.dumps(
            {key: record[key] for key in ("disturbances", "under_fire", "spared", "memory", "tracebacks")},
            indent=1,
        )
    )
    faults = [
        *(["a request has no response"] if any(group.asked != group.answered for group in clients) else []),
        *(
            ["a response differs from that of the local engine"]
            if any(group.wrong for group in clients)
            else []
        ),
        *(
            ["the undisturbed server computed a different number of requests than were sent"]
            if computed != quiet.asked
            else []
        ),
        *(["a server printed a traceback"] if traces else []),
        *(
            ["the responses by servers and fallback do not add up to the requests"]
            if sum(answered_by.values()) != shot.asked
            else []
        ),
    ]
    if options.keep:
        stamp = file_stamp(record["created"])
        path = Path(__file__).parent / "records" / f"under-fire-{stamp}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(path)
    sys.exit("; ".join(faults) or None)


if __name__ == "__main__":
    main()
