"""From a simulated stream to certified blocks by commands, and the messages for wrong files and options."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from typing import ClassVar

import pyarrow.parquet as pq
import pytest

from tamis.monitor.journal import Journal


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained monitor, and a stream that it has not seen."""
    from tamis.cli.app import _run

    path = tmp_path_factory.mktemp("monitor")
    for name, hours, faults, seed in (("good", 40, "none", 1), ("stream", 10, "known", 2)):
        arguments = [
            "--hours",
            hours,
            "--faults",
            faults,
            "--detail",
            "steps",
            "--seed",
            seed,
            "-o",
            path / name,
        ]
        assert _run(["simulate", "lar-stream", *map(str, arguments)]) == 0
    assert _run(["train", "lar-template", str(path / "good"), "-o", str(path / "lar.tamis")]) == 0
    return path


@pytest.fixture
def model(folder):
    return folder / "lar.tamis"


def test_from_a_stream_to_certified_blocks(call, folder, model, tmp_path):
    out = tmp_path / "out"
    code, printed, told = call("monitor", folder / "stream", "--model", model, "-o", out)
    assert code == 0
    assert "bad, a burst in EMECA in second 53 (24 hot): SEVNOISEBURST" in told
    assert "bad, tau in EMBC up" in told
    assert "480 good, 128 bad, 1 unscored" in printed
    assert call("monitor", folder / "stream", "--model", model, "-o", out)[1].count("no new blocks") == 1
    code, printed, _ = call("certify", out, "-o", tmp_path / "golden.json", "--json")
    assert code == 0
    facts = json.loads(printed)
    golden = json.loads((tmp_path / "golden.json").read_text())
    assert (
        sum(last - first + 1 for ranges in golden.values() for first, last in ranges)
        == facts["certified"]
        == 480
    )
    assert sum(facts["luminosity"].values()) == pytest.approx(1)
    code, printed, _ = call(
        "monitor",
        "--replay",
        out,
        "--from",
        "480001:300",
        "--model",
        model,
        "-o",
        tmp_path / "again",
        "--json",
    )
    assert code == 0
    assert sum(json.loads(printed)["blocks"].values()) == 310


def test_persons_acknowledge_and_override(call, folder, model, tmp_path):
    out = tmp_path / "out"
    assert call("monitor", folder / "stream", "--model", model, "-o", out, "--json")[0] == 0

    def certified(journal, name):
        assert call("certify", journal, "-o", tmp_path / name)[0] == 0
        ranges = json.loads((tmp_path / name).read_text())["480001"]
        return {block for first, last in ranges for block in range(first, last + 1)}

    before = certified(out, "before.json")
    assert 318 not in before
    assert 400 in before
    by = ("--by", "A. Shifter")
    assert "nobody" in call("annotate", out, "480001:318")[1]
    assert call("annotate", out, "480001:318", "--acknowledge", *by)[0] == 0
    assert (
        call("annotate", out, "480001:318", "--as", "good", "--because", "a test of the clock", *by)[0] == 0
    )
    assert call("annotate", out, "480001:400", "--as", "good", "--because", "x", *by)[0] == 0
    code, printed, _ = call(
        "annotate", out, "480001:400", "--as", "bad", "--because", "x-rays", "--by", "B. Expert", "--json"
    )
    assert code == 0
    assert [note["action"] for note in json.loads(printed)["notes"]] == ["good", "bad"]
    assert certified(out, "after.json") == before - {400} | {318}
    assert call("monitor", "--replay", out, "--model", model, "-o", tmp_path / "again", "--json")[0] == 0
    assert certified(tmp_path / "again", "again.json") == before - {400} | {318}
    for arguments, message in (
        (("480001:318", "--as", "good", "--because", "x"), "--by is missing"),
        (("480001:318", "--as", "good", *by), "--because is missing"),
        (("480001:1", "--as", "good", "--because", "x", *by), "is unscored: only a block that was judged"),
        (("480001:9999", "--acknowledge", *by), "has no block 9999 of run 480001"),
        (("480001", "--acknowledge", *by), "write a run and a block"),
    ):
        code, _, err = call("annotate", out, *arguments)
        assert code == 2
        assert message in " ".join(err.split())


