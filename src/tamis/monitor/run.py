"""Monitoring a stream: blocks are read, judged, explained and written to the journal, each exactly once."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tamis._base import SkippedFilesError, UsageError
from tamis.bundle import Bundle
from tamis.monitor.expected import BlockEvidence, expected_features
from tamis.monitor.explain import Explainer, Explanation, explain_burst
from tamis.monitor.features import ObservedBlock, observed
from tamis.monitor.feed import FeedReader
from tamis.monitor.follow import Verdict, compared_part
from tamis.monitor.journal import Journal, JournalAlarm
from tamis.monitor.judges import open_judge
from tamis.monitor.model import monitor_of
from tamis.monitor.stream import BlockSource, FileReader
from tamis.monitor.sums import BlockKey
from tamis.monitor.watch import Watch

GAP_MOST = 1000  # missing blocks of a run that are written one by one


@dataclass(frozen=True)
class JudgedBlock:
    """A block with its verdict, as it was written."""

    verdict: Verdict
    explanation: Explanation | None
    observed: ObservedBlock | None
    alarms: tuple[JournalAlarm, ...] = ()


class Monitor:
    """A model at work on one stream, with its journal."""

    def __init__(self, bundle: Bundle, folder: Path, engine: str = "auto", stream: str = "") -> None:
        """Open the model and the journal, and take up what the journal remembers."""
        self.model = monitor_of(bundle)
        self.journal = Journal(folder, create=True)
        known, own = self.journal.fact("model"), model_digest(bundle)
        if known is not None and known != own:
            raise UsageError(
                f"the journal in {folder} is of another model: replay it with this one into another folder (--replay {folder})"
            )
        self.journal.remember("model", own)
        self.journal.remember("title", json.dumps({"stream": stream, "model": bundle.name}))
        self.journal.remember("watch", self.model.watch.model_dump_json())
        self._judge = open_judge(bundle, engine)
        self._judge.remember(self.journal.memory())
        self._explainer = Explainer(self.model.watch)
        self._done = self.journal.keys()
        self._told: set[tuple[int, int, str, str]] = set()  # alarms of blocks that are not complete
        self._last: BlockKey | None = max(self._done, default=None)

    def take(self, block: ObservedBlock) -> Iterator[JudgedBlock]:
        """Judge a block and write it; blocks that are missing before it are written as such."""
        if self._last is not None and block.key < self._last:
            yield self._write(block, learn=False)
            return
        if self._last is not None and block.key[0] == self._last[0]:
            for number in range(self._last[1] + 1, min(block.key[1], self._last[1] + 1 + GAP_MOST)):
                yield self._write_missing((block.key[0], number))
        yield self._write(block, learn=True)
        self._last = block.key

    def is_done(self, key: BlockKey) -> bool:
        """Return whether a block has a verdict."""
        return key in self._done

    def look(self, block: ObservedBlock) -> list[JournalAlarm]:
        """Return the alarms of a block that is not complete; each is returned once."""
        memory = self._judge.memory()
        verdict = self._judge.judge(block)
        self._judge.remember(memory)
        fresh = []
        for alarm in self._alarms(verdict):
            what = alarm.run, alarm.block, alarm.region, alarm.quantity
            if not alarm.lasts and what not in self._told:
                self._told.add(what)
                fresh.append(alarm)
        return fresh

    def _alarms(self, verdict: Verdict) -> list[JournalAlarm]:
        """Return the alarms of a block as they are written."""
        found = []
        for burst in verdict.bursts:
            told, score = explain_burst(burst), burst.number / burst.limit
            found.append((burst.second, burst.second, told, score, False))
        for alarm in verdict.alarms:
            told = self._explainer.explain_alarm(alarm, verdict.old, self.model.modes[verdict.mode])
            found.append((alarm.first, alarm.last, told, alarm.score, alarm.lasts))
        return [
            JournalAlarm(*verdict.key, second, last, told.region, told.quantity, told.direction, told.kinds, score, lasts)
            for second, last, told, score, lasts in found
        ]  # fmt: skip

    def _write(self, block: ObservedBlock, *, learn: bool) -> JudgedBlock:
        memory, start = self._judge.memory(), time.perf_counter()
        verdict = self._judge.judge(block)
        if not learn:
            self._judge.remember(memory)
        explanation = (
            self._explainer.explain(verdict, self.model.modes[block.mode]) if verdict.state == "bad" else None
        )
        alarms = self._alarms(verdict)
        evidence = self._evidence(block, verdict, explanation, time.perf_counter() - start)
        self.journal.add(block, verdict, explanation, self._judge.memory(), alarms, evidence)
        self._done.add(block.key)
        self._told = {what for what in self._told if what[:2] != block.key}
        return JudgedBlock(verdict, explanation, block, tuple(alarms))

    def _evidence(
        self, block: ObservedBlock, verdict: Verdict, explanation: Explanation | None, judging: float
    ) -> BlockEvidence:
        if len(verdict.change) != len(block.features):
            return BlockEvidence(time.time(), judging)
        block, limits = compared_part(block, self.model.watch, verdict.bursts), self.model.modes[block.mode]
        beyond = self._explainer.pulls(verdict, limits, "" if explanation is None else explanation.region)
        return BlockEvidence(time.time(), judging, expected_features(block, verdict, limits, beyond))

    def _write_missing(self, key: BlockKey) -> JudgedBlock:
        verdict = Verdict(key, "no data", reason="the stream has no rows of this block")
        self.journal.add(None, verdict, None, {}, evidence=BlockEvidence(time.time(), 0.0))
        self._done.add(key)
        return JudgedBlock(verdict, None, None)


def monitor_stream(
    stream: str | Path,
    bundle: Bundle,
    folder: Path,
    *,
    engine: str = "auto",
    follow: bool = False,
    idle_s: float = float("inf"),
    watched: Callable[[JudgedBlock], None] = lambda _: None,
    alarmed: Callable[[JournalAlarm], None] = lambda _: None,
    opened: Callable[[str], None] = lambda _: None,
) -> Monitor:
    """Judge the blocks of a stream; with `follow` also those that come later, until none has come for `idle_s`.

    The stream is a folder of files, `-` for frames on the standard input, or tcp://HOST:PORT for frames of those who connect.
    A block is complete when a later one has begun, when a file says so, or when the stream ends. `alarmed` is called with the
    alarms of incomplete blocks, `opened` with the address where senders can connect. What is in the journal already is not judged again.
    """
    monitor = Monitor(bundle, folder, engine, stream_name(str(stream)))
    reader = open_source(str(stream), monitor.model.watch, monitor.journal.finished_files())
    if isinstance(reader, FeedReader):
        follow = True
        if reader.address:
            opened(reader.address)
    else:
        monitor.journal.repeatable()
    busy, last = time.monotonic(), not follow
    try:
        while True:
            if _take_new(monitor, reader, watched, alarmed, last=last):
                busy = time.monotonic()
            if last:
                break
            last = reader.ended or time.monotonic() - busy >= idle_s
            time.sleep(0 if last else reader.poll_s)
    finally:
        reader.close()
    if reader.broken:
        names = ", ".join(reader.broken)
        raise SkippedFilesError(
            f"{next(iter(reader.broken.values()))}; everything else was judged; not read to the end: {names}"
        )
    return monitor


def stream_name(stream: str) -> str:
    """Return what a page calls a stream."""
    if stream == "-" or stream.startswith("tcp://"):
        return "standard input" if stream == "-" else stream
    return Path(stream).resolve().name


def open_source(stream: str, watch: Watch, finished: set[str]) -> BlockSource:
    """Return the reader of a stream: a folder, `-`, or tcp://HOST:PORT."""
    if stream == "-":
        return FeedReader(watch, file=sys.stdin.buffer)
    if stream.startswith("tcp://"):
        return FeedReader(watch, listen=stream.removeprefix("tcp://"))
    return FileReader(Path(stream), watch, finished)


