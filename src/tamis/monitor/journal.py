"""The journal of a monitor: one transaction for each block, so that every block is there exactly once, whatever ends the program."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from tamis._base import DataError, UsageError
from tamis.monitor.expected import BlockEvidence, packed_expected
from tamis.monitor.explain import Explanation
from tamis.monitor.features import ObservedBlock
from tamis.monitor.follow import Verdict
from tamis.monitor.sums import BlockKey

JOURNAL_FILE = "journal.sqlite"
WRITER_WAIT_S = 30.0  # for another program that writes: notes are short
TABLES = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS block (
    run INTEGER, block INTEGER, state TEXT NOT NULL, score REAL NOT NULL, reason TEXT NOT NULL,
    region TEXT NOT NULL, quantity TEXT NOT NULL, direction TEXT NOT NULL, kinds TEXT NOT NULL, bursts TEXT NOT NULL,
    luminosity REAL NOT NULL, seconds INTEGER NOT NULL, mode INTEGER NOT NULL, events INTEGER NOT NULL, observed BLOB,
    PRIMARY KEY (run, block)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alarm (
    run INTEGER, block INTEGER, second INTEGER, last INTEGER NOT NULL, region TEXT, quantity TEXT, direction TEXT NOT NULL,
    kinds TEXT NOT NULL, score REAL NOT NULL, lasts INTEGER NOT NULL, PRIMARY KEY (run, block, second, region, quantity)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS evidence (
    id INTEGER PRIMARY KEY, run INTEGER, block INTEGER, time REAL NOT NULL, judging REAL NOT NULL, expected BLOB, UNIQUE (run, block)
);
CREATE TABLE IF NOT EXISTS memory (mode INTEGER PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS late (run INTEGER, block INTEGER, file TEXT, events INTEGER, PRIMARY KEY (run, block, file));
CREATE TABLE IF NOT EXISTS file (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS note (
    id INTEGER PRIMARY KEY, time TEXT NOT NULL, run INTEGER, block INTEGER, person TEXT NOT NULL, action TEXT NOT NULL, text TEXT NOT NULL
);
"""


@dataclass(frozen=True)
class JournalBlock:
    """A block as the journal has it."""

    run: int
    block: int
    state: str
    score: float
    reason: str
    region: str
    quantity: str
    direction: str
    kinds: tuple[str, ...]
    luminosity: float
    seconds: int
    mode: int
    events: int


JOURNAL_COLUMNS = [one.name for one in fields(JournalBlock)]


@dataclass(frozen=True)
class JournalNote:
    """What a person has said of a block: `good` and `bad` override its verdict."""

    time: str
    run: int
    block: int
    person: str
    action: str  # good, bad, acknowledge, comment
    text: str


@dataclass(frozen=True)
class JournalAlarm:
    """Some seconds of a block in which something moved."""

    run: int
    block: int
    second: int  # since the begin of the block
    last: int
    region: str
    quantity: str
    direction: str
    kinds: tuple[str, ...]
    score: float  # over its limit
    lasts: bool  # since the block before


ALARM_COLUMNS = [one.name for one in fields(JournalAlarm)]
NOTE_COLUMNS = [one.name for one in fields(JournalNote)]
OVERRIDES = ("good", "bad")


