"""The reconstruction chain of a liquid-argon TPC: same results locally, on a server and behind a slow link; parts add up."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "protodune_chain"
BATCH = 32
MODULES = ("bars", "formula", "link", "readout", "reconstruction", "run", "table", "ways")


@pytest.fixture(scope="module", autouse=True)
def scripts():
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def event():
    from readout import make_event

    return make_event(1, seed=2, number=0)


def test_results_agree_on_every_path_and_the_parts_add_up(event, tmp_path):
    import run
    import table
    from ways import Link, open_ways

    link = Link(delay_ms=20.0, mbit_per_s=200.0)
    with open_ways([link], BATCH) as ways:
        measured = [run._first_pass(way, [event]) for way in ways]
        for one in measured:
            one["turns"].append(one["done"])
        probabilities, _ = ways[2].run_at_once(event.raw, run.IN_FLIGHT)
        assert np.abs(probabilities - measured[0]["done"][0].probabilities).max() <= run.AGREE
    found = [run.summarise(one, measured[0]) for one in measured]  # exits if the results differ
    hits = len(measured[0]["done"][0].probabilities)
    requests = -(-hits // BATCH)
    assert [one["name"] for one in found] == ["local", "loopback", "200 Mbit/s, 20 ms"]
    for one in found:
        assert one["requests_per_event"] == requests
        assert sum(one["parts_ms"].values()) == pytest.approx(one["whole_ms"])
        assert 0.0 <= one["parts_ms"]["rest"] < 0.05 * one["whole_ms"]
        assert one["parts_ms"]["compute"] > 0
    local, _, far = (one["parts_ms"] for one in found)
    assert local["transmission"] == local["travel"] == local["queue"] == 0.0
    assert far["travel"] >= requests * 2 * 20.0  # at least the delay of the link
    assert far["transmission"] + far["travel"] >= requests * 40.0 + hits * run.PATCH_BYTES * 8 / 200e3 - 1.0
    found[2] |= {"delay_ms": 20.0, "mbit_per_s": 200.0}
    record = {
        "batch": BATCH, "events": 1, "turns": 1, "in_flight": run.IN_FLIGHT, "netem": "", "ways": found,
        "patches_per_event": float(hits), "patch_bytes": run.PATCH_BYTES, **run.physics([event], measured[0]["done"]),
    }  # fmt: skip
    assert record["right_alone"] > 0.7
    assert any(line.startswith("| published") for line in table.lines(record))
    run.draw(record, tmp_path / "chain.png")
    assert (tmp_path / "chain.png").stat().st_size > 10_000


def test_hit_finding_removes_pedestals_and_noise(event):
    from reconstruction import find_hits

    from tamis.simulate.samples.argon_patches import HIT_MEV, windows
    from tamis.simulate.seeds import Seeds

    seen, _ = windows(1, Seeds(2, 203, 0))
    hits = find_hits(event.raw)
    assert np.abs(hits.plane - seen).max() < 0.3  # residual coherent noise of a board with few quiet wires
    clear = np.abs(seen - HIT_MEV) > 0.1
    assert ((hits.plane > HIT_MEV) == (seen > HIT_MEV))[clear].mean() > 0.999


def test_connected_components_are_found_through_chains_of_pairs():
    from reconstruction import components

    pairs = np.array([[5, 3], [3, 1], [4, 0], [6, 5]])
    assert components(7, pairs).tolist() == [0, 1, 2, 1, 0, 1, 1]
    chain = np.random.default_rng(1).permutation(999)
    assert components(1000, np.column_stack([chain, chain + 1])).max() == 0


def test_the_published_formula_gives_the_published_figures():
    from formula import PREPROCESSING_S, PUBLISHED

    assert PUBLISHED.knee == pytest.approx(68, abs=0.5)
    assert PUBLISHED.chain_gain == pytest.approx(2.7, abs=0.07)
    assert PUBLISHED.module_gain(PREPROCESSING_S) == pytest.approx(20, abs=0.5)
    assert PUBLISHED.event_s(68) == pytest.approx(PUBLISHED.alone_s, rel=0.01)
    assert PUBLISHED.event_s(136) > 1.9 * PUBLISHED.alone_s


def test_a_link_exits_with_its_user_and_closes_both_directions():
    with socket.create_server(("127.0.0.1", 0)) as far:
        address = f"127.0.0.1:{far.getsockname()[1]}"
        command = [
            sys.executable,
            str(FOLDER / "link.py"),
            address,
            "--delay-ms",
            "1",
            "--mbit-per-s",
            "1000",
        ]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as link:
            near = socket.create_connection(("127.0.0.1", int(link.stdout.readline())), 10)
            other, _ = far.accept()
            with near, other:
                near.settimeout(10)
                other.settimeout(10)
                near.sendall(b"there")
                assert other.recv(100) == b"there"
                other.sendall(b"back")
                other.shutdown(socket.SHUT_WR)
                assert near.recv(100) == b"back"
                assert near.recv(100) == b""
            link.stdin.close()
            begin = time.monotonic()
            assert link.wait(20) == 0
            assert time.monotonic() - begin < 20