def _take_new(
    monitor: Monitor,
    reader: BlockSource,
    watched: Callable[[JudgedBlock], None],
    alarmed: Callable[[JournalAlarm], None],
    *,
    last: bool,
) -> bool:
    """Judge the blocks that have come, and look at those that have begun; return whether any block has ended."""
    came = False
    for block, file in reader.new_blocks(last=last):
        came = True
        if monitor.is_done(block.key):
            monitor.journal.add_late(block.key, file, int(block.events.sum()))
            continue
        for judged in monitor.take(observed(block, monitor.model.watch)):
            watched(judged)
    for block in reader.changed():
        came = True
        if not monitor.is_done(block.key):
            for alarm in monitor.look(observed(block, monitor.model.watch)):
                alarmed(alarm)
    for name in reader.finished():
        if name not in reader.broken:
            monitor.journal.finish_file(name)
    return came


def model_digest(bundle: Bundle) -> str:
    """Return what identifies a model: the checksums of its files."""
    return " ".join(f"{name}:{entry.sha256}" for name, entry in sorted(bundle.manifest.files.items()))


def replay(
    source: Path, bundle: Bundle, folder: Path, first: BlockKey = (0, 0), engine: str = "auto"
) -> Monitor:
    """Judge the blocks of a journal again, from a block on, with this model into another folder."""
    old = Journal(source)
    monitor = Monitor(bundle, folder, engine, source.resolve().name)
    monitor.journal.repeatable()
    for block in old.observed():
        if block.key >= first and not monitor.is_done(block.key):
            for _ in monitor.take(block):
                pass
    monitor.journal.copy_notes(old)
    old.close()
    return monitor
