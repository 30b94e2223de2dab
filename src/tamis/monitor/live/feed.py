"""What a journal has for the live page: its newest blocks and notes, and those that have come since."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from tamis.monitor.expected import unpacked_expected
from tamis.monitor.features import features_of
from tamis.monitor.journal import ALARM_COLUMNS, JOURNAL_FILE, NOTE_COLUMNS, JournalAlarm, unpacked
from tamis.monitor.sums import BlockKey
from tamis.monitor.watch import Watch

BLOCKS_MOST = 20_000  # of a page: two weeks of blocks of a minute
NOTES_MOST = 10_000
EVENTS_MOST = 1_000  # that a client can catch up with; beyond, it loads the page's state again
ROWS_MOST = 500  # that are read at a time
RAISED_MOST = 200  # alarms of blocks without a verdict; beyond, the oldest are forgotten
UNTIMED_BLOCK_S = 60.0  # length of a block whose stream does not have seconds
PAUSES = 5  # times as long as an answer took to make, it is not made again
NEVER_S = 1e12  # as JSON does not have infinities
STALE_BLOCKS = 2  # lengths of a block, after which the page is stale
_PAIRS = ", ".join(f"'{name}', a.{name}" for name in ALARM_COLUMNS[2:])
_ALARMS = (
    f"SELECT json_group_array(json_object({_PAIRS})) FROM alarm a WHERE a.run = b.run AND a.block = b.block"  # noqa: S608 - names of the journal
)
_ROW = (
    "b.run, b.block, b.state, b.score, b.reason, b.region, b.quantity, b.direction, b.kinds, b.bursts, b.mode, b.seconds,"
    f" e.time, ({_ALARMS}), e.id, b.observed, e.expected"
)


class LiveBlock(NamedTuple):
    """A block as the page has it."""

    run: int
    block: int
    state: str
    score: float | None
    reason: str
    region: str
    quantity: str
    direction: str
    kinds: list[str]
    bursts: list[dict[str, Any]]
    mode: int
    seconds: int
    time: float | None  # when it was judged, in seconds since 1970
    alarms: list[dict[str, Any]]  # of its seconds


class LiveEvent(NamedTuple):
    """Something that has come to the journal: its kind, its number among those of this kind, and its JSON."""

    kind: str  # block, note
    number: int
    text: str


class MadeText(NamedTuple):
    """An answer, when it was made, and how long that took."""

    version: int
    end: float
    took: float
    text: bytes


class JournalFeed:
    """Reads a journal, through a connection of its own that cannot write."""

    def __init__(self, folder: Path, stale_s: float | None = None) -> None:
        """Read the newest blocks and all notes."""
        address = f"file:{quote(str((folder / JOURNAL_FILE).resolve()))}?mode=ro"
        self._base = sqlite3.connect(address, uri=True, isolation_level=None)
        self._stale_s = stale_s
        self.version = 0  # grows with everything that is read
        self.raised: dict[tuple[int, int, str, str], JournalAlarm] = {}  # alarms of blocks without a verdict
        self._made: dict[str, MadeText] = {}
        self._load()

    def _load(self) -> None:
        self.blocks: dict[BlockKey, LiveBlock] = {}
        self._numbers: dict[BlockKey, np.ndarray] = {}  # features: found, expected, spread
        self.notes: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self.judging = 0.0
        self.events: deque[LiveEvent] = deque(maxlen=EVENTS_MOST)
        self.last = {"block": 0, "note": 0}  # the highest numbers that were read
        self._data_version = -1
        self._base.execute("BEGIN")
        self._read_facts()
        rows = self._base.execute(
            f"SELECT {_ROW} FROM block b LEFT JOIN evidence e USING (run, block) ORDER BY run DESC, block DESC LIMIT ?",  # noqa: S608 - names of this module
            (BLOCKS_MOST,),
        )
        for row in reversed(rows.fetchall()):
            self._take(row)
        self.counts.update(dict(self._base.execute("SELECT state, COUNT(*) FROM block GROUP BY state")))
        self.last["block"], self.judging = self._base.execute(
            "SELECT COALESCE(MAX(id), 0), COALESCE(SUM(judging), 0) FROM evidence"
        ).fetchone()
        self._read_notes()
        self._base.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def refresh(self) -> bool:
        """Read what has come since; return whether there was anything."""
        (version,) = self._base.execute("PRAGMA data_version").fetchone()
        if version == self._data_version:
            return False
        before, known = self.version, self.identity
        self._read_facts()
        if self.identity != known:
            self._load()
            return True
        rows = self._base.execute(
            f"SELECT {_ROW}, e.judging FROM evidence e JOIN block b USING (run, block) WHERE e.id > ? ORDER BY e.id LIMIT ?",  # noqa: S608 - names of this module
            (self.last["block"], ROWS_MOST),
        ).fetchall()
        for *row, judging in rows:
            block = self._take(row)
            self.counts[block.state] += 1
            self.judging += judging
            self.last["block"] = row[14]
        self._read_notes()
        if len(rows) < ROWS_MOST:
            self._data_version = version
        while len(self.blocks) > BLOCKS_MOST * 1.1:
            for key in sorted(self.blocks)[: len(self.blocks) - BLOCKS_MOST]:
                del self.blocks[key], self._numbers[key]
        return self.version > before

    def _read_facts(self) -> None:
        facts = dict(self._base.execute("SELECT name, value FROM fact"))
        self.title: dict[str, str] = json.loads(facts.get("title", "{}"))
        self.watch = Watch.model_validate_json(facts["watch"]) if "watch" in facts else None
        self.features = features_of(self.watch) if self.watch is not None else []
        self.identity = f"{facts.get('identity', '')}-{len(self.features)}"

    def _take(self, row: Iterable[Any]) -> LiveBlock:
        run, number, state, score, reason, region, quantity, direction, kinds, bursts, mode, seconds, when, alarms, place, observed, expected = row  # fmt: skip
        block = LiveBlock(
            run, number, state, finite(score), reason, region, quantity, direction, kinds.split(), json.loads(bursts), mode, seconds, when, read_alarms(alarms)
        )  # fmt: skip
        key = (run, number)
        self.blocks[key], self._numbers[key] = block, self._stacked(observed, expected)
        self.raised = {what: one for what, one in self.raised.items() if what[:2] != key}
        self.version += 1
        if place is not None:
            self.events.append(LiveEvent("block", place, self._block_text(key)))
        return block

    def _stacked(self, observed: bytes | None, expected: bytes | None) -> np.ndarray:
        """Return the features of a block, what was expected, and the spread; NaN for what the journal does not have."""
        numbers = np.full((3, len(self.features)), np.nan, np.float32)
        if observed is not None:
            found = unpacked((0, 0), observed).features
            if len(found) == len(self.features):
                numbers[0] = found
        if expected is not None:
            known = unpacked_expected(expected)
            if len(known.value) == len(self.features):
                numbers[1], numbers[2] = known.value, known.spread
        return numbers

    def _read_notes(self) -> None:
        for number, *values in self._base.execute(
            f"SELECT id, {', '.join(NOTE_COLUMNS)} FROM note WHERE id > ? ORDER BY id",  # noqa: S608 - names of this module
            (self.last["note"],),
        ):
            note = dict(zip(NOTE_COLUMNS, values, strict=True))
            self.notes.append(note)
            self.events.append(LiveEvent("note", number, json.dumps(note)))
            self.last["note"] = number
            self.version += 1
        del self.notes[:-NOTES_MOST]

    def take_alarms(self, alarms: Iterable[JournalAlarm]) -> bool:
        """Take alarms of blocks that have no verdict yet; return whether there were any."""
        before = self.version
        for one in alarms:
            if (one.run, one.block) not in self.blocks:
                self.raised[one.run, one.block, one.region, one.quantity] = one
                self.version += 1
        for what in list(self.raised)[:-RAISED_MOST]:
            del self.raised[what]
        return self.version > before

    @property
    def block_s(self) -> float:
        """Return the typical length of a block in seconds."""
        if self.watch is None or self.watch.second is None:
            return UNTIMED_BLOCK_S
        newest = [one.seconds for key in sorted(self.blocks)[-50:] if (one := self.blocks[key]).seconds]
        return float(median(newest)) if newest else UNTIMED_BLOCK_S

    @property
    def stale_s(self) -> float:
        """Return after how many seconds without a block the page is stale."""
        wanted = STALE_BLOCKS * self.block_s if self._stale_s is None else self._stale_s
        return wanted if math.isfinite(wanted) else NEVER_S

    @property
    def newest(self) -> LiveBlock | None:
        """Return the newest block by run and number."""
        return self.blocks[max(self.blocks)] if self.blocks else None

    @property
    def written(self) -> float | None:
        """Return when the last block was written, in seconds since 1970."""
        return max((one.time for one in self.blocks.values() if one.time is not None), default=None)

    @property
    def cursor(self) -> str:
        """Return what has been read as text: a client gives it back to get what has come since."""
        return f"{self.identity}.{self.last['block']}.{self.last['note']}"

    def alarms(self) -> int:
        """Return how many alarms the journal has."""
        return int(self._base.execute("SELECT COUNT(*) FROM alarm").fetchone()[0])

    def late(self) -> int:
        """Return how many parts came after the verdict of their block."""
        return int(self._base.execute("SELECT COUNT(*) FROM late").fetchone()[0])

    def state(self, *, writable: bool) -> bytes:
        """Return all that the page shows at first, as JSON; blocks by columns."""
        return self._cached("state", lambda: self._state(writable=writable))

    def _state(self, *, writable: bool) -> bytes:
        blocks = [self.blocks[key] for key in sorted(self.blocks)]
        columns = {name: [getattr(one, name) for one in blocks] for name in LiveBlock._fields}
        state = {
            "cursor": self.cursor, "writable": writable, "stream": self.title.get("stream", ""), "model": self.title.get("model", ""),
            "regions": self.watch.regions if self.watch else [], "condition": self.watch.condition if self.watch else "", "features": [vars(one) for one in self.features],
            "block_s": self.block_s, "stale_s": self.stale_s, "counts": dict(self.counts), "notes": self.notes, "raised": [vars(one) for one in self.raised.values()], "blocks": columns,
        }  # fmt: skip
        return json.dumps(state, separators=(",", ":")).encode()

    def trend(self, region: str) -> bytes:
        """Return the features of a region against block, as JSON: found, expected, and the spread of good blocks."""
        return self._cached(f"trend {region}", lambda: self._trend(region))

    def _trend(self, region: str) -> bytes:
        keys = sorted(self.blocks)
        own = [k for k, one in enumerate(self.features) if one.region == region]
        every = (
            np.stack([self._numbers[key] for key in keys]) if keys else np.zeros((0, 3, len(self.features)))
        )
        parts = []
        for k in own:
            names = {"quantity": self.features[k].quantity, "of": self.features[k].of}
            rows = ",".join(
                f'"{name}":{numbers_text(every[:, j, k])}'
                for j, name in enumerate(("value", "expected", "spread"))
            )
            parts.append(f"{json.dumps(names)[:-1]},{rows}}}")
        head = {"region": region, "run": [run for run, _ in keys], "block": [block for _, block in keys]}
        return f'{json.dumps(head)[:-1]},"features":[{",".join(parts)}]}}'.encode()

    def _cached(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Return the last result, unless something has been read since; many requests may take a fifth of the time at most."""
        known, start = self._made.get(name), time.monotonic()
        if known is None or (known.version != self.version and start - known.end > PAUSES * known.took):
            text, end = make(), time.monotonic()
            known = self._made[name] = MadeText(self.version, end, end - start, text)
        return known.text

    def _block_text(self, key: BlockKey) -> str:
        found, expected, spread = (numbers_text(one) for one in self._numbers[key])
        numbers = f'"value":{found},"expected":{expected},"spread":{spread}'
        return f"{json.dumps(self.blocks[key]._asdict())[:-1]},{numbers}}}"

    def evidence(self, key: BlockKey) -> dict[str, Any] | None:
        """Return all that the journal has on one block, nothing where it does not have the block."""
        row = self._base.execute(
            f"SELECT {_ROW}, e.judging FROM block b LEFT JOIN evidence e USING (run, block) WHERE run = ? AND block = ?",  # noqa: S608 - names of this module
            key,
        ).fetchone()
        if row is None:
            return None
        *fields, _, observed, expected, judging = row
        told: dict[str, Any] = dict(zip(LiveBlock._fields, fields, strict=True))
        told |= {
            "score": finite(told["score"]),
            "kinds": told["kinds"].split(),
            "bursts": json.loads(told["bursts"]),
            "alarms": read_alarms(told["alarms"]),
        }
        told |= {"judging_s": judging, "features": [], "most": {}}
        numbers = self._stacked(observed, expected)
        pull = unpacked_expected(expected).pull if expected is not None else np.full(numbers.shape[1], np.nan)
        if observed is not None and len(pull) == len(self.features):
            for k, one in enumerate(self.features):
                value, likely, spread = (finite(float(x)) for x in numbers[:, k])
                told["features"].append({**vars(one), "value": value, "expected": likely, "spread": spread, "pull": finite(float(pull[k]))})  # fmt: skip
        if observed is not None:
            block = unpacked(key, observed)
            told |= {
                "condition": finite(block.condition),
                "luminosity": finite(block.luminosity),
                "events": block.events,
            }
            told["second"] = block.step.tolist()
            for k, count in enumerate(self.watch.counts if self.watch else []):
                told["most"][f"{count.region} {count.name}"] = block.most[:, k].tolist()
        told["notes"] = [one for one in self.notes if (one["run"], one["block"]) == key]
        return told


