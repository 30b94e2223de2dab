"""Paths to the network (in this process, on a server, behind a link), and the parts of the time per event on each."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from time import perf_counter

import numpy as np
from reconstruction import Found, combine, find_hits, patches

import tamis
from tamis._base import UsageError
from tamis.engines import Remote
from tamis.measure.traffic.study import SERVICE, LoadTarget
from tamis.serve.client.channel import Channel

MODEL = "em-trk-michel"
PINGS = 20  # before each event
WAIT_S = 300.0


@dataclass(frozen=True)
class Link:
    """A link between client and server."""

    delay_ms: float  # one way
    mbit_per_s: float  # each way

    @property
    def name(self) -> str:
        """Return bandwidth and delay as text."""
        rate = self.mbit_per_s
        return f"{f'{rate / 1e3:g} G' if rate >= 1e3 else f'{rate:g} M'}bit/s, {self.delay_ms:g} ms"


@dataclass(frozen=True)
class Parts:
    """The parts of the time per event in seconds; `rest` is the time outside all parts."""

    hits: float
    preprocessing: float
    transmission: float
    travel: float
    queue: float
    compute: float
    combination: float
    rest: float

    @property
    def whole(self) -> float:
        """Return the total time of the event."""
        return sum(getattr(self, one.name) for one in fields(self))

    @property
    def module(self) -> float:
        """Return the time of the network: all but hit finding and combination."""
        return self.whole - self.hits - self.combination


@dataclass(frozen=True)
class Done:
    """The result of the chain for one event."""

    probabilities: np.ndarray
    found: Found
    parts: Parts
    requests: int
    ping_s: float | None  # round-trip time of an empty request


class Way:
    """A path to the network: `session` runs it, `target` reads the server's statistics, `channel` measures the round trip."""

    def __init__(
        self,
        name: str,
        session: tamis.Session,
        batch: int,
        target: LoadTarget | None = None,
        channel: Channel | None = None,
    ) -> None:
        """Store the path; a network in this process has neither target nor channel."""
        self.name, self._session, self._batch = name, session, batch
        self._target, self._channel = target, channel

    def run(self, raw: np.ndarray) -> Done:
        """Run the chain on one event, one request at a time."""
        ping_s = self._ping_s()
        before = self._account()
        begin = perf_counter()
        hits = find_hits(raw)
        hits_s = perf_counter() - begin
        preparing, asking, answers = 0.0, 0.0, []
        for start in range(0, len(hits), self._batch):
            since = perf_counter()
            prepared = patches(hits, slice(start, start + self._batch))
            between = perf_counter()
            answers.append(self._session.run(prepared)["probabilities"])
            preparing, asking = preparing + between - since, asking + perf_counter() - between
        since = perf_counter()
        probabilities = np.concatenate(answers)
        found = combine(hits, probabilities)
        end = perf_counter()
        queue, compute = self._grown(before, len(answers)) if before is not None else (0.0, asking)
        travel = len(answers) * (ping_s or 0.0)
        parts = Parts(
            hits=hits_s,
            preprocessing=preparing,
            transmission=asking - queue - compute - travel if before is not None else 0.0,
            travel=travel,
            queue=queue,
            compute=compute,
            combination=end - since,
            rest=end - begin - hits_s - preparing - asking - (end - since),
        )
        return Done(probabilities, found, parts, len(answers), ping_s)

    def run_at_once(self, raw: np.ndarray, in_flight: int) -> tuple[np.ndarray, float]:
        """Run the chain on one event with concurrent requests; return the probabilities and the total time."""
        begin = perf_counter()
        hits = find_hits(raw)
        under_way: deque[Future] = deque()
        answers = []
        with ThreadPoolExecutor(in_flight) as pool:
            for start in range(0, len(hits), self._batch):
                if len(under_way) > in_flight:
                    answers.append(under_way.popleft().result()["probabilities"])
                prepared = patches(hits, slice(start, start + self._batch))
                under_way.append(pool.submit(self._session.run, prepared))
            answers += [one.result()["probabilities"] for one in under_way]
        probabilities = np.concatenate(answers)
        combine(hits, probabilities)
        return probabilities, perf_counter() - begin

    def _ping_s(self) -> float | None:
        """Return the minimum round-trip time of an empty request; the rest is not travel."""
        if self._channel is None:
            return None
        times = []
        for _ in range(PINGS):
            begin = perf_counter()
            self._channel.answer(self._channel.begin(SERVICE + "ServerLive", 0, [], timeout_ns=10**10))
            times.append(perf_counter() - begin)
        return min(times)

    def _account(self) -> np.ndarray | None:
        return None if self._target is None else self._target.times()

    def _grown(self, before: np.ndarray, requests: int) -> tuple[float, float]:
        """Return the seconds that these requests were queued and computed in the server."""
        grown = self._account() - before
        if grown[0] != requests:
            raise UsageError(
                f"the server counted {grown[0]:.0f} requests instead of {requests}: it must have no other clients"
            )
        return float(grown[2] / 1e9), float(grown[3:].sum() / 1e9)


@contextmanager
def open_ways(links: list[Link], batch: int, elsewhere: str | None = None) -> Iterator[list[Way]]:
    """Open the network in this process, on a server (a new process, or `elsewhere`), and behind links to it."""
    with ExitStack() as stack:
        ways = [Way("local", stack.enter_context(tamis.open(MODEL)), batch)]
        address = elsewhere or stack.enter_context(server())
        target = LoadTarget(address, MODEL)
        stack.callback(target.close)
        places = {elsewhere or "loopback": address}
        for link in links:
            places[link.name] = stack.enter_context(delayed(address, link))
        for name, at in places.items():
            session = stack.enter_context(open_remote(at, batch))
            channel = Channel(at)
            stack.callback(channel.close)
            ways.append(Way(name, session, batch, target, channel))
        yield ways


def open_remote(address: str, batch: int) -> tamis.Session:
    """Open the network on a server with whole batches as requests; the server may split them."""
    return tamis.open(MODEL, "remote", chunk=batch, remote=Remote((address,), timeout_s=WAIT_S))


@contextmanager
def server() -> Iterator[str]:
    """Start `tamis serve` as a process; yield its address."""
    command = [
        sys.executable,
        "-m",
        "tamis",
        "serve",
        MODEL,
        "--grpc",
        "0",
        "--no-http",
        "--metrics",
        "0",
    ]
    with ended(subprocess.Popen(command, stderr=subprocess.PIPE, text=True)) as one:
        said, address = [], None
        for line in one.stderr:
            said.append(line)
            if line.startswith("grpc: "):
                address = line.removeprefix("grpc: grpc://").strip()
            if line.strip() == "ready":
                break
        if address is None:
            raise UsageError(f"the server did not start: {''.join(said)}")
        threading.Thread(target=one.stderr.read, daemon=True).start()
        yield address


@contextmanager
def delayed(address: str, link: Link) -> Iterator[str]:
    """Start a link to the server as a process; yield the address to connect to."""
    command = [sys.executable, str(Path(__file__).with_name("link.py")), address]
    command += ["--delay-ms", str(link.delay_ms), "--mbit-per-s", str(link.mbit_per_s), "--seconds", "3600"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with ended(process) as one:
        yield f"127.0.0.1:{int(one.stdout.readline())}"


@contextmanager
def ended(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
    """Terminate the process at the end."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