class Receiver(http.server.BaseHTTPRequestHandler):
    """Fails once, then takes what is posted."""

    posted: ClassVar[list] = []
    failures: ClassVar[list] = [503]

    def do_POST(self):
        # Before the answer, after which the next report may come in another thread.
        self.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.failures.pop() if self.failures else 204)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_hooks_are_told_of_every_bad_block(call, folder, model, tmp_path):
    told = tmp_path / "told.jsonl"
    script = tmp_path / "hook.sh"
    script.write_text(f"#!/bin/sh\ncat >> {told}\n")
    script.chmod(0o755)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/alarms"
        code, out, err = call(
            "monitor",
            folder / "stream",
            "--model",
            model,
            "-o",
            tmp_path / "out",
            "--hook",
            script,
            "--hook",
            url,
        )
        server.shutdown()
        thread.join()
    assert code == 0
    assert "128 bad" in out
    assert "was not reported" not in err
    alarms = [json.loads(line) for line in told.read_text().splitlines()]
    assert len(alarms) == 128
    assert {"run", "block", "score", "region", "quantity", "direction", "kinds", "bursts"} <= alarms[0].keys()
    assert Receiver.posted[0] == Receiver.posted[1] == alarms[0]  # it failed once
    assert Receiver.posted[1:] == alarms


def test_a_hook_that_fails_is_told_and_stops_nothing(call, folder, model, tmp_path, monkeypatch):
    monkeypatch.setattr("tamis.monitor.hooks.PAUSE_S", 0.0)
    code, out, err = call(
        "monitor", folder / "stream", "--model", model, "-o", tmp_path / "out", "--hook", "false"
    )
    assert code == 0
    assert "480 good, 128 bad" in out
    assert err.count("an alarm was not reported to false in 3 tries: exit code 1") == 128
    code, _, err = call(
        "monitor", "--replay", tmp_path / "out", "--model", model, "-o", tmp_path / "x", "--hook", "true"
    )
    assert code == 2
    assert "a replay reports nothing" in err
    code, _, err = call(
        "monitor", "--replay", tmp_path / "out", "--model", model, "-o", tmp_path / "x", "--live", 0
    )
    assert code == 2
    assert "a replay reports nothing" in err


def test_a_truncated_file_costs_no_other_block(call, folder, model, tmp_path):
    files = sorted((folder / "stream").glob("*.parquet"))
    (tmp_path / "stream").mkdir()
    for number, content in enumerate(
        (files[0].read_bytes(), files[1].read_bytes()[:5000], files[1].read_bytes())
    ):
        (tmp_path / "stream" / f"{number}.parquet").write_bytes(content)
    for _ in range(2):  # the second time it is still there
        code, _, err = call("monitor", tmp_path / "stream", "--model", model, "-o", tmp_path / "out")
        assert code == 8
        assert "truncated or corrupt" in err
        assert "not read to the end: 1.parquet" in err
    assert (
        call("certify", tmp_path / "out", "-o", tmp_path / "golden.json", "--json")[1].count('"blocks": 480')
        == 1
    )
    assert call("train", "lar-template", tmp_path / "stream", "-o", tmp_path / "x.tamis")[0] != 0


