"""Monitoring a stream: blocks are read, judged, explained and written to the journal, each exactly once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tamis._base import SkippedFilesError, UsageError
from tamis.bundle import Bundle
from tamis.monitor.expected import BlockEvidence, expected_features
from tamis.monitor.explain import Explainer, Explanation
from tamis.monitor.features import ObservedBlock, observed
from tamis.monitor.follow import Verdict
from tamis.monitor.journal import Journal
from tamis.monitor.judges import open_judge
from tamis.monitor.model import monitor_of
from tamis.monitor.stream import BlockReader
from tamis.monitor.sums import BlockKey, BlockSums

GAP_MOST = 1000  # missing blocks of a run that are written one by one
POLL_S = 0.2


@dataclass(frozen=True)
class JudgedBlock:
    """A block with its verdict, as it was written."""

    verdict: Verdict
    explanation: Explanation | None
    observed: ObservedBlock | None


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

    def _write(self, block: ObservedBlock, *, learn: bool) -> JudgedBlock:
        memory, start = self._judge.memory(), time.perf_counter()
        verdict = self._judge.judge(block)
        if not learn:
            self._judge.remember(memory)
        explanation = (
            self._explainer.explain(verdict, self.model.modes[block.mode]) if verdict.state == "bad" else None
        )
        evidence = self._evidence(block, verdict, explanation, time.perf_counter() - start)
        self.journal.add(block, verdict, explanation, self._judge.memory(), evidence)
        self._done.add(block.key)
        return JudgedBlock(verdict, explanation, block)

    def _evidence(
        self, block: ObservedBlock, verdict: Verdict, explanation: Explanation | None, judging: float
    ) -> BlockEvidence:
        if len(verdict.change) != len(block.features):
            return BlockEvidence(time.time(), judging)
        limits = self.model.modes[block.mode]
        beyond = self._explainer.pulls(verdict, limits, "" if explanation is None else explanation.region)
        return BlockEvidence(time.time(), judging, expected_features(block, verdict, limits, beyond))

    def _write_missing(self, key: BlockKey) -> JudgedBlock:
        verdict = Verdict(key, "no data", reason="the stream has no rows of this block")
        self.journal.add(None, verdict, None, {}, BlockEvidence(time.time(), 0.0))
        self._done.add(key)
        return JudgedBlock(verdict, None, None)


def monitor_stream(
    stream: Path,
    bundle: Bundle,
    folder: Path,
    *,
    engine: str = "auto",
    follow: bool = False,
    idle_s: float = float("inf"),
    watched: Callable[[JudgedBlock], None] = lambda _: None,
) -> Monitor:
    """Judge the blocks of a stream; with `follow` also those that come later, until none has come for `idle_s`.

    A block is complete when a later one has begun, or when the stream ends. What is in the journal already is not judged again.
    """
    monitor = Monitor(bundle, folder, engine, stream.resolve().name)
    reader = BlockReader(stream, monitor.model.watch, monitor.journal.finished_files())
    waited = 0.0
    while True:
        came = False
        for part in reader.new_blocks(last=not follow):
            came = True
            for judged in _taken(monitor, part):
                watched(judged)
        for name in reader.finished():
            if name not in reader.broken:
                monitor.journal.finish_file(name)
        if not follow:
            break
        waited = 0.0 if came else waited + POLL_S
        if waited >= idle_s:
            for part in reader.new_blocks(last=True):
                for judged in _taken(monitor, part):
                    watched(judged)
            break
        time.sleep(POLL_S)
    if reader.broken:
        names = ", ".join(reader.broken)
        raise SkippedFilesError(
            f"{next(iter(reader.broken.values()))}; all other files were judged; not read to their end: {names}"
        )
    return monitor


def _taken(monitor: Monitor, part: tuple[BlockSums, str]) -> Iterator[JudgedBlock]:
    block, file = part
    if monitor.is_done(block.key):
        monitor.journal.add_late(block.key, file, int(block.events.sum()))
        return
    yield from monitor.take(observed(block, monitor.model.watch))


def model_digest(bundle: Bundle) -> str:
    """Return what identifies a model: the checksums of its files."""
    return " ".join(f"{name}:{entry.sha256}" for name, entry in sorted(bundle.manifest.files.items()))


def replay(
    source: Path, bundle: Bundle, folder: Path, first: BlockKey = (0, 0), engine: str = "auto"
) -> Monitor:
    """Judge the blocks of a journal again, from a block on, with this model into another folder."""
    old = Journal(source)
    monitor = Monitor(bundle, folder, engine, source.resolve().name)
    for block in old.observed():
        if block.key >= first and not monitor.is_done(block.key):
            for _ in monitor.take(block):
                pass
    monitor.journal.copy_notes(old)
    old.close()
    return monitor
