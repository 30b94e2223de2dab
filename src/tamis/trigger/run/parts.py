"""What a unit of work leaves behind: one folder, that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ipc

from tamis._base import DataError, DocumentError, parse_document
from tamis.trigger.run.documents import PartNotes, Unit, UnitResult

# numbers that rise by one take next to nothing as differences
COMPACT = {
    "compression": "lz4",
    "use_dictionary": ["run", "luminosityBlock", "file"],
    "column_encoding": {"event": "DELTA_BINARY_PACKED", "entry": "DELTA_BINARY_PACKED"},
}
NOTES = b"tamis.notes"  # in the metadata of a part
_LZ4 = ipc.IpcWriteOptions(compression="lz4", use_threads=False)
_CHECKSUM = struct.Struct("<I")  # of all before it
UNITS, DECISIONS, RESULT, DEBUG = "units", "decisions.parquet", "result.json", "debug"
DECIDED = "decisions.arrow"  # of a unit


def stream_file(name: str) -> str:
    """Return the file of a stream in a unit's folder."""
    return f"stream-{name}.arrow"


@contextlib.contextmanager
def unit_folder(out: Path, unit: Unit) -> Iterator[Path]:
    """Yield a folder to fill; at the end it takes the unit's name, unless another worker was there before."""
    units = out / UNITS
    units.mkdir(parents=True, exist_ok=True)
    part = units / f".{unit.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part"
    part.mkdir()
    try:
        yield part
        with contextlib.suppress(OSError):  # another worker has done the same unit: both results are the same
            part.rename(units / unit.name)
        if not (units / unit.name / RESULT).is_file():
            raise OSError(f"the unit {unit.name} could not be committed in {units}")
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_part(path: Path, table: pa.Table, notes: PartNotes | None = None) -> None:
    """Write a table of a unit: the events of one stream, or its decisions.

    Arrow's own format, as Parquet takes 0.1 s for the 1500 columns of NanoAOD however few the events; a checksum follows.
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
    """Read a table of a unit, and prove that it is what was written."""
    data = path.read_bytes()
    end = len(data) - _CHECKSUM.size
    if end < 0 or _CHECKSUM.pack(zlib.crc32(memoryview(data)[:end])) != data[end:]:
        raise DataError(
            f"{path} is not what was written: the disk has changed it; remove {path.parent} and go on with --resume"
        )
    with ipc.open_stream(pa.py_buffer(data)) as reader:
        return reader.read_all()


def part_schema(path: Path) -> pa.Schema:
    """Return the columns of one stream's events, with the notes on them as metadata."""
    with pa.OSFile(str(path)) as file, ipc.open_stream(file) as reader:
        return reader.schema


def notes_of(schema: pa.Schema) -> PartNotes:
    """Return the notes on a part."""
    return PartNotes.model_validate_json((schema.metadata or {}).get(NOTES, b"{}"))


def write_result(folder: Path, result: UnitResult) -> None:
    """Write what became of the unit, last, with the sizes of its files: a power cut may leave some of them in pieces."""
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    complete = result.model_copy(update={"sizes": sizes})
    (folder / RESULT).write_text(complete.model_dump_json() + "\n", encoding="utf-8")


def committed(out: Path) -> dict[int, Path]:
    """Return the folders of the units that are done, by number; what is not whole is removed, and done again."""
    units, found = out / UNITS, {}
    if units.is_dir():
        for path in sorted(units.iterdir()):
            if path.name.isdigit():
                if _is_whole(path):
                    found[int(path.name)] = path
                else:
                    shutil.rmtree(path, ignore_errors=True)
    return found


def _is_whole(folder: Path) -> bool:
    try:
        sizes = read_result(folder).sizes
    except (OSError, DocumentError):
        return False
    return all((folder / name).is_file() and (folder / name).stat().st_size == n for name, n in sizes.items())


def read_result(folder: Path) -> UnitResult:
    """Read what became of a unit."""
    return parse_document((folder / RESULT).read_text(encoding="utf-8"), UnitResult, str(folder / RESULT))


def note_of(out: Path, unit: Unit) -> Path:
    """Return where a careful worker notes the entry that it has in flight."""
    return out / UNITS / f".{unit.name}.in-flight"


def entry_in_flight(out: Path, unit: Unit) -> int | None:
    """Return the entry that a worker had in flight when it died."""
    try:
        return int.from_bytes(note_of(out, unit).read_bytes(), "little", signed=True)
    except FileNotFoundError:
        return None


def sweep(out: Path) -> None:
    """Remove what killed workers left half-done."""
    units = out / UNITS
    if units.is_dir():
        for path in units.glob(".*.part"):
            shutil.rmtree(path, ignore_errors=True)
        for path in units.glob(".*.in-flight"):
            path.unlink(missing_ok=True)


def read_decisions(out: Path) -> dict[str, np.ndarray]:
    """Read the decisions of a finished run: a row per event that could be read."""
    path = out / DECISIONS
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {error}; is {out} the folder of a finished run?") from error
    return {name: table[name].to_numpy() for name in table.column_names}
