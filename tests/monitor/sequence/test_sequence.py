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
from tamis.bundle import Bundle  # noqa: E402
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
from tamis.monitor.sequence.student import train_student  # noqa: E402
from tamis.monitor.sequence.training import train_sequence, weights_of  # noqa: E402
from tamis.monitor.stream import stream_blocks  # noqa: E402

QUICK = {
    "lstm": SequenceTraining(epochs=2, steps=64, rows=32),
    "xlstm": SequenceTraining(epochs=1, steps=128, rows=64),
}
WIDTH = 8


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Good blocks of some streams of protons and one of ions."""
    folder = tmp_path_factory.mktemp("streams")
    for name, mode, hours, seed in (
        ("a", "pp", 12.0, 61),
        ("b", "pp", 12.0, 62),
        ("ions", "pbpb", 6.0, 63),
        ("c", "pp", 1.0, 64),
    ):
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
def good(folders, watch):
    return [observed(one, watch) for one in stream_blocks(folders / "a", watch)]


def scores_of(bundle, blocks, engine="onnxruntime"):
    judge = open_judge(bundle, engine)
    return [judge.judge(one).score for one in blocks]


@pytest.mark.slow
def test_faults_are_found(bundles, faulty):
    record = evaluate_stream(bundles["lstm"], faulty[0], "native")
    assert record.false_alarms <= 0.1 * record.good_blocks  # it has seen few runs
    for one in record.kinds:
        if one.blocks > 2 and one.fault != "mini-burst":
            assert one.found >= 0.85 * one.blocks, one.fault
            assert one.region >= 0.6 * one.found, one.fault


@pytest.mark.parametrize("kind", list(QUICK))
def test_engines_agree(bundles, good, kind):
    few = good[:4]
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


def test_what_is_remembered_comes_back_to_the_bit(bundles, good):
    blocks = [*good[:20], *shifted(good[20:25], 1.05), *good[25:40]]
    whole = scores_of(bundles["xlstm"], blocks)
    first, second = (open_judge(bundles["xlstm"], "onnxruntime") for _ in range(2))
    begin = [first.judge(one).score for one in blocks[:23]]
    memory = json.loads(json.dumps(first.memory()))
    second.remember({int(mode): text for mode, text in memory.items()})
    assert second.memory() == first.memory()
    assert begin + [second.judge(one).score for one in blocks[23:]] == whole


@pytest.mark.slow
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


def shifted(blocks, factor):
    return [
        replace(
            one, features=one.features * factor, step_features=(one.step_features * factor).astype(np.float32)
        )
        for one in blocks
    ]


def test_bad_blocks_leave_the_state_alone(bundles, good):
    judge = open_judge(bundles["lstm"], "onnxruntime")
    for one in good[:20]:
        judge.judge(one)
    before = judge.states[1].reference.copy()
    assert all(judge.judge(one).state == "bad" for one in shifted(good[20:25], 1.05))
    assert np.array_equal(judge.states[1].reference, before)
    assert judge.judge(good[25]).state == "good"


def test_a_fault_that_goes_on_is_not_taken_for_a_slow_change(bundles, good):
    judge = open_judge(bundles["lstm"], "onnxruntime")
    for one in good[:20]:
        judge.judge(one)
    assert all(judge.judge(one).state == "bad" for one in shifted(good[20:40], 1.02))
    assert [judge.judge(one).state for one in good[40:50]].count("good") >= 9


def test_steps_without_values_are_left_out(bundles, good):
    judge = open_judge(bundles["lstm"], "onnxruntime")
    judge.judge(good[0])
    steps = good[1].step_features.copy()
    steps[5:8, 2] = np.nan
    assert judge.judge(replace(good[1], step_features=steps)).state == "good"
    verdict = judge.judge(replace(good[2], step_features=steps * np.nan))
    assert verdict.state == "unscored"
    assert "only 0 of its steps" in verdict.reason


def test_another_mode_changes_no_score(bundles, folders, good, watch, tmp_path):
    both = train_sequence(
        "lstm", [folders / "ions"], watch, tmp_path / "both.tamis", QUICK["lstm"], parent=bundles["lstm"]
    ).bundle
    assert sorted(monitor_of(both).modes) == [1, 2]
    assert monitor_of(both).streams == ["a", "b", "ions"]
    for engine in ("native", "onnxruntime"):
        assert scores_of(both, good[:30], engine) == scores_of(bundles["lstm"], good[:30], engine)
    record = evaluate_stream(both, folders / "ions", "native")
    assert record.unscored == 1
    assert record.false_alarms <= 0.02 * record.good_blocks
    with pytest.raises(UsageError, match="knows the beam mode 2 already"):
        train_sequence("lstm", [folders / "ions"], watch, tmp_path / "x.tamis", QUICK["lstm"], parent=both)
    with pytest.raises(UsageError, match="lar-lstm"):
        train_sequence("xlstm", [folders / "ions"], watch, tmp_path / "x.tamis", QUICK["xlstm"], parent=both)


def test_a_killed_training_goes_on_to_the_same_weights(folders, watch, tmp_path):
    target, options = tmp_path / "lstm.tamis", QUICK["lstm"]
    streams = [folders / "ions"]
    whole = train_sequence(
        "lstm", streams, watch, tmp_path / "whole" / "lstm.tamis", options, width=WIDTH
    ).bundle

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
    assert resumed.text("sequence.json") == whole.text("sequence.json")
    with pytest.raises(UsageError, match="seed"):
        train_sequence("lstm", streams, watch, target, replace(options, seed=2), width=WIDTH, resume=True)  # fmt: skip


def test_other_bundles_are_not_recurrent_monitors():
    with pytest.raises(BundleError, match="not a recurrent monitor"):
        sequence_of(Bundle.open("jet-tagger"))


def test_judging_needs_no_torch(bundles, folders, tmp_path):
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        "from tamis.cli.app import app\n"
        f"app(['monitor', {str(folders / 'c')!r}, '--model', {str(bundles['lstm'].path)!r}, '-o', {str(tmp_path / 'out')!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(list(Journal(tmp_path / "out").blocks())) >= 60


@pytest.mark.slow
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


@pytest.fixture(scope="module")
def student(bundles, folders):
    return train_student(
        bundles["lstm"],
        [folders / "a", folders / "b"],
        folders / "student.tamis",
        epochs=60,
        engine="onnxruntime",
    ).bundle


@pytest.mark.slow
def test_a_student_says_what_its_teacher_says(bundles, student, folders, watch):
    blocks = [observed(one, watch) for one in stream_blocks(folders / "b", watch)][:300]
    blocks = [*blocks[:200], *shifted(blocks[200:210], 1.03), *blocks[210:]]
    judges = [open_judge(one, "onnxruntime") for one in (bundles["lstm"], student)]
    verdicts = [[judge.judge(block) for judge in judges] for block in blocks]
    scores = np.array([[one.score for one in pair] for pair in verdicts if pair[0].state != "unscored"])
    ranks = scores.argsort(axis=0).argsort(axis=0)
    assert np.corrcoef(ranks.T)[0, 1] > 0.8
    same = [first.state == second.state for first, second in verdicts]
    assert np.mean(same) > 0.98
    assert all(pair[1].state == "bad" for pair in verdicts[200:210])


@pytest.mark.slow
def test_a_student_is_cheap(bundles, student):
    steps = 60
    assert steps * bundles["lstm"].manifest.cost.flops > 20 * student.manifest.cost.flops
