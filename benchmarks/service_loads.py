"""A server under load: latency against rate, throughput against concurrency, with and without dynamic batching, two models at once.

Two servers of the same ONNX files, in Triton repositories that differ only in `dynamic_batching {}`. All settings are measured in
turn at every load, in rotating order, so that drifts of the host affect all of them. The load generator shares the servers' cores.

Usage: python benchmarks/service_loads.py [--seconds 2] [--turns 3] [--keep] [--figure FOLDER]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tamis._base import file_stamp, progress, utc_timestamp
from tamis.bundle import Bundle
from tamis.measure.traffic import LoadTarget, study_together, write_traffic
from tamis.records import LoadPoint, Scenario, Traffic, TrafficRecord
from tamis.report import draw_traffic
from triton_comparison.run import our_server, repository

MODELS = {"conv-vae": 1, "facile": 1000}  # rows per request
STREAMS = (1, 2, 4, 8, 16, 32)
SHARES = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0, 1.2, 1.5)  # of the rate of the first model without batching
MERGED = 32  # largest batch, in requests
WARM_UP_S = 0.4
RECORDS = Path(__file__).parent / "records"
Settings = dict[str, list[LoadTarget]]
Pooled = dict[tuple[str, str], TrafficRecord]


def bounded(folder: Path) -> Path:
    """Limit the batch size to 32 requests."""
    for name, rows in MODELS.items():
        file = folder / name / "config.pbtxt"
        file.write_text(file.read_text().replace("max_batch_size: 65536", f"max_batch_size: {MERGED * rows}"))
    return folder


def without_batching(folder: Path) -> Path:
    """Remove dynamic batching from the configurations of a repository."""
    for file in folder.glob("*/config.pbtxt"):
        kept = [line for line in file.read_text().splitlines() if not line.startswith("dynamic_batching")]
        file.write_text("\n".join(kept) + "\n")
    return folder


def settings(merging: str, plain: str) -> Settings:
    """Return the compared settings: the models and the server of each."""
    first, second = MODELS

    def target(address: str, model: str) -> LoadTarget:
        return LoadTarget(address, model, rows=MODELS[model])

    return {
        "dynamic batching": [target(merging, first)],
        "one by one": [target(plain, first)],
        "the other model": [target(merging, second)],
        "both at once": [target(merging, first), target(merging, second)],
    }


def loads(capacity_hz: float) -> list[tuple[float | None, int]]:
    """Return the loads: rates of random requests per model, or numbers of concurrent requests."""
    return [*((float(f"{share * capacity_hz:.2g}"), 1) for share in SHARES), *((None, n) for n in STREAMS)]


def traffic(rate_hz: float | None, streams: int, models: int, turn: int, seconds: float) -> Traffic:
    """Return a load shared by some models."""
    return Traffic(
        scenario=Scenario.SERVER if rate_hz else Scenario.CLOSED,
        rate_hz=rate_hz * models if rate_hz else None,
        streams=streams,
        seconds=seconds,
        warm_up_s=WARM_UP_S,
        seed=turn + 1,
    )


def measure(compared: Settings, turns: int, seconds: float) -> Pooled:
    """Measure all loads on all settings in turn; return a record per setting and model."""
    capacity_hz = compared["one by one"][0].load(traffic(None, 8, 1, 0, seconds)).requests_per_s
    planned = loads(capacity_hz)
    names = list(compared)
    points: dict[tuple[str, str], list[LoadPoint]] = defaultdict(list)
    last: Pooled = {}
    with progress("loading", turns * len(planned) * len(names), "loads") as advance:
        for turn in range(turns):
            for rate_hz, streams in planned:
                for place in range(len(names)):
                    name = names[(place + turn) % len(names)]
                    targets = compared[name]
                    load = traffic(rate_hz, streams, len(targets), turn, seconds)
                    for record in study_together(targets, [load]):
                        last[name, record.model] = record
                        points[name, record.model] += [
                            point.model_copy(update={"trace": ""}) for point in record.points
                        ]
                    advance(1)
    return {key: record.model_copy(update={"points": tuple(points[key])}) for key, record in last.items()}


def by_load(record: TrafficRecord, key: str) -> dict[tuple[str, float], float]:
    """Return the median of a quantity over the turns, by load."""
    seen = defaultdict(list)
    for point in record.points:
        size = (
            point.traffic.rate_hz / (1 + len(record.together))
            if point.traffic.rate_hz
            else point.traffic.streams
        )
        seen[point.traffic.scenario.value, size].append(getattr(point, key))
    return {load: float(np.median(values)) for load, values in seen.items()}


def show(pooled: Pooled) -> None:
    """Print medians over turns, with columns for each setting."""
    names = {key: f"{key[1]}, {key[0]}" for key in pooled}
    medians = {
        key: (by_load(record, "requests_per_s"), by_load(record, "p99_us")) for key, record in pooled.items()
    }
    print("requests/s | p99 in ms:  " + "  |  ".join(names.values()))
    for load in next(iter(medians.values()))[0]:
        cells = [f"{rate[load]:7.0f} {p99[load] / 1e3:8.2f}" for rate, p99 in medians.values()]
        print(f"{load[0]:>8} {load[1]:>7g} | " + " | ".join(cells))
    for key, record in pooled.items():
        for point in record.points:
            for sentence, count in [*point.errors.items(), ("not answered", point.unanswered)]:
                if count:
                    load = point.traffic.rate_hz or point.traffic.streams
                    print(f"{names[key]}, {point.traffic.scenario.value} {load:g}: {count} times: {sentence}")


def main() -> None:
    """Measure, print, and optionally write records and figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="write the records into benchmarks/records")
    parser.add_argument("--figure", type=Path, help="folder for the figures")
    options = parser.parse_args()
    bundles = {name: Bundle.open(name) for name in MODELS}
    with TemporaryDirectory() as folder:
        merging = bounded(repository(Path(folder) / "merging", bundles, python=False))
        plain = without_batching(bounded(repository(Path(folder) / "plain", bundles, python=False)))
        with our_server(merging) as first, our_server(plain) as second:
            compared = settings(first, second)
            pooled = measure(compared, options.turns, options.seconds)
            for target in {id(t): t for targets in compared.values() for t in targets}.values():
                target.close()
    show(pooled)
    if options.keep:
        stamp = file_stamp(utc_timestamp())
        for record in pooled.values():
            print(write_traffic(record, RECORDS / f"service-{stamp}"))
    if options.figure:
        for path in draw_traffic(list(pooled.values()), options.figure):
            print(path)


if __name__ == "__main__":
    main()