class Journal:
    """The journal in a folder."""

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        """Open the journal of a folder, or begin one."""
        path = folder / JOURNAL_FILE
        if not create and not path.exists():
            raise UsageError(
                f"{folder} has no {JOURNAL_FILE}: it is written by `tamis monitor ... -o {folder}`"
            )
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._base = sqlite3.connect(path, timeout=WRITER_WAIT_S, isolation_level=None)
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.executescript(TABLES)
        except sqlite3.DatabaseError as error:
            raise DataError(f"{path} is not a journal ({error}); choose another folder") from error

    def repeatable(self) -> None:
        """Do not wait for the disk at each block: after a power failure the last blocks are read and judged again.

        A process that is killed loses nothing either way.
        """
        self._base.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def fact(self, name: str) -> str | None:
        """Return a fact of the journal."""
        row = self._base.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def remember(self, name: str, value: str) -> None:
        """Write a fact."""
        self._base.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    def add(
        self,
        block: ObservedBlock | None,
        verdict: Verdict,
        explanation: Explanation | None,
        memory: dict[int, str],
        alarms: Sequence[JournalAlarm] = (),
        evidence: BlockEvidence | None = None,
    ) -> None:
        """Write a block, its alarms, what is remembered after it, and what it was compared with."""
        told = explanation or Explanation("", "", "", ())
        bursts = json.dumps([asdict(one) for one in verdict.bursts])
        facts = (
            (0.0, 0, 0, 0, None)
            if block is None
            else (block.luminosity, len(block.step), block.mode, block.events, packed(block))
        )
        with self._transaction():
            self._base.execute(
                "INSERT INTO block VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *verdict.key, verdict.state, verdict.score, verdict.reason, told.region, told.quantity, told.direction, " ".join(told.kinds), bursts,
                    *facts,
                ),
            )  # fmt: skip
            for alarm in alarms:
                self._base.execute(
                    f"INSERT OR IGNORE INTO alarm ({', '.join(ALARM_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - names of this module
                    tuple({**vars(alarm), "kinds": " ".join(alarm.kinds)}.values()),
                )
            if evidence is not None:
                found = None if evidence.expected is None else packed_expected(evidence.expected)
                self._base.execute(
                    "INSERT INTO evidence (run, block, time, judging, expected) VALUES (?, ?, ?, ?, ?)",
                    (*verdict.key, evidence.time, evidence.judging, found),
                )
            for mode, state in memory.items():
                self._base.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (mode, state))

    def add_late(self, key: BlockKey, file: str, events: int) -> None:
        """Write that rows of a block came after its verdict, or a second time."""
        self._base.execute("INSERT OR IGNORE INTO late VALUES (?, ?, ?, ?)", (*key, file, events))

    def finish_file(self, name: str) -> None:
        """Write that all blocks of a file have been judged."""
        self._base.execute("INSERT OR IGNORE INTO file VALUES (?)", (name,))

    def finished_files(self) -> set[str]:
        """Return the files whose blocks have all been judged."""
        return {name for (name,) in self._base.execute("SELECT name FROM file")}

    def keys(self) -> set[BlockKey]:
        """Return the blocks that have a verdict."""
        return set(self._base.execute("SELECT run, block FROM block"))

    def late(self) -> int:
        """Return how often rows of a block came after its verdict."""
        return int(self._base.execute("SELECT COUNT(*) FROM late").fetchone()[0])

    def memory(self) -> dict[int, str]:
        """Return what was remembered of each mode after the last block."""
        return dict(self._base.execute("SELECT mode, content FROM memory"))

    def blocks(self) -> Iterator[JournalBlock]:
        """Yield the blocks by run and number."""
        rows = self._base.execute(f"SELECT {', '.join(JOURNAL_COLUMNS)} FROM block ORDER BY run, block")  # noqa: S608 - names of this module
        for row in rows:
            named = dict(zip(JOURNAL_COLUMNS, row, strict=True))
            yield JournalBlock(**{**named, "kinds": tuple(row[JOURNAL_COLUMNS.index("kinds")].split())})

    def alarms(self, first: BlockKey = (0, 0)) -> Iterator[JournalAlarm]:
        """Yield the alarms of blocks from one on, in the order of time."""
        rows = self._base.execute(
            f"SELECT {', '.join(ALARM_COLUMNS)} FROM alarm WHERE (run, block) >= (?, ?) ORDER BY run, block, second, region, quantity",  # noqa: S608 - names of this module
            first,
        )
        for row in rows:
            named = dict(zip(ALARM_COLUMNS, row, strict=True))
            yield JournalAlarm(
                **{**named, "kinds": tuple(named["kinds"].split()), "lasts": bool(named["lasts"])}
            )

    def decided(self) -> Iterator[JournalBlock]:
        """Yield the blocks as they are certified: with the last override of a person in place of the verdict."""
        overridden = {(one.run, one.block): one.action for one in self.notes() if one.action in OVERRIDES}
        for block in self.blocks():
            state = overridden.get((block.run, block.block), block.state)
            yield block if state == block.state else replace(block, state=state)

    def annotate(self, note: JournalNote) -> None:
        """Write a note; one that overrides needs a block that was judged."""
        row = self._base.execute(
            "SELECT state FROM block WHERE run = ? AND block = ?", (note.run, note.block)
        ).fetchone()
        if row is None:
            raise UsageError(f"the journal has no block {note.block} of run {note.run}")
        if note.action in OVERRIDES and row[0] not in OVERRIDES:
            raise UsageError(
                f"block {note.block} of run {note.run} is {row[0]}: only a block that was judged, good or bad, can be overridden"
            )
        self._add_note(note)

    def copy_notes(self, other: Journal) -> None:
        """Take over the notes of another journal, in their order."""
        known = set(self.notes())
        for note in other.notes():
            if note not in known:
                self._add_note(note)

    def _add_note(self, note: JournalNote) -> None:
        columns = ", ".join(NOTE_COLUMNS)
        self._base.execute(
            f"INSERT INTO note ({columns}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608 - names of this module
            tuple(getattr(note, name) for name in NOTE_COLUMNS),
        )

    def notes(self, key: BlockKey | None = None) -> list[JournalNote]:
        """Return what persons have said, of one block or of all, in the order of time."""
        rows = self._base.execute(f"SELECT {', '.join(NOTE_COLUMNS)} FROM note ORDER BY id")  # noqa: S608 - names of this module
        notes = [JournalNote(*row) for row in rows]
        return [one for one in notes if key is None or (one.run, one.block) == key]

    def observed(self) -> Iterator[ObservedBlock]:
        """Yield the blocks with their features, by run and number."""
        for run, block, content in self._base.execute(
            "SELECT run, block, observed FROM block ORDER BY run, block"
        ):
            if content is not None:
                yield unpacked((run, block), content)

    def _transaction(self) -> sqlite3.Connection:
        self._base.execute("BEGIN IMMEDIATE")
        return self._base


