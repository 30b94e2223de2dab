"""Score files into one Parquet file, chunk by chunk, atomically."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tamis._base import DataError, Document, InputMismatchError, UsageError, atomic_path, now_ns, progress
from tamis.engines import Session
from tamis.events import (
    IDENTITY,
    Aliases,
    ArrayReader,
    EventReader,
    holds_arrays,
    local_path,
    of_file,
    read_arrays,
    read_events,
)
from tamis.features import columns_read, explain_missing_columns
from tamis.trigger.score import ScoredBatch, check_decides, check_rows, features_of, score_batch

KEPT_OF_JETS = ("pt", "mass")  # columns of the jets of the rows

COUNTS = ("events", "rows", "events_without_rows", "rows_without_input", "feature_ns", "score_ns")

# columns, and the values of COUNTS
Piece = tuple[dict[str, pa.Array], np.ndarray]


class ScoringFacts(Document):
    """The result of a scoring run, in which every event is accounted for."""

    output: str
    bundle: str
    engine: str
    events: int
    rows: int
    events_without_rows: int
    rows_without_input: int = 0
    feature_ns: int
    score_ns: int
    skipped: tuple[str, ...] = ()
    made_up: tuple[str, ...] = ()  # parts of the identity that a file lacks and that were generated


def score_files(
    session: Session,
    files: Sequence[str],
    output: str | Path,
    *,
    skip_bad_files: bool = False,
    tree: str | None = None,
    aliases: Aliases | None = None,
    chunk_bytes: int = 100_000_000,
) -> ScoringFacts:
    """Score files into a Parquet file; `tree` may also name a dataset of arrays.

    For events, the table has a row for each jet, frame or lepton that the model's features find, so that an event has any number
    of consecutive rows; a row without input, such as a jet without constituents, has null instead of scores. Columns: `run`, `luminosityBlock`, `event`; those with which the feature describes a row (`jet`, the index
    of the jet in its event; `eta`, `phi`, `pt` of the seed of a frame); `FatJet_pt` and `FatJet_mass` for rows of such jets
    (`Jet_mass` likewise); then every output. For arrays, it has `row` and every output for each row of the arrays.
    """
    output = Path(output)
    if output.suffix != ".parquet":
        name = output.with_suffix(".parquet").name
        raise UsageError(f"scores are written as Parquet; name the output {name}, not {output.name}")
    check_decides(session)
    check_rows(session)
    made_up: set[str] = set()
    if holds_arrays(files):
        reader, pieces = _arrays(session, files, tree, chunk_bytes, skip_bad_files)
    else:
        reader, pieces = _events(session, files, tree, aliases, chunk_bytes, skip_bad_files, made_up)
    if output.exists():
        for file in reader.files:
            local = local_path(file)
            if local is not None and local.exists() and output.samefile(local):
                raise UsageError(f"the output {output} is one of the files to score; name another")
    totals = _write(output, pieces, _provenance(session))
    if totals is None:
        skipped = "".join(f"; {entry}" for entry in reader.skipped)
        raise DataError(
            f"nothing could be read from {', '.join(map(str, files))}, so no scores were written{skipped}"
        )
    counts = dict(zip(COUNTS, totals.tolist(), strict=True))
    return ScoringFacts(
        output=str(output),
        bundle=session.bundle.name,
        engine=session.engine.name,
        skipped=tuple(str(entry) for entry in reader.skipped),
        made_up=tuple(part for part in IDENTITY if part in made_up),
        **counts,
    )


def _arrays(
    session: Session, files: Sequence[str], tree: str | None, chunk_bytes: int, skip_bad_files: bool
) -> tuple[ArrayReader | EventReader, Iterator[Piece]]:
    reader = read_arrays(
        files,
        dataset=tree,
        shape=session.signature.inputs[0].shape[1:],
        chunk_bytes=chunk_bytes,
        multiple_of=session.signature.fixed_batch or 1,
        skip_bad_files=skip_bad_files,
    )
    return reader, _array_pieces(session, reader)


def _events(
    session: Session,
    files: Sequence[str],
    tree: str | None,
    aliases: Aliases | None,
    chunk_bytes: int,
    skip_bad_files: bool,
    made_up: set[str],
) -> tuple[ArrayReader | EventReader, Iterator[Piece]]:
    features = features_of(session.bundle)
    first = next(iter(features.values()))
    kept = tuple(f"{first.jets}_{what}" for what in KEPT_OF_JETS if first.jets and what not in first.about)
    reader = read_events(
        files,
        columns=columns_read(features),
        optional=kept,
        chunk_bytes=chunk_bytes,
        skip_bad_files=skip_bad_files,
        tree=tree,
        aliases=aliases,
    )
    return reader, _event_pieces(session, reader, kept, made_up)


def _write(output: Path, pieces: Iterator[Piece], provenance: dict[bytes, bytes]) -> np.ndarray | None:
    """Write piece by piece, atomically; return the summed counts, or None if there was no piece."""
    totals = np.zeros(len(COUNTS), np.int64)
    with contextlib.ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        advance = stack.enter_context(progress("scoring", None, "rows"))
        for columns, counts in pieces:
            table = pa.table(columns)
            if writer is None:
                part = stack.enter_context(atomic_path(output))
                writer = stack.enter_context(pq.ParquetWriter(part, table.schema.with_metadata(provenance)))
            try:  # the types of the first piece hold for all
                table = table.replace_schema_metadata(None).cast(writer.schema)
            except pa.ArrowInvalid as error:
                raise DataError(
                    f"the files have numbers that do not fit one type ({error}): score them into separate outputs"
                ) from error
            writer.write_table(table)
            totals += counts
            advance(int(counts[1]))
    return None if writer is None else totals


def _event_pieces(
    session: Session, reader: EventReader, kept: Sequence[str], made_up: set[str]
) -> Iterator[Piece]:
    """Score events; generated parts of their identity are added to `made_up`."""
    features = features_of(session.bundle)
    with explain_missing_columns(features):
        for chunk in reader:
            made_up.update(chunk.synthesised)
            with of_file(chunk.file):
                scored = score_batch(session, chunk.events, kept)
            yield _table(scored, kept)


def _table(scored: ScoredBatch, kept: Sequence[str]) -> Piece:
    table = {**dict(zip(IDENTITY, scored.identity.T, strict=True)), **scored.about}
    for name in kept:  # NaN for a file without the column
        values = scored.columns.get(name, np.full(len(scored), np.nan, np.float32))
        table[name] = values.astype(np.float32)
    without = scored.events - scored.events_with_rows
    counts = [
        scored.events,
        len(scored),
        without,
        int(scored.empty.sum()),
        scored.feature_ns,
        scored.score_ns,
    ]
    about, outputs = _columns(table), _columns(_outputs(table, scored.outputs), scored.empty)
    return about | outputs, np.array(counts)


def _array_pieces(session: Session, reader: ArrayReader) -> Iterator[Piece]:
    if len(session.signature.inputs) != 1:
        raise UsageError(
            f"the bundle {session.bundle.name} takes {session.signature.describe_inputs()}: score its arrays in Python with tamis.open"
        )
    dtype = np.dtype(session.signature.inputs[0].dtype)
    for chunk in reader:
        with of_file(chunk.file):
            found = chunk.array.dtype
            if found.kind not in "fiub" or (found.kind == "f" and dtype.kind != "f"):
                raise InputMismatchError(f"the array to score is {found}, the model takes {dtype}")
            start = now_ns()
            outputs = session.run(np.ascontiguousarray(chunk.array, dtype))
        counts = [len(chunk.array), len(chunk.array), 0, 0, 0, now_ns() - start]
        rows = np.arange(chunk.start, chunk.stop)
        columns = {"row": rows}
        yield _columns(columns) | _columns(_outputs(columns, outputs)), np.array(counts)


def _outputs(table: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the outputs by column; an output with the name of another column becomes `output.NAME`."""
    return {f"output.{name}" if name in table else name: values for name, values in outputs.items()}


def _columns(columns: dict[str, np.ndarray], missing: np.ndarray | None = None) -> dict[str, pa.Array]:
    """Convert to Arrow, with nulls in missing rows; an output of more than one value per row becomes a column of lists."""
    arrow = {}
    for name, values in columns.items():
        if values.ndim <= 1:
            arrow[name] = pa.array(values, mask=missing)
        else:
            width = int(np.prod(values.shape[1:]))
            mask = None if missing is None else pa.array(missing)
            arrow[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), width, mask=mask)
    return arrow


def _provenance(session: Session) -> dict[bytes, bytes]:
    manifest = session.bundle.manifest
    facts = {
        "tamis.bundle": manifest.name,
        "tamis.model_sha256": manifest.files["model.onnx"].sha256,
        "tamis.engine": session.computed_by,
    }
    return {key.encode(): value.encode() for key, value in facts.items()}
