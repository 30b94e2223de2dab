"""Recurrent monitors: trained, packed, judging on every engine, going on after a kill, and adding a beam mode without forgetting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from tests.monitor.conftest import write_stream

torch = pytest.importorskip("torch")

from tamis._base import BundleError, UsageError  # noqa: E402
from tamis.monitor.evaluation import evaluate_stream  # noqa: E402
from tamis.monitor.features import observed  # noqa: E402
from tamis.monitor.journal import Journal  # noqa: E402
from tamis.monitor.judges import open_judge  # noqa: E402
from tamis.monitor.model import monitor_of  # noqa: E402
from tamis.monitor.run import monitor_stream  # noqa: E402
from tamis.monitor.sequence.document import sequence_of  # noqa: E402
from tamis.monitor.sequence.fit import block_errors  # noqa: E402
from tamis.monitor.sequence.learn import SequenceTraining  # noqa: E402
from tamis.monitor.sequence.network import SequenceNetwork  # noqa: E402
from tamis.monitor.sequence.scales import StepScale  # noqa: E402
from tamis.monitor.sequence.training import train_sequence, weights_of  # noqa: E402
from tamis.monitor.stream import stream_blocks  # noqa: E402

QUICK = {
    "lstm": SequenceTraining(epochs=2, steps=64, rows=32),
    "xlstm": SequenceTraining(epochs=1, steps=128, rows=64),
}
WIDTH = 8


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Good blocks of two streams of protons and one of ions."""
    folder = tmp_path_factory.mktemp("streams")
    for name, mode, hours, seed in (("a", "pp", 20.0, 61), ("b", "pp", 20.0, 62), ("ions", "pbpb", 12.0, 63)):
        write_stream(folder / name, hours=hours, faults="none", seed=seed, mode=mode)
    return folder


@pytest.fixture(scope="module")
def bundles(folders, watch):
    """A monitor of each kind for protons."""
    return {
        kind: train_sequence(
            kind, [folders / "a", folders / "b"], watch, folders / f"{kind}.tamis", QUICK[kind], width=WIDTH
        ).bundle
        for kind in QUICK
    }


@pytest.fixture(scope="module")
def blocks(faulty, watch):
    return [observed(one, watch) for one in stream_blocks(faulty[0], watch)]


@pytest.fixture(scope="module")
def good(folders, watch):
    return [observed(one, watch) for one in stream_blocks(folders / "a", watch)]


def scores_of(bundle, blocks, engine="native"):
    judge = open_judge(bundle, engine)
    return [judge.judge(one).score for one in blocks]


def test_faults_are_found(bundles, faulty):
    record = evaluate_stream(bundles["lstm"], faulty[0], "native")
    assert record.false_alarms <= 0.02 * record.good_blocks  # a short training on a few runs
    for one in record.kinds:
        if one.blocks > 2 and one.fault != "mini-burst":
            assert one.found >= 0.85 * one.blocks, one.fault
            assert one.region >= 0.6 * one.found, one.fault


