"""What the journal keeps of what a block was compared with."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from tamis.monitor.live.feed import JournalFeed
from tamis.monitor.run import Monitor


def spreads(folder, key):
    feed = JournalFeed(folder)
    found = feed.evidence(key)["features"]
    feed.close()
    return np.array([np.nan if one["spread"] is None else one["spread"] for one in found])


def judge(monitor, blocks):
    for block in blocks:
        list(monitor.take(block))
    monitor.journal.close()


def test_the_band_of_the_first_block_of_a_run_is_as_wide_as_runs_differ(
    stream_features, small_bundle, tmp_path
):
    blocks = stream_features[:6]
    blocks[5] = replace(blocks[5], key=(blocks[5].key[0] + 1, 1))
    judge(Monitor(small_bundle, tmp_path / "new"), blocks)
    within, first = (spreads(tmp_path / "new", blocks[k].key) for k in (4, 5))
    assert (first > within).all()
    # A model of an earlier version does not know how runs differ: there is no band then, instead of a wrong one.
    older = Monitor(small_bundle, tmp_path / "old")
    older.model = older.model.model_copy(
        update={"modes": {mode: one.model_copy(update={"between_spread": ()}) for mode, one in older.model.modes.items()}}
    )  # fmt: skip
    judge(older, blocks)
    assert (spreads(tmp_path / "old", blocks[4].key) == within).all()
    assert np.isnan(spreads(tmp_path / "old", blocks[5].key)).all()


def test_a_feed_reads_what_comes_and_forgets_nothing(stream_features, small_bundle, tmp_path):
    monitor = Monitor(small_bundle, tmp_path / "out", stream="stream")
    feed = JournalFeed(tmp_path / "out")
    assert not feed.blocks
    for block in (*stream_features[1:3], *stream_features[5:8], stream_features[0]):  # a gap, and a late one
        list(monitor.take(block))
        assert feed.refresh()
        assert not feed.refresh()
    assert sorted(feed.blocks) == sorted(monitor.journal.keys())
    assert [one.number for one in feed.events] == list(range(1, len(feed.events) + 1))
    assert sum(feed.counts.values()) == len(feed.blocks)
    again = JournalFeed(tmp_path / "out")
    assert json.loads(again.state(writable=False)) == json.loads(feed.state(writable=False))
    assert again.trend("EMBC") == feed.trend("EMBC")
    again.close()
    feed.close()
    monitor.journal.close()
