"""Reporting bad blocks to others: a command that gets JSON on its standard input, or a URL to which it is posted."""

from __future__ import annotations

import contextlib
import json
import queue
import shlex
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict

from tamis._base import UsageError
from tamis.monitor.journal import JournalAlarm
from tamis.monitor.run import JudgedBlock

TIMEOUT_S = 10.0  # of one try
TRIES, PAUSE_S = 3, 0.5  # the pause doubles
WAITING_MOST = 1000  # blocks that have not been reported yet; further ones are dropped, and counted
CLOSING_S = 60.0


class Hook:
    """Reports bad blocks in a thread of its own, so that judging never waits."""

    def __init__(self, target: str, say: Callable[[str], None]) -> None:
        """Check the target, and begin to wait for blocks; `say` takes what goes wrong."""
        self._report = _posting(target) if target.startswith(("http://", "https://")) else _running(target)
        self._target, self._say = target, say
        self._waiting: queue.Queue[bytes | None] = queue.Queue(WAITING_MOST)
        self.dropped = 0
        self._last_try = float("inf")
        self._thread = threading.Thread(target=self._work, name="hook", daemon=True)
        self._thread.start()

    def take(self, judged: JudgedBlock) -> None:
        """Report a block if it is bad."""
        if judged.verdict.state == "bad":
            self._report_later(verdict_json(judged))

    def take_alarm(self, alarm: JournalAlarm) -> None:
        """Report an alarm, whose block has no verdict yet."""
        self._report_later(json.dumps({"state": "alarm", **asdict(alarm)}).encode() + b"\n")

    def _report_later(self, report: bytes) -> None:
        try:
            self._waiting.put_nowait(report)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Report what is waiting, for a minute at most, and end."""
        self._last_try = time.monotonic() + CLOSING_S
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=CLOSING_S)
        self._thread.join()
        if self.dropped:
            self._say(f"{self.dropped} alarms were not reported to {self._target}, which is too slow")

    def _work(self) -> None:
        while (alarm := self._waiting.get()) is not None:
            if time.monotonic() > self._last_try:
                self.dropped += 1 + sum(one is not None for one in self._waiting.queue)
                return
            problem = ""
            for attempt in range(TRIES):
                time.sleep(PAUSE_S * 2 ** (attempt - 1) if attempt else 0)
                problem = self._report(alarm)
                if not problem:
                    break
            if problem:
                self._say(f"an alarm was not reported to {self._target} in {TRIES} tries: {problem}")


def verdict_json(judged: JudgedBlock) -> bytes:
    """Return the report of a bad block: one line of JSON."""
    verdict, explanation = judged.verdict, judged.explanation
    told = {
        "run": verdict.key[0], "block": verdict.key[1], "state": verdict.state, "score": verdict.score,
        "bursts": [asdict(one) for one in verdict.bursts], **({} if explanation is None else asdict(explanation)),
    }  # fmt: skip
    return json.dumps(told).encode() + b"\n"


def _running(command: str) -> Callable[[bytes], str]:
    words = shlex.split(command)
    if not words:
        raise UsageError("--hook is empty: give a command, or a URL that begins with http:// or https://")

    def run(alarm: bytes) -> str:
        try:
            done = subprocess.run(words, input=alarm, capture_output=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return f"it took more than {TIMEOUT_S:g} s"
        except OSError as error:
            return str(error)
        told = done.stderr.decode(errors="replace").strip().splitlines()
        return "" if done.returncode == 0 else f"exit code {done.returncode}{f', {told[-1]}' if told else ''}"

    return run


def _posting(url: str) -> Callable[[bytes], str]:
    def post(alarm: bytes) -> str:
        request = urllib.request.Request(url, alarm, {"Content-Type": "application/json"})  # noqa: S310 - http and https only
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                return "" if answer.status < 300 else f"status {answer.status}"
        except urllib.error.HTTPError as error:
            return f"status {error.code}"
        except (OSError, ValueError) as error:
            return str(error)

    return post
