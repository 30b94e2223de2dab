"""A stream is judged: faults are found and explained, good blocks are left alone, every block is in the journal once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tests.monitor.conftest import write_stream

from tamis._base import BundleError, UsageError
from tamis.bundle import Bundle
from tamis.monitor.evaluation import evaluate_stream
from tamis.monitor.features import observed
from tamis.monitor.follow import BlockJudge
from tamis.monitor.journal import Journal
from tamis.monitor.judges import step_of
from tamis.monitor.model import monitor_of
from tamis.monitor.run import monitor_stream, replay
from tamis.monitor.stream import stream_blocks


def journal_of(folder):
    journal = Journal(folder)
    try:
        return list(journal.blocks())
    finally:
        journal.close()


@pytest.fixture(scope="module")
def judged(faulty, monitor_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged") / "out"
    monitor_stream(faulty[0], monitor_bundle, folder).journal.close()
    return folder


def test_faults_are_found_and_explained(faulty, monitor_bundle):
    record = evaluate_stream(monitor_bundle, faulty[0])
    assert record.false_alarms <= 0.002 * record.good_blocks
    assert record.good_blocks > 500
    found = {one.fault: one for one in record.kinds if one.blocks > 2}
    assert len(found) >= 5
    for kind, one in found.items():
        assert one.found >= (0.6 if kind == "mini-burst" else 0.9) * one.blocks, kind
        assert one.region >= 0.9 * one.found, kind
        assert one.quantity >= 0.9 * one.found, kind
        assert one.named >= 0.7 * one.found, kind
        assert one.median_delay_blocks == 0


@pytest.mark.parametrize("mode", ["pp", "pbpb"])
def test_good_blocks_are_left_alone(monitor_bundle, tmp_path, mode):
    write_stream(tmp_path / "good", hours=30.0, faults="none", seed=51, mode=mode)
    record = evaluate_stream(monitor_bundle, tmp_path / "good")
    assert record.unscored >= 1  # the first one: there is nothing to compare it with
    assert record.good_blocks + record.unscored == record.blocks > 1800
    assert record.false_alarms == sum(record.false_by_luminosity) <= 2


def test_a_killed_monitor_goes_on_and_the_journal_is_the_same(judged, faulty, monitor_bundle, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tamis", "monitor", faulty[0], "--model", monitor_bundle.path, "-o", out]
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = len(journal_of(out)) if (out / "journal.sqlite").exists() else 0
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
            if (out / "journal.sqlite").exists() and len(journal_of(out)) > before + 100:
                break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert journal_of(out) == journal_of(judged)


def test_a_replay_gives_the_same_verdicts(judged, monitor_bundle, tmp_path):
    replay(judged, monitor_bundle, tmp_path / "again").journal.close()
    assert journal_of(tmp_path / "again") == journal_of(judged)


def test_late_duplicate_and_missing_blocks(faulty, monitor_bundle, tmp_path):
    stream = tmp_path / "stream"
    stream.mkdir()
    files = sorted(faulty[0].glob("*.parquet"))
    for number, file in enumerate((files[0], files[2], files[1], files[0])):  # late, and the first one again
        os.link(file, stream / f"{number}.parquet")
    monitor = monitor_stream(stream, monitor_bundle, tmp_path / "out")
    assert monitor.journal.late() >= 240
    monitor.journal.close()
    blocks = journal_of(tmp_path / "out")
    keys = [(one.run, one.block) for one in blocks]
    assert len(keys) == len(set(keys)) >= 700
    assert {one.state for one in blocks} >= {"good", "bad", "no data"}


def test_what_cannot_be_judged_is_said(faulty, monitor_bundle, watch):
    blocks = [observed(one, watch) for one, _ in zip(stream_blocks(faulty[0], watch), range(4), strict=False)]
    model = monitor_of(monitor_bundle)
    judge = BlockJudge(watch, step_of(monitor_bundle), model.modes)
    from dataclasses import replace

    judge.judge(blocks[0])
    for change, state, words in (
        ({"mode": 0}, "no beam", "no beam"),
        ({"mode": 3}, "unknown mode", "for 1, 2"),
        ({"events": 10}, "unscored", "10 events"),
        ({"broken": 5}, "unscored", "5 values are not numbers"),
        ({"features": blocks[1].features * np.nan}, "unscored", "no values"),
    ):
        verdict = judge.judge(replace(blocks[1], **change))
        assert verdict.state == state
        assert words in verdict.reason
    assert judge.judge(blocks[1]).state in ("good", "bad")


def test_scores_of_protons_do_not_depend_on_other_modes(faulty, monitor_bundle, watch, tmp_path):
    from tamis.monitor.training import train_monitor

    folder = monitor_bundle.path.parent
    alone = train_monitor([folder / "a", folder / "b"], watch, tmp_path / "pp.tamis").bundle
    scores = []
    for bundle in (alone, monitor_bundle):
        judge = BlockJudge(watch, step_of(bundle), monitor_of(bundle).modes)
        scores.append([judge.judge(observed(one, watch)).score for one in stream_blocks(faulty[0], watch)])
    assert scores[0] == scores[1]


def test_every_engine_judges_alike(faulty, monitor_bundle, watch):
    blocks = [observed(one, watch) for one in stream_blocks(faulty[0], watch)][:300]
    states = []
    for engine in ("onnxruntime", "native", "reference"):
        judge = BlockJudge(watch, step_of(monitor_bundle, engine), monitor_of(monitor_bundle).modes)
        states.append([judge.judge(one).state for one in blocks])
    assert states[0] == states[1] == states[2]


def test_other_models_and_journals_are_refused(faulty, judged, monitor_bundle, tmp_path):
    with pytest.raises(BundleError, match="not the model of a monitor"):
        monitor_stream(faulty[0], Bundle.open("jet-tagger"), tmp_path / "out")
    with pytest.raises(UsageError, match="has no journal"):
        Journal(tmp_path)
    journal = Journal(judged)
    journal.remember("model", "another")
    journal.close()
    with pytest.raises(UsageError, match="of another model"):
        monitor_stream(faulty[0], monitor_bundle, judged)
