"""Validate the simulation of a server: calibrate it with some loads, predict others, and compare with measurements.

Starts a server on loopback. Each round measures, in shuffled order, the loads for the calibration (one and several clients without
think time) and the loads to predict: clients with think time, from one to beyond saturation; clients without; requests at random
times. The host drifts, so all loads of a round are measured close together. The comparison uses medians over rounds, and over
stretches of the simulation of the same length, so that a rare stall of the host does not count.

The load generator runs on the server's host. When it has to send at given times, it spins instead of sleeping and slows the server
down: such loads are predicted from two calibration loads of their kind (with other clients and think times), the others from theirs.
A process that watches the clock detects stalls of the host; such a load is measured again, and counted.

Usage: python benchmarks/farm_validation.py [--model conv-vae] [--rows 16] [--rounds 8] [--seconds 3] [--keep]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from tamis._base import file_stamp, host_facts, progress, utc_timestamp
from tamis.farm import Calibration, Closed, Farm, Open, SimulationResult, calibrate, simulate
from tamis.measure.traffic import LoadTarget
from tamis.records import LoadPoint, Scenario, Traffic

FOLDER = Path(__file__).parent / "records"
WITHIN = 0.15  # relative deviation of a good prediction
THINK = 20  # think time, in units of the duration of a request
CLIENTS = (1, 4, 8, 12, 16, 20, 24, 30, 40)
STREAMS = (2, 8, 16)
SHARES = (0.3, 0.5, 0.65, 0.8)  # of the rate at saturation
CALIBRATING = (1, 4)  # streams
PACED = ((1, 5), (10, 2))  # clients, and their think time in units of the duration of a request
UNPACED, OWN_TIMES = "without think time", "at given times"
STOOD_STILL_S, TRIES = 0.05, 4
WATCH = """
import time
last = time.monotonic()
while True:
    time.sleep(0.005)
    now = time.monotonic()
    if now - last > 0.02:
        print(now - last, flush=True)
    last = now
