"""A server is watched: the watch files of the documentation find a model that is slower, and a burst of failures."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import numpy as np
import pytest

from tamis.monitor.journal import Journal
from tamis.monitor.stream import FileReader
from tamis.monitor.watch import read_watch
from tamis.serve.monitored import ServiceStream, StreamSettings

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "monitor.md"
MODEL = "conv-vae"
BLOCK_S = 60
RATE = 40  # requests in a second
SLOWER = 1.5


class StillLoop:
    """An event loop in which no time passes by itself."""

    def call_later(self, *_):
        return self

    def cancel(self):
        """Do nothing."""


class Clock:
    """A clock that is set by hand."""

    now_s = 0.0

    def __call__(self):
        return self.now_s


def write_service(folder, run, blocks, slow=(), failing=()):
    """Write the stream of a service whose model is slower in some blocks, and fails for ten seconds in others."""
    rng, clock = np.random.default_rng(run), Clock()
    stream = ServiceStream(StreamSettings(folder, run, clock.now_s), clock)
    stream.start(StillLoop())
    times = stream.times_of(MODEL)
    for second in range(blocks * BLOCK_S):
        block, step = second // BLOCK_S + 1, second % BLOCK_S
        count = rng.poisson(RATE)
        queue_ns = rng.gamma(2, 100_000, count).astype(int)
        infer_ns = rng.gamma(9, 100_000 * (SLOWER if block in slow else 1), count).astype(int)
        for waited, computed in zip(queue_ns.tolist(), infer_ns.tolist(), strict=True):
            times.add([waited + computed + 20_000], 8, 10_000, computed, 10_000)
        times.failed += int(rng.binomial(RATE, 0.5 if block in failing and 20 <= step < 30 else 0.002))
        clock.now_s = second + 1.0
        stream.end_second()
        while second - stream.written > BLOCK_S:
            time.sleep(0.0005)  # the thread follows
    asyncio.run(stream.close())
    assert stream.lost == 0


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
    """A good stream, and one with blocks that are slow or fail."""
    folder = tmp_path_factory.mktemp("streams")
    write_service(folder / "good", 1_800_000_000, 130)
    write_service(folder / "served", 1_800_100_000, 20, slow=(8, 9), failing=(14,))
    return folder


@pytest.mark.parametrize(
    ("watch", "bad", "quantities"),
    [("latency", [8, 9], {"latency", "compute"}), ("failures", [14], {"failures"})],
)
def test_faults_of_a_service_are_found(call, streams, tmp_path, watch, bad, quantities):
    text = re.search(rf"cat > serve-{watch}.yaml <<'EOF'\n(.*?)EOF\n", GUIDE.read_text(encoding="utf-8"), re.DOTALL)  # fmt: skip
    (tmp_path / "watch.yaml").write_text(text[1])
    model = tmp_path / f"{watch}.tamis"
    code, _, told = call("train", "lar-template", streams / "good", "--watch", tmp_path / "watch.yaml", "-o", model)  # fmt: skip
    assert code == 0, told
    complete = FileReader(streams / "served", read_watch(tmp_path / "watch.yaml")).new_blocks(last=False)
    assert [block.key[1] for block, _ in complete] == list(range(1, 22))  # by the marks, also the last one
    code, _, told = call("monitor", streams / "served", "--model", model, "-o", tmp_path / "monitored")
    assert code == 0, told
    journal = Journal(tmp_path / "monitored")
    blocks = list(journal.blocks())
    journal.close()
    assert [one.block for one in blocks if one.state == "bad"] == bad, told
    assert {(one.region, one.direction) for one in blocks if one.state == "bad"} == {(MODEL, "up")}
    assert {one.quantity for one in blocks if one.state == "bad"} <= quantities
    states = {one.block: (one.state, one.reason) for one in blocks}
    assert states.pop(1)[0] == "unscored"  # nothing to compare it with
    few = ("unscored", "it has 0 events in 1 s: at least 1000 events and 3 s are needed")
    assert states.pop(21) == few  # the part of a second in which the server ended
    assert {state for block, (state, _) in states.items() if block not in bad} == {"good"}
