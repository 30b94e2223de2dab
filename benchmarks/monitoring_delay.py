"""How long a flag takes: from the frame that ends a block, over a socket, to the verdict in the journal.

python benchmarks/monitoring_delay.py lar.tamis --blocks 500 -o monitoring_delay.json
"""

from __future__ import annotations

import argparse
import json
import socket
import tempfile
import threading
import time
from pathlib import Path

import awkward as ak
import numpy as np

from tamis._base import host_facts, utc_timestamp
from tamis.bundle import Bundle
from tamis.monitor.feed import feed_frame
from tamis.monitor.run import JudgedBlock, monitor_stream
from tamis.simulate.lar import LarStream, plan_stream, simulate_lar

SECONDS = 10  # of a block in one frame
PAUSE_S = 0.5  # between blocks, which are 60 s apart in data


def main() -> None:
    """Send blocks, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--blocks", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sent: dict[tuple[int, int], float] = {}
    delays: list[float] = []
    there, address = threading.Event(), []

    def opened(where: str) -> None:
        host, _, port = where.removeprefix("tcp://").rpartition(":")
        address.append((host, int(port)))
        there.set()

    def watched(judged: JudgedBlock) -> None:
        delays.append(time.perf_counter() - sent[judged.verdict.key])

    with tempfile.TemporaryDirectory() as name:
        bundle, journal = Bundle.open(options.bundle), Path(name) / "out"
        thread = threading.Thread(
            target=lambda: monitor_stream(
                "tcp://127.0.0.1:0", bundle, journal, idle_s=2.0, watched=watched, opened=opened
            )
        )
        thread.start()
        there.wait()
        stream = LarStream("pp", options.blocks / 60 + 1, "known", 1.0, "steps", options.seed)
        with socket.create_connection(address[0]) as sender:
            for piece in simulate_lar(plan_stream(stream)):
                rows = piece.array
                table = ak.to_arrow_table(rows, extensionarray=False)
                run, block = (ak.to_numpy(rows[column]) for column in ("run", "luminosityBlock"))
                begins = np.flatnonzero(np.r_[True, (np.diff(run) != 0) | (np.diff(block) != 0)])
                for begin, end in zip(begins, [*begins[1:], len(run)], strict=True):
                    if len(sent) == options.blocks:
                        break
                    for first in range(begin, end, SECONDS):
                        sender.sendall(feed_frame(table.slice(first, min(SECONDS, end - first))))
                    key = int(run[begin]), int(block[begin])
                    sent[key] = time.perf_counter()
                    sender.sendall(feed_frame(table.slice(0, 0), key))
                    time.sleep(PAUSE_S)
            thread.join()
    quantiles = {f"p{q:g}": float(np.percentile(delays, q)) * 1e3 for q in (50, 99, 100)}
    print(f"{len(delays)} blocks, from the last frame to the flag: {quantiles} ms")
    record = {
        "created": utc_timestamp(),
        "host": host_facts().model_dump(),
        "blocks": len(delays),
        "milliseconds": quantiles,
    }
    options.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
