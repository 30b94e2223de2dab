"""A reconstruction chain with a network in the middle: the time per event with the network in process, on a server, and behind a link.

Events of a liquid-argon TPC: noise removal and hit finding; a patch around each hit (preprocessing); the network EmTrkMichelId
classifies thousands of patches per event in batches; hits vote, and Michel electrons are built. The network runs in this process, on
`tamis serve` over loopback, and behind links with a given delay and bandwidth. The paths are interleaved and must give the same
results. The published formula predicts the links from the measurement without one.

Usage: python benchmarks/protodune_chain/run.py [--events 2] [--windows 4] [--turns 5] [--batch 256] [--link MS:MBIT ...]
       [--no-links] [--server HOST:PORT] [--keep] [--figure PATH]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported: one core is the unit of cost

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from bars import draw
from readout import Readout, make_event
from reconstruction import find_hits
from table import lines
from ways import MODEL, Done, Link, Parts, Way, open_ways

from tamis._base import file_stamp, host_facts, utc_timestamp, write_text
from tamis.simulate.samples.argon_patches import PATCH

RECORDS = Path(__file__).parents[1] / "records"
LINKS = (Link(0.2, 2000.0), Link(5.0, 1000.0), Link(5.0, 100.0))
IN_FLIGHT = 4
PATCH_BYTES = 4 * PATCH * PATCH
AGREE = 1e-4  # of probabilities: sums in other batches may have another order


def main() -> None:
    options = _arguments()
    links = [] if options.no_links else options.link or list(LINKS)
    events = [make_event(options.windows, options.seed, number) for number in range(options.events)]
    with open_ways(links, options.batch, options.server) as ways:
        measured = [_first_pass(way, events) for way in ways]
        for turn in range(options.turns):
            print(f"turn {turn + 1} of {options.turns}", file=sys.stderr, flush=True)
            take_turns(ways, events, measured, first=turn)
    record = {
        "kind": "protodune-chain",
        "created": utc_timestamp(),
        "host": host_facts().model_dump(mode="json"),
        "model": MODEL,
        "events": options.events,
        "windows": options.windows,
        "turns": options.turns,
        "batch": options.batch,
        "in_flight": IN_FLIGHT,
        "seed": options.seed,
        "netem": netem(),
        "patches_per_event": float(np.mean([len(done.probabilities) for done in measured[0]["done"]])),
        "patch_bytes": PATCH_BYTES,
        **physics(events, measured[0]["done"]),
        "ways": [summarise(one, measured[0]) for one in measured],
    }
    for way, link in zip(record["ways"][2:], links, strict=True):
        way.update(delay_ms=link.delay_ms, mbit_per_s=link.mbit_per_s)
    print("\n".join(lines(record)))
    if options.figure:
        draw(record, options.figure)
    if options.keep:
        stamp = file_stamp(record["created"])
        write_text(RECORDS / f"protodune-chain-{stamp}.json", json.dumps(record, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=2)
    parser.add_argument("--windows", type=int, default=4, help="windows of 75 cm per event")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch", type=int, default=256, help="patches per request")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--link", type=_link, action="append", help="one-way delay in ms, and Mbit/s: 5:100")
    parser.add_argument("--no-links", action="store_true", help="measure without simulated links")
    parser.add_argument("--server", help="address of a running server with the network and no other clients")
    parser.add_argument("--keep", action="store_true", help="write a record into benchmarks/records")
    parser.add_argument("--figure", type=Path, help="PNG file for the figure; a PDF is written next to it")
    return parser.parse_args()


def _link(text: str) -> Link:
    delay, _, rate = text.partition(":")
    return Link(float(delay), float(rate))


def _first_pass(way: Way, events: list[Readout]) -> dict[str, Any]:
    """Run every event once before the timing; these results are the reference of the path."""
    done = [way.run(event.raw) for event in events]
    return {"name": way.name, "done": done, "turns": [], "at_once_s": []}


def take_turns(ways: list[Way], events: list[Readout], measured: list[dict[str, Any]], first: int) -> None:
    """Run each event on all paths with one request at a time, and on servers also with concurrent requests."""
    together: list[list[float]] = [[] for _ in ways]
    for one in measured:
        one["turns"].append([])
    for number, event in enumerate(events):
        for place in range(len(ways)):
            which = (first + number + place) % len(ways)
            way, into = ways[which], measured[which]
            again = way.run(event.raw)
            same(into["done"][number], again.probabilities, way.name)
            into["turns"][-1].append(again)
            if which:
                probabilities, took_s = way.run_at_once(event.raw, IN_FLIGHT)
                same(into["done"][number], probabilities, way.name)
                together[which].append(took_s)
    for one, took in zip(measured[1:], together[1:], strict=True):
        one["at_once_s"].append(float(np.mean(took)))


def same(one: Done, probabilities: np.ndarray, name: str) -> float:
    """Return the largest difference of the probabilities; exit if it is too large."""
    differs = float(np.abs(one.probabilities - probabilities).max())
    if differs > AGREE:
        sys.exit(f"the results of {name} differ: probabilities by up to {differs:.2g}")
    return differs


def summarise(one: dict[str, Any], local: dict[str, Any]) -> dict[str, Any]:
    """Return medians over turns of the mean over events; exit if the votes differ from the local ones."""
    for mine, theirs in zip(one["done"], local["done"], strict=True):
        if not np.array_equal(mine.found.label, theirs.found.label):
            sys.exit(f"{one['name']} gives different votes")
    names = list(Parts.__dataclass_fields__)
    parts = np.array(
        [np.mean([[getattr(e.parts, name) for name in names] for e in turn], axis=0) for turn in one["turns"]]
    )
    whole = np.array([np.mean([e.parts.whole for e in turn]) for turn in one["turns"]])
    module = np.array([np.mean([e.parts.module for e in turn]) for turn in one["turns"]])
    found = {
        "name": one["name"],
        "parts_ms": {name: 1e3 * float(v) for name, v in zip(names, np.median(parts, axis=0), strict=True)},
        "least_ms": {name: 1e3 * float(v) for name, v in zip(names, parts.min(axis=0), strict=True)},
        "whole_ms": 1e3 * float(np.median(whole)),
        "module_ms": 1e3 * float(np.median(module)),
        "whole_ms_of_turns": [1e3 * float(value) for value in whole],
        "requests_per_event": float(np.mean([done.requests for done in one["done"]])),
        "differs_most": max(
            same(mine, theirs.probabilities, one["name"])
            for mine, theirs in zip(one["done"], local["done"], strict=True)
        ),
    }
    if one["at_once_s"]:
        pings = [done.ping_s for turn in one["turns"] for done in turn]
        found |= {
            "ping_ms": 1e3 * float(np.median(pings)),
            "at_once_ms": 1e3 * float(np.median(one["at_once_s"])),
        }
    return found


def physics(events: list[Readout], done: list[Done]) -> dict[str, float]:
    """Return the fractions of correctly classified hits, before and after the vote, and the Michel electrons per event."""
    alone, voted = [], []
    for event, one in zip(events, done, strict=True):
        hits = find_hits(event.raw)
        true = event.label[hits.window, hits.wire, hits.tick]
        alone.append(one.probabilities.argmax(1) == true)
        voted.append(one.found.label == true)
    return {
        "right_alone": float(np.concatenate(alone).mean()),
        "right_after_vote": float(np.concatenate(voted).mean()),
        "michels_per_event": float(np.mean([len(one.found.michels) for one in done])),
    }


def netem() -> str:
    """Return whether the system allows netem in a network namespace, which would delay packets in the kernel."""
    script = "ip link set lo up && tc qdisc add dev lo root netem delay 1ms"
    try:
        finished = subprocess.run(
            ["unshare", "-rn", "sh", "-c", script], capture_output=True, text=True, timeout=20, check=False
        )
    except OSError as error:
        return f"not available: {error}"
    return f"refused: {finished.stderr.strip()}" if finished.returncode else "allowed"


if __name__ == "__main__":
    main()