def packed(block: ObservedBlock) -> bytes:
    """Return a block as bytes, which are the same for equal blocks."""
    head = {
        "condition": block.condition, "luminosity": block.luminosity, "mode": block.mode, "events": block.events, "broken": block.broken,
        "features": len(block.features), "shape": list(block.most.shape), "step_features": block.step_features.shape[1],
    }  # fmt: skip
    arrays: Sequence[np.ndarray] = (
        block.features.astype("<f8"),
        block.step.astype("<i4"),
        block.most.astype("<i4"),
        block.step_events.astype("<i4"),
        block.step_features.astype("<f4"),
    )
    return json.dumps(head).encode() + b"\n" + b"".join(one.tobytes() for one in arrays)


def unpacked(key: BlockKey, content: bytes) -> ObservedBlock:
    """Return the block of some bytes."""
    line, _, rest = content.partition(b"\n")
    head = json.loads(line)
    steps, counts = head["shape"]
    place = 0

    def take(kind: str, number: int) -> np.ndarray:
        nonlocal place
        found = np.frombuffer(rest, kind, number, place)
        place += found.nbytes
        return found

    features, step, most = take("<f8", head["features"]), take("<i4", steps), take("<i4", steps * counts)
    events, step_features = take("<i4", steps), take("<f4", steps * head["step_features"])
    return ObservedBlock(
        key, features, head["condition"], head["luminosity"], head["mode"], head["events"], head["broken"],
        step.astype(np.int64), most.astype(np.int64).reshape(steps, counts), events.astype(np.int64), step_features.reshape(steps, -1),
    )  # fmt: skip
