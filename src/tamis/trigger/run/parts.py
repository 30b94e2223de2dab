"""The output of a unit of work: one folder, which appears as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import uuid
import zlib
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ipc

from tamis._base import DataError, DocumentError, parse_document
from tamis.events.arrow import numbers_of_array
from tamis.trigger.decide import Outcome, Reason
from tamis.trigger.run.documents import PartNotes, RunUnit, UnitResult

# delta encoding: increasing numbers take almost no space
COMPACT = {
    "compression": "lz4",
    "use_dictionary": ["run", "luminosityBlock", "file"],
    "column_encoding": {"event": "DELTA_BINARY_PACKED", "entry": "DELTA_BINARY_PACKED"},
}
DECISION_TYPES = {  # of the columns before the bits of the paths
    "run": pa.int64(),
    "luminosityBlock": pa.int64(),
    "event": pa.uint64(),
    "file": pa.int32(),
    "entry": pa.int64(),
    "outcome": pa.int8(),
    "reason": pa.int8(),
}
NOTES = b"tamis.notes"  # key in the metadata of a part
_LZ4 = ipc.IpcWriteOptions(compression="lz4", use_threads=False)
_CHECKSUM = struct.Struct("<I")  # of all bytes before it
UNITS, DECISIONS, RESULT, DEBUG = "units", "decisions.parquet", "result.json", "debug"
DECIDED = "decisions.arrow"  # of a unit


def stream_file(name: str) -> str:
    """Return the file of a stream in a unit's folder."""
    return f"stream-{name}.arrow"


@contextlib.contextmanager
def unit_folder(out: Path, unit: RunUnit) -> Iterator[Path]:
    """Yield a folder to fill, which is then renamed to the unit's name, unless another worker has committed the unit."""
    units = out / UNITS
    units.mkdir(parents=True, exist_ok=True)
    part = units / f".{unit.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part"
    part.mkdir()
    try:
        yield part
        with contextlib.suppress(OSError):  # another worker has committed the same unit with the same result
            part.rename(units / unit.name)
        if not (units / unit.name / RESULT).is_file():
            raise OSError(f"the unit {unit.name} could not be committed in {units}")
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_part(path: Path, table: pa.Table, notes: PartNotes | None = None) -> None:
    """Write a table of a unit (the events of one stream, or its decisions) in Arrow's format, followed by a checksum.

    Parquet would take 0.1 s for the 1500 columns of NanoAOD, even for a few events.
    """
    if notes is not None:
        table = table.replace_schema_metadata({NOTES: notes.model_dump_json()})
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema, options=_LZ4) as writer:
        writer.write_table(table)
    data = sink.getvalue()
    with path.open("wb") as file:
        file.write(data)
        file.write(_CHECKSUM.pack(zlib.crc32(data)))


def read_part(path: Path) -> pa.Table:
    """Read a table of a unit, and verify its checksum."""
    data = path.read_bytes()
    end = len(data) - _CHECKSUM.size
    if end < 0 or _CHECKSUM.pack(zlib.crc32(memoryview(data)[:end])) != data[end:]:
        raise DataError(
            f"{path} was changed after it was written (wrong checksum): remove {path.parent} and continue with --resume"
        )
    with ipc.open_stream(pa.py_buffer(data)) as reader:
        return reader.read_all()


def part_schema(path: Path) -> pa.Schema:
    """Return the schema of a part, with its notes as metadata."""
    with pa.OSFile(str(path)) as file, ipc.open_stream(file) as reader:
        return reader.schema


def notes_of(schema: pa.Schema) -> PartNotes:
    """Return the notes in the schema of a part."""
    return PartNotes.model_validate_json((schema.metadata or {}).get(NOTES, b"{}"))


def write_result(folder: Path, result: UnitResult) -> None:
    """Write the result of a unit last, with the sizes of its files, since a power cut may truncate some of them."""
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    complete = result.model_copy(update={"sizes": sizes})
    (folder / RESULT).write_text(complete.model_dump_json() + "\n", encoding="utf-8")


def committed(out: Path) -> dict[int, Path]:
    """Return the folders of the committed units by number; incomplete folders are removed."""
    units, found = out / UNITS, {}
    folders = sorted(units.iterdir()) if units.is_dir() else []
    for folder in folders:
        if not folder.name.isdigit():
            continue
        try:
            sizes = read_result(folder).sizes
        except (OSError, DocumentError):
            shutil.rmtree(folder, ignore_errors=True)
            continue
        files = [(folder / name, size) for name, size in sizes.items()]
        if all(file.is_file() and file.stat().st_size == size for file, size in files):
            found[int(folder.name)] = folder
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return found


def read_result(folder: Path) -> UnitResult:
    """Read the result of a unit."""
    return parse_document((folder / RESULT).read_text(encoding="utf-8"), UnitResult, str(folder / RESULT))


def note_of(out: Path, unit: RunUnit) -> Path:
    """Return the file in which a worker that decides event by event, after deaths, notes the current entry."""
    return out / UNITS / f".{unit.name}.in-flight"


def entry_in_flight(out: Path, unit: RunUnit) -> int | None:
    """Return the entry that was in flight when a worker died, or None."""
    try:
        return int.from_bytes(note_of(out, unit).read_bytes(), "little", signed=True)
    except FileNotFoundError:
        return None


def sweep(out: Path) -> None:
    """Remove the incomplete output of killed workers."""
    units = out / UNITS
    if units.is_dir():
        for path in units.glob(".*.part"):
            shutil.rmtree(path, ignore_errors=True)
        for path in units.glob(".*.in-flight"):
            path.unlink(missing_ok=True)


def codes_of(kind: type[IntEnum]) -> dict[str, int]:
    """Return the words in which files name the codes, in the order of the codes from 0."""
    return {code.name.lower(): int(code) for code in kind}


def read_decisions(out: Path) -> dict[str, np.ndarray]:
    """Read the decisions of a finished run, one row per readable event; outcome and reason are codes of `Outcome` and `Reason`."""
    path = out / DECISIONS
    if not path.is_file():
        raise DataError(f"{path} is missing; is {out} the folder of a finished run?")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {error}; is {out} the folder of a finished run?") from error
    codes = {"outcome": codes_of(Outcome), "reason": codes_of(Reason)}
    found = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_dictionary(column.type):
            words = np.array([codes[name][word] for word in column.dictionary.to_pylist()], np.int8)
            found[name] = words[numbers_of_array(column.indices)]
        else:
            found[name] = numbers_of_array(column)
    return found
