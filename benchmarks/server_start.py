"""The start-up time and memory of a server with all shipped bundles, each of which passes the gate.

Usage: python benchmarks/server_start.py [--turns 5] [--keep]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil

from tamis._base import file_stamp, host_facts, utc_timestamp


def started(models: list[str], arguments: list[str]) -> tuple[float, float, int]:
    """Start a server; return the seconds until it is ready, its memory in MiB, and the number of models."""
    begin = time.monotonic()
    command = [
        sys.executable,
        "-m",
        "tamis",
        "serve",
        *models,
        "--grpc",
        "0",
        "--no-http",
        "--metrics",
        "0",
        *arguments,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    ready = 0
    for line in process.stderr:
        ready += bool(re.match("READY: ", line))
        if line.startswith("ready"):
            break
        if line.startswith(("not ready", "tamis:")):
            sys.exit(line)
    seconds = time.monotonic() - begin
    time.sleep(1.0)
    memory = psutil.Process(process.pid).memory_full_info().uss / (1 << 20)
    process.terminate()
    process.wait(30)
    return seconds, memory, ready


def main() -> None:
    """Measure, print, and optionally write a record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="write a record into benchmarks/records")
    options = parser.parse_args()
    names = sorted(point.name for point in entry_points(group="tamis.bundles"))
    found = {}
    for label, models in (("one model", ["conv-vae"]), ("all shipped models", names)):
        turns = [started(models, []) for _ in range(options.turns)]
        found[label] = {
            "models": turns[0][2],
            "ready_s": float(np.median([one[0] for one in turns])),
            "memory_MiB": float(np.median([one[1] for one in turns])),
        }
        print(
            f"{label} ({turns[0][2]}): ready after {found[label]['ready_s']:.2f} s, {found[label]['memory_MiB']:.0f} MiB"
        )
    if options.keep:
        record = {
            "kind": "server-start",
            "created": utc_timestamp(),
            "host": host_facts().model_dump(),
            "servers": found,
        }
        stamp = file_stamp(record["created"])
        path = Path(__file__).parent / "records" / f"server-start-{stamp}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(path)


if __name__ == "__main__":
    main()