@pytest.mark.parametrize("kind", list(QUICK))
def test_engines_agree(bundles, blocks, kind):
    few = blocks[:12]
    reference, *others = (scores_of(bundles[kind], few, e) for e in ("reference", "onnxruntime", "native"))
    assert max(reference) > 0
    for scores in others:
        np.testing.assert_allclose(scores, reference, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("kind", list(QUICK))
def test_the_steps_that_are_deployed_are_those_of_the_training(bundles, good, watch, kind):
    model, limits = sequence_of(bundles[kind]), monitor_of(bundles[kind]).modes[1]
    network = SequenceNetwork(kind, 20, WIDTH)
    own = model.parameters()[1]
    names = ("centre", "scale", "condition", "luminosity", "expected", "whiten", "unwhiten")
    scale = StepScale(**{name: own[name] for name in names}, events=np.array([limits.events]))
    run = [one for one in good if one.key[0] == good[0].key[0]][:30]
    errors = block_errors(network, weights_of(network, model, 1), scale, run)
    expected = ((errors.within @ own["within"]) ** 2).sum(axis=1) * errors.share / limits.within
    for values, (usual, limit) in (
        (errors.scatter, model.modes[1].scatter),
        (errors.peak, model.modes[1].peak),
    ):
        expected = np.maximum(expected, (values[1:] - usual) / (limit - usual))
    np.testing.assert_allclose(scores_of(bundles[kind], run)[1:], expected, rtol=2e-2, atol=2e-3)


def test_what_is_remembered_comes_back_to_the_bit(bundles, blocks):
    whole = scores_of(bundles["xlstm"], blocks[:150])
    first, second = (open_judge(bundles["xlstm"], "native") for _ in range(2))
    begin = [first.judge(one).score for one in blocks[:70]]
    memory = json.loads(json.dumps(first.memory()))
    second.remember({int(mode): text for mode, text in memory.items()})
    assert second.memory() == first.memory()
    assert begin + [second.judge(one).score for one in blocks[70:150]] == whole


def test_a_killed_monitor_goes_on_and_the_journal_is_the_same(bundles, faulty, tmp_path):
    monitor_stream(faulty[0], bundles["lstm"], tmp_path / "whole", engine="native").journal.close()
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tamis", "monitor", faulty[0], "--model", bundles["lstm"].path, "-o", out, "--engine", "native"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
        if (out / "journal.sqlite").exists() and len(list(Journal(out).blocks())) > 300:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert list(Journal(out).blocks()) == list(Journal(tmp_path / "whole").blocks())


def test_bad_blocks_leave_the_state_alone(bundles, good):
    judge = open_judge(bundles["lstm"], "native")
    for one in good[:40]:
        judge.judge(one)
    shifted = [
        replace(
            one,
            features=one.features * 1.05,
            step_features=(one.step_features * 1.05).astype(np.float32),
        )
        for one in good[40:45]
    ]
    before = judge.states[1].reference.copy()
    assert all(judge.judge(one).state == "bad" for one in shifted)
    assert np.array_equal(judge.states[1].reference, before)
    assert judge.judge(good[45]).state == "good"


def test_a_fault_that_goes_on_is_not_taken_for_a_slow_change(bundles, good):
    judge = open_judge(bundles["lstm"], "native")
    for one in good[:60]:
        judge.judge(one)
    factor = 1.02
    shifted = [
        replace(
            one, features=one.features * factor, step_features=(one.step_features * factor).astype(np.float32)
        )
        for one in good[60:90]
    ]
    assert all(judge.judge(one).state == "bad" for one in shifted)
    after = [judge.judge(one).state for one in good[90:110]]
    assert after.count("good") >= 18


def test_another_mode_changes_no_score(bundles, folders, blocks, watch, tmp_path):
    both = train_sequence(
        "lstm", [folders / "ions"], watch, tmp_path / "both.tamis", QUICK["lstm"], parent=bundles["lstm"]
    ).bundle
    assert sorted(monitor_of(both).modes) == [1, 2]
    assert monitor_of(both).streams == ["a", "b", "ions"]
    for engine in ("native", "onnxruntime"):
        assert scores_of(both, blocks[:300], engine) == scores_of(bundles["lstm"], blocks[:300], engine)
    record = evaluate_stream(both, folders / "ions", "native")
    assert record.unscored == 1
    assert record.false_alarms <= 0.01 * record.good_blocks
    with pytest.raises(UsageError, match="knows the beam mode 2 already"):
        train_sequence("lstm", [folders / "ions"], watch, tmp_path / "x.tamis", QUICK["lstm"], parent=both)
    with pytest.raises(UsageError, match="lar-lstm"):
        train_sequence("xlstm", [folders / "ions"], watch, tmp_path / "x.tamis", QUICK["xlstm"], parent=both)


def test_a_killed_training_goes_on_to_the_same_weights(folders, watch, bundles, tmp_path):
    target, options = tmp_path / "lstm.tamis", QUICK["lstm"]
    streams = [folders / "a", folders / "b"]

    class KilledError(Exception):
        pass

    def kill(mode, row):
        raise KilledError(f"{mode} {row}")

    with pytest.raises(KilledError):
        train_sequence("lstm", streams, watch, target, options, width=WIDTH, report=kill)
    seen = []
    resumed = train_sequence(
        "lstm", streams, watch, target, options, width=WIDTH, resume=True, report=lambda _, row: seen.append(row["epoch"])
    ).bundle  # fmt: skip
    assert seen == [2]
    assert resumed.text("sequence.json") == bundles["lstm"].text("sequence.json")
    with pytest.raises(UsageError, match="seed"):
        train_sequence("lstm", streams, watch, tmp_path / "lstm.tamis", replace(options, seed=2), width=WIDTH, resume=True)  # fmt: skip


def test_a_template_is_not_a_recurrent_monitor(monitor_bundle):
    with pytest.raises(BundleError, match="not a recurrent monitor"):
        sequence_of(monitor_bundle)


def test_judging_needs_no_torch(bundles, faulty, tmp_path):
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        "from tamis.cli.app import app\n"
        f"app(['monitor', {str(faulty[0])!r}, '--model', {str(bundles['lstm'].path)!r}, '-o', {str(tmp_path / 'out')!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(list(Journal(tmp_path / "out").blocks())) > 1000


def test_the_command_trains(folders, tmp_path):
    out = tmp_path / "lar.tamis"
    command = [sys.executable, "-m", "tamis", "train", "lar-lstm", folders / "ions", "-o", out, "--epochs", "1", "--width", "8", "--rows", "32", "--json"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["blocks"]) == ["2"]
    assert "epoch 1: error" in done.stderr
    odd = subprocess.run([*command, "--width", "10"], capture_output=True, text=True, timeout=60, check=False)
    assert odd.returncode == 2
    assert "multiple of 4" in odd.stderr