@contextlib.contextmanager
def running(*arguments):
    """Run a command, and yield it with the address of its live page."""
    command = [sys.executable, "-m", "tamis", "monitor", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline()
        yield process, re.search(r"live page: (http://127\.0\.0\.1:\d+/)", line)[1]
    finally:
        process.kill()
        process.communicate()


def interrupted(process):
    """Press Ctrl-C; return the exit code and what was printed."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out + err


def ask(address, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc, timeout=20)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    told = answer.read()
    connection.close()
    assert answer.status == 200, told
    return told


def state_of(address):
    return json.loads(ask(address, "GET", "/api/state"))


def test_the_live_page_runs_beside_the_monitor(folder, model, tmp_path):
    token = tmp_path / "token"
    arguments = ("--model", model, "-o", tmp_path / "out", "--follow", "--live", 0, "--live-token", token)
    with running(folder / "stream", *arguments) as (process, address):
        end = time.monotonic() + 60
        while len(state_of(address)["blocks"]["run"]) < 600 and time.monotonic() < end:
            time.sleep(0.1)
        counts = state_of(address)["counts"]
        note = {"run": 480001, "block": 318, "person": "A. Shifter", "action": "acknowledge"}
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token.read_text().strip()}"}
        assert json.loads(ask(address, "POST", "/api/notes", json.dumps(note), headers))["block"] == 318
        assert interrupted(process)[0] == 130
    assert counts["bad"] > 100
    assert token.stat().st_mode & 0o077 == 0


def test_alarms_of_an_incomplete_block_are_on_the_page(call, folder, model, tmp_path):
    assert call("monitor", folder / "stream", "--model", model, "-o", tmp_path / "whole", "--json")[0] == 0
    journal = Journal(tmp_path / "whole")
    alarm = next(one for one in journal.alarms() if one.second > 10)
    journal.close()
    rows = pq.read_table(folder / "stream" / "steps-00001.parquet")
    run, block, second = (rows[name].to_numpy() for name in ("run", "luminosityBlock", "second"))
    begun = (run == alarm.run) & (
        (block < alarm.block) | ((block == alarm.block) & (second <= alarm.last + 1))
    )
    (tmp_path / "stream").mkdir()
    pq.write_table(rows.filter(begun), tmp_path / "stream" / "steps-00001.parquet")
    arguments = ("--model", model, "-o", tmp_path / "out", "--follow", "--live", 0)
    with running(tmp_path / "stream", *arguments) as (process, address):
        end = time.monotonic() + 60
        while not (raised := state_of(address)["raised"]) and time.monotonic() < end:
            time.sleep(0.1)
        assert interrupted(process)[0] == 130
    assert [(one["block"], one["second"], one["region"]) for one in raised] == [(alarm.block, alarm.second, alarm.region)]  # fmt: skip


def test_a_journal_is_shown_until_ctrl_c(call, folder, model, tmp_path):
    assert call("monitor", folder / "stream", "--model", model, "-o", tmp_path / "out", "--json")[0] == 0
    with running("--journal", tmp_path / "out", "--live", 0) as (process, address):
        state = state_of(address)
        assert (state["stream"], state["model"], state["writable"]) == ("stream", "lar", False)
        assert len(state["blocks"]["run"]) == 609
        assert interrupted(process)[0] == 0


def test_an_evaluation_is_printed_and_written(call, folder, model, tmp_path):
    code, printed, _ = call("evaluate", model, "--stream", folder / "stream", "-o", tmp_path)
    assert code == 0
    assert "0 of 476 good blocks are bad" in printed
    assert "desynchronisation" in printed
    assert json.loads((tmp_path / "monitor-lar.json").read_text())["false_alarms"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["monitor", "STREAM"], "--model is missing"),
        (["monitor", "STREAM", "--model", "MODEL", "--live-stale", "5"], "add --live PORT"),
        (["monitor", "--journal", "STREAM"], "give it with --live PORT alone"),
        (["monitor", "--journal", "STREAM", "--live", "0"], "has no journal.sqlite"),
        (["monitor", "STREAM", "--model", "jet-tagger", "--live", "0"], "is not the model of a monitor"),
        (["monitor", "--model", "MODEL"], "name a stream to watch, or a journal with --replay"),
        (["monitor", "MISSING", "--model", "MODEL"], "there is no stream"),
        (["monitor", "STREAM", "--model", "jet-tagger"], "is not the model of a monitor"),
        (["monitor", "--replay", "STREAM", "--model", "MODEL"], "has no journal.sqlite"),
        (["monitor", "--replay", "STREAM", "--model", "MODEL", "--from", "x"], "write a run and a block"),
        (["certify", "STREAM"], "has no journal.sqlite"),
        (["evaluate", "MODEL", "--stream", "EMPTY"], "has no truth.json"),
        (["train", "lar-template", "EMPTY"], "has no Parquet or ROOT files"),
    ],
)
def test_what_is_wrong_is_said(call, folder, model, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    named = {
        "MODEL": model,
        "STREAM": folder / "stream",
        "MISSING": tmp_path / "missing",
        "EMPTY": tmp_path / "empty",
    }
    code, _, err = call(*(named.get(one, one) for one in arguments), "-o", tmp_path / "out")
    assert code != 0
    assert message in " ".join(err.split())


def test_several_monitors_watch_at_the_same_time(call, folder, model, tmp_path):
    (tmp_path / "watch.yaml").write_text(
        f"monitors:\n- {{name: a, stream: {folder / 'stream'}, model: {model}}}\n- {{name: b, stream: {folder / 'good'}, model: {model}}}\n"
    )
    code, printed, told = call("monitor", tmp_path / "watch.yaml", "-o", tmp_path / "out")
    assert code == 0, told
    assert "a: run 480001, block 318: bad" in told
    assert "out/a: 480 good, 128 bad, 1 unscored" in printed
    assert "out/b: " in printed
    alone = call("monitor", folder / "stream", "--model", model, "-o", tmp_path / "alone", "--json")
    assert alone[0] == 0
    files = [tmp_path / "out" / "a.json", tmp_path / "alone.json"]
    for journal, file in zip((tmp_path / "out" / "a", tmp_path / "alone"), files, strict=True):
        assert call("certify", journal, "-o", file)[0] == 0
    assert files[0].read_text() == files[1].read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("monitors: []", "at least one"),
        ("monitors: [{name: a, stream: s, model: m}, {name: a, stream: t, model: m}]", "the same name: a, a"),
        ("monitors: [{name: ../a, stream: s, model: m}]", "name"),
        ("monitors: [{name: a, stream: s, model: none.tamis}]", "none.tamis"),
    ],
)
def test_a_wrong_list_of_monitors_is_named(call, tmp_path, text, words):
    (tmp_path / "watch.yaml").write_text(text)
    code, _, told = call("monitor", tmp_path / "watch.yaml", "-o", tmp_path / "out")
    assert code != 0
    assert words in told
    assert "Traceback" not in told
