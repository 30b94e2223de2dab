"""A reconstruction chain with a network in its middle: where the time of an event goes when the network is here, on a server, far away.

Events of a liquid-argon chamber: noise is removed and hits are found; a patch is cut out about each of them (preprocessing); the
network EmTrkMichelId looks at thousands of patches per event, batch after batch; hits vote, and Michel electrons are put together. The
network runs in this process, on `tamis serve` over loopback, and behind links that delay and limit what goes through them. Ways take
turns; their answers have to be the same. The published formula predicts the links from what was measured without one.

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

os.environ["OMP_NUM_THREADS"] = "1"  # before any library asks: one core is the unit of cost

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
AGREE = 1e-4  # of probabilities: other batches may be computed in another order


def main() -> None:
    given = _arguments()
    links = [] if given.no_links else given.link or list(LINKS)
    events = [make_event(given.windows, given.seed, number) for number in range(given.events)]
    with open_ways(links, given.batch, given.server) as ways:
        measured = [_of(way, events) for way in ways]
        for turn in range(given.turns):
            print(f"turn {turn + 1} of {given.turns}", file=sys.stderr, flush=True)
            take_turns(ways, events, measured, first=turn)
    record = {
        "kind": "protodune-chain",
        "created": utc_timestamp(),
        "host": host_facts().model_dump(mode="json"),
        "model": MODEL,
        "events": given.events,
        "windows": given.windows,
        "turns": given.turns,
        "batch": given.batch,
        "in_flight": IN_FLIGHT,
        "seed": given.seed,
        "netem": netem(),
        "patches_per_event": float(np.mean([len(done.probabilities) for done in measured[0]["done"]])),
        "patch_bytes": PATCH_BYTES,
        **physics(events, measured[0]["done"]),
        "ways": [summed_up(one, measured[0]) for one in measured],
    }
    for way, link in zip(record["ways"][2:], links, strict=True):
        way.update(delay_ms=link.delay_ms, mbit_per_s=link.mbit_per_s)
    print("\n".join(lines(record)))
    if given.figure:
        draw(record, given.figure)
    if given.keep:
        stamp = file_stamp(record["created"])
        write_text(RECORDS / f"protodune-chain-{stamp}.json", json.dumps(record, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=2)
    parser.add_argument("--windows", type=int, default=4, help="of 75 cm, of an event")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch", type=int, default=256, help="patches of a request")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--link", type=_link, action="append", help="one-way delay in ms, and Mbit/s: 5:100")
    parser.add_argument(
        "--no-links", action="store_true", help="no delaying proxies: loopback is slow enough by itself"
    )
    parser.add_argument("--server", help="one that runs already and has the network; nobody else may ask it")
    parser.add_argument("--keep", action="store_true", help="write a record into benchmarks/records")
    parser.add_argument("--figure", type=Path, help="where to: a PNG, and a PDF next to it")
    return parser.parse_args()


def _link(text: str) -> Link:
    delay, _, rate = text.partition(":")
    return Link(float(delay), float(rate))


def _of(way: Way, events: list[Readout]) -> dict[str, Any]:
    """Let a way do every event once, before anything is timed: its answers are the ones to compare."""
    done = [way.run(event.raw) for event in events]
    return {"name": way.name, "done": done, "turns": [], "at_once_s": []}


def take_turns(ways: list[Way], events: list[Readout], measured: list[dict[str, Any]], first: int) -> None:
    """Take each event through all ways, one request at a time; and where a server computes, some at a time."""
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
    """Return how far answers differ at most; too far ends the benchmark."""
    differs = float(np.abs(one.probabilities - probabilities).max())
    if differs > AGREE:
        sys.exit(f"{name} answers otherwise: probabilities differ by {differs:.2g}")
    return differs


def summed_up(one: dict[str, Any], local: dict[str, Any]) -> dict[str, Any]:
    """Return medians over the turns of the mean over the events, and whether the answers are those of this process."""
    for mine, theirs in zip(one["done"], local["done"], strict=True):
        if not np.array_equal(mine.found.label, theirs.found.label):
            sys.exit(f"{one['name']} gives other votes")
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
    """Return how many hits have the right class, by themselves and after the vote, and the Michel electrons per event."""
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
    """Return whether this system would delay packets itself, in a network namespace of our own."""
    tried = "ip link set lo up && tc qdisc add dev lo root netem delay 1ms"
    try:
        told = subprocess.run(
            ["unshare", "-rn", "sh", "-c", tried], capture_output=True, text=True, timeout=20, check=False
        )
    except OSError as error:
        return f"not there: {error}"
    return f"refused: {told.stderr.strip()}" if told.returncode else "allowed"


if __name__ == "__main__":
    main()