"""
REQUESTS = 60_000


@contextmanager
def serving(model: str, port: int) -> Iterator[str]:
    """Run a server; yield its address."""
    command = [
        sys.executable, "-m", "tamis", "serve", model, "--grpc", str(port), "--no-http", "--metrics", "0",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None  # noqa: S101 - a pipe
        address = ""
        for line in process.stderr:
            found = re.search(r"grpc://(\S+)", line)
            address = found[1] if found else address
            if line.startswith("ready"):
                break
        else:
            raise SystemExit(f"the server did not start; it ended with {process.wait()}")
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def closed(streams: int, seconds: float, seed: int, think_s: float = 0.0) -> Traffic:
    """Return a closed load: clients that wait for each response."""
    warm_up = min(1.0, 0.3 * seconds) + 2 * think_s
    return Traffic(
        scenario=Scenario.CLOSED,
        streams=streams,
        seconds=seconds,
        warm_up_s=warm_up,
        seed=seed,
        think_s=think_s,
    )


def at_random(rate_hz: float, seconds: float, seed: int) -> Traffic:
    """Return an open load: requests at random times."""
    return Traffic(scenario=Scenario.SERVER, rate_hz=rate_hz, seconds=seconds, warm_up_s=0.3, seed=seed)


def scan(seconds: float, seed: int, think_s: float, capacity: float) -> dict[str, Traffic]:
    """Return the loads to predict."""
    found = {f"{n} clients, think": closed(n, seconds, seed, think_s) for n in CLIENTS}
    found |= {f"{n} streams": closed(n, seconds, seed) for n in STREAMS}
    found |= {f"open, {share:g} of capacity": at_random(share * capacity, seconds, seed) for share in SHARES}
    return found


def predicted(told: Calibration, traffic: Traffic) -> SimulationResult:
    """Simulate a load."""
    load = Open(traffic.rate_hz) if traffic.rate_hz else Closed(traffic.streams, traffic.think_s)
    farm = Farm(told.server, load, network=told.network, rows=told.rows, clocks=told.clocks())
    return simulate(farm, requests=REQUESTS)


def of_rounds(points: list[LoadPoint]) -> tuple[list[float], list[float]]:
    """Return the rate in requests per second and the p99 in milliseconds of each round."""
    p99 = [float(np.percentile(point.traced_us()[:, 1], 99)) / 1e3 for point in points]
    return [point.requests_per_s for point in points], p99


class Watched:
    """A target whose loads are measured again if the host stalled."""

    def __init__(self, target: LoadTarget, watch: subprocess.Popen[bytes]) -> None:
        assert watch.stdout is not None  # noqa: S101 - a pipe
        os.set_blocking(watch.stdout.fileno(), False)
        self._target, self._out, self.again = target, watch.stdout, 0

    def load(self, traffic: Traffic) -> LoadPoint:
        for _ in range(TRIES):
            self._stills()
            point = self._target.load(traffic, traced=1_000_000)
            if max(self._stills(), default=0.0) < STOOD_STILL_S:
                break
            self.again += 1
        return point

    def _stills(self) -> list[float]:
        return [float(line) for line in (self._out.read() or b"").split()]


Loads = dict[str, list[LoadPoint]]


def measure(target: Watched, rounds: int, seconds: float) -> tuple[Loads, Loads]:
    """Measure all loads round by round; return those for the calibration, by kind, and those to predict."""
    request_s = target.load(closed(1, 1.0, 1)).p50_us / 1e6
    capacity = target.load(closed(4, 1.0, 1)).requests_per_s
    calibrating: Loads = {UNPACED: [], OWN_TIMES: []}
    seen: Loads = {}
    rng = np.random.default_rng(7)
    total = rounds * (len(CALIBRATING) + len(PACED) + len(CLIENTS) + len(STREAMS) + len(SHARES))
    with progress("loading", total, "loads") as advance:
        for number in range(rounds):
            seed = number + 2
            scanned = scan(seconds, seed, THINK * request_s, capacity)
            queue = [(seen.setdefault(name, []), traffic) for name, traffic in scanned.items()]
            queue += [(calibrating[UNPACED], closed(n, seconds, seed)) for n in CALIBRATING]
            queue += [
                (calibrating[OWN_TIMES], closed(n, seconds, seed, times * request_s)) for n, times in PACED
            ]
            for place in rng.permutation(len(queue)).tolist():
                into, traffic = queue[place]
                into.append(target.load(traffic))
                advance(1)
    return calibrating, seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="conv-vae")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="write the record into benchmarks/records")
    parser.add_argument("--loads", type=Path, help="file for all measured loads")
    options = parser.parse_args()
    with serving(options.model, options.port) as address:
        target = LoadTarget(address, options.model, rows=options.rows)
        batching = target.batching()
        begin = time.monotonic()
        watch = subprocess.Popen([sys.executable, "-c", WATCH], stdout=subprocess.PIPE, bufsize=0)
        try:
            watched = Watched(target, watch)
            calibrating, seen = measure(watched, options.rounds, options.seconds)
        finally:
            watch.terminate()
            watch.wait()
        measured_s = time.monotonic() - begin
        target.close()
    if options.loads:
        options.loads.write_text(
            json.dumps(
                {
                    "batching": batching.model_dump() if batching else None,
                    "calibrating": {
                        k: [p.model_dump(mode="json") for p in v] for k, v in calibrating.items()
                    },
                    "seen": {k: [p.model_dump(mode="json") for p in v] for k, v in seen.items()},
                }
            )
        )
    told = {kind: calibrate(points, batching) for kind, points in calibrating.items()}
    rows = compare(told, seen)
    show(told, rows)
    print(f"{watched.again} loads were measured again because the host stalled")
    if options.keep:
        record = {
            "kind": "farm-validation",
            "created": utc_timestamp(),
            "host": host_facts().model_dump(),
            "options": {k: str(v) for k, v in vars(options).items()},
            "measured_s": measured_s,
            "measured_again": watched.again,
            "calibrated": {kind: calibrated(one) for kind, one in told.items()},
            "points": rows,
        }
        stamp = file_stamp(record["created"])
        path = FOLDER / f"farm-validation-{stamp}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(path)


def calibrated(told: Calibration) -> dict[str, object]:
    """Return the fitted parameters."""
    service, flights = told.server.service, told.network.flight_s
    return {
        "service_ms": {rows: 1e3 * s for rows, s in zip(service.rows, service.seconds, strict=True)},
        "loop_us": 1e6 * (told.server.in_s + told.server.out_s),
        "flight_us": {f"p{q:g}": 1e6 * float(np.percentile(flights, q)) for q in (10, 50, 90, 99)},
    }


def compare(told: dict[str, Calibration], seen: dict[str, list[LoadPoint]]) -> list[dict[str, object]]:
    """Return the predictions and the measurements."""
    rows: list[dict[str, object]] = []
    with progress("simulating", len(seen), "loads") as advance:
        for name, points in seen.items():
            rates, each = of_rounds(points)
            rate, p99 = float(np.median(rates)), float(np.median(each))
            traffic = points[0].traffic
            outcome = predicted(told[OWN_TIMES if traffic.rate_hz or traffic.think_s else UNPACED], traffic)
            prediction = {
                "requests_per_s": outcome.requests_per_s,
                "p99_ms": outcome.typical_p99_us(traffic.seconds) / 1e3,
                "p99_ms_of_all": outcome.latency.p99_us / 1e3,
            }
            rows.append(
                {
                    "load": name,
                    "predicted": prediction | {"p50_ms": outcome.latency.p50_us / 1e3},
                    "measured": {
                        "requests_per_s": rate,
                        "p99_ms": p99,
                        "p50_ms": float(np.median([p.p50_us for p in points])) / 1e3,
                        "p99_ms_of_rounds": each,
                        "requests_per_s_of_rounds": rates,
                    },
                    "ratio": {
                        "requests_per_s": prediction["requests_per_s"] / rate,
                        "p99": prediction["p99_ms"] / p99,
                    },
                }
            )
            advance(1)
    return rows


def show(told: dict[str, Calibration], rows: list[dict[str, object]]) -> None:
    """Print the comparison."""
    for kind, one in told.items():
        print(f"clients {kind}: {calibrated(one)}")
    print(
        f"{'load':24} {'req/s':>8} {'meas.':>8} {'ratio':>6} {'p50 ms':>8} {'meas.':>8} {'p99 ms':>8} {'meas.':>8} {'ratio':>6}  p99 of rounds"
    )
    missed = 0
    for row in rows:
        p, m, r = row["predicted"], row["measured"], row["ratio"]
        off = max(abs(r["requests_per_s"] - 1), abs(r["p99"] - 1)) > WITHIN
        missed += off
        each = sorted(m["p99_ms_of_rounds"])
        print(
            f"{row['load']:24} {p['requests_per_s']:8.1f} {m['requests_per_s']:8.1f} {r['requests_per_s']:6.2f} "
            f"{p['p50_ms']:8.2f} {m['p50_ms']:8.2f} {p['p99_ms']:8.2f} {m['p99_ms']:8.2f} {r['p99']:6.2f}{' !' if off else '  '}"
            f"{each[0]:.1f} to {each[-1]:.1f}"
        )
    print(f"{len(rows) - missed} of {len(rows)} points within {100 * WITHIN:g} % in both")


if __name__ == "__main__":
    main()