def open_cursor(text: str, identity: str) -> dict[str, int] | None:
    """Return the numbers of a cursor, nothing where it is not one of this journal."""
    known, *numbers = text.split(".")
    if (
        known != identity
        or len(numbers) != 2
        or not all(one.isdecimal() and len(one) < 16 for one in numbers)
    ):
        return None
    return {"block": int(numbers[0]), "note": int(numbers[1])}


def read_alarms(text: str) -> list[dict[str, Any]]:
    """Return the alarms of a block, in the order of time."""
    alarms = sorted(json.loads(text), key=lambda one: (one["second"], -one["score"]))
    return [{**one, "kinds": one["kinds"].split(), "lasts": bool(one["lasts"]), "score": finite(one["score"])} for one in alarms]  # fmt: skip


def finite(number: float) -> float | None:
    """Return a number that JSON has, nothing for NaN and infinities."""
    return number if math.isfinite(number) else None


def numbers_text(numbers: np.ndarray) -> str:
    """Return numbers as a JSON list, to six digits; null for NaN and infinities."""
    texts = map("{:.6g}".format, numbers.tolist())
    return "[" + ",".join("null" if one in ("nan", "inf", "-inf") else one for one in texts) + "]"


def now() -> float:
    """Return the time in seconds since 1970."""
    return time.time()
