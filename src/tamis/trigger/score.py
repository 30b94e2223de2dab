"""Score events: build features, call the session, and return scores with the identity of their events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tamis._base import DataError, UsageError, VerificationError, now_ns
from tamis.bundle import Bundle
from tamis.engines import Session
from tamis.events import Aliases, EventReader, Events, Frame, SkippedFile, of_file, read_events, with_missing
from tamis.features import (
    Feature,
    InputRows,
    columns_read,
    explain_missing_columns,
    feature_of,
    frame_of,
    input_rows,
)

PIECE_BYTES = 32_000_000  # of a model's inputs that are built at a time


@dataclass(frozen=True)
class ScoredBatch:
    """The scored rows of a batch of events: one per jet, frame or lepton, depending on the model's features.

    An event has any number of rows; rows are in the order of their events. `about` has the columns with which the feature
    describes a row: `jet`, its index among the jets of its event, or `eta`, `phi` and `pt` of the seed of a frame.
    """

    identity: np.ndarray  # (rows, 3): run, luminosity block, event
    empty: (
        np.ndarray
    )  # a mask of the rows without input, such as jets without constituents, which have no scores
    about: Mapping[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    columns: dict[str, np.ndarray]  # the requested extra columns
    events: int
    events_with_rows: int
    feature_ns: int
    score_ns: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.identity)


def score_events(
    session: Session, files: Sequence[str] | EventReader, *, extra: Sequence[str] = ()
) -> Iterator[ScoredBatch]:
    """Score every event of the files, chunk by chunk; `extra` names columns to keep with the rows."""
    features = check_scores(session)
    reader = (
        files
        if isinstance(files, EventReader)
        else read_events(files, columns=columns_read(features), optional=extra)
    )
    with explain_missing_columns(features):
        for chunk in reader:
            with of_file(chunk.file):
                scored = score_batch(session, chunk.events, extra)
            yield scored


def score_batch(session: Session, events: Events, extra: Sequence[str] = ()) -> ScoredBatch:
    """Score a batch of events; `extra` names columns of the events, or of the jets of the rows, to return as well."""
    features = check_scores(session)
    present = [name for name in extra if name in events]
    start = now_ns()
    whole = frame_of(features, events, present)
    feature_ns, score_ns = now_ns() - start, 0
    pieces, found = [], []
    for first, frame in _pieces(whole, events_at_once(session.bundle)):
        start = now_ns()
        rows = input_rows(features, frame)
        middle = now_ns()
        outputs = run_rows(session, list(rows.inputs.values()))
        score_ns += now_ns() - middle
        feature_ns += middle - start
        columns = {name: rows.take(frame, name) for name in present}
        if rows.empty is not None:
            outputs = {name: with_missing(values, rows.empty) for name, values in outputs.items()}
        empty = np.zeros(len(rows), bool) if rows.empty is None else rows.empty
        pieces.append((first + rows.event, rows.about, empty))
        found.append((outputs, columns))
    event = np.concatenate([event for event, _, _ in pieces])
    return ScoredBatch(
        events.identity[event],
        np.concatenate([empty for _, _, empty in pieces]),
        _joined([about for _, about, _ in pieces]),
        _joined([outputs for outputs, _ in found]),
        _joined([columns for _, columns in found]),
        len(events),
        len(np.unique(event)),
        feature_ns,
        score_ns,
    )


def events_at_once(bundle: Bundle) -> int:
    """Return the number of events whose inputs are built at a time, limited by their bytes."""
    row_bytes = sum(golden[:1].nbytes for golden in bundle.golden.inputs.values())
    return max(1, PIECE_BYTES // max(1, row_bytes))


def run_rows(session: Session, rows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Run any number of rows; for a model of fixed batch size the last row is repeated as padding."""
    count = len(rows[0])
    short = -count % (session.signature.fixed_batch or 1)
    arrays = [np.ascontiguousarray(row) for row in rows]
    if short and count:
        arrays = [np.concatenate([row, np.repeat(row[-1:], short, axis=0)]) for row in arrays]
    return {name: values[:count] for name, values in session.run(*arrays).items()}


def inputs_of_events(
    bundle: Bundle,
    files: Sequence[str],
    most: int,
    *,
    tree: str | None = None,
    aliases: Aliases | None = None,
    skip_bad_files: bool = False,
) -> tuple[dict[str, np.ndarray], list[SkippedFile]]:
    """Return a bundle's inputs for the first rows of some files, and the skipped files."""
    features = features_of(bundle)
    pieces: list[InputRows] = []
    reader = read_events(
        files, columns=columns_read(features), tree=tree, aliases=aliases, skip_bad_files=skip_bad_files
    )
    for rows in _rows_of_files(features, reader, events_at_once(bundle)):
        pieces.append(rows)
        if sum(map(len, pieces)) >= most:
            break
    if not sum(map(len, pieces)):
        skipped = "".join(f"; {entry.reason}" for entry in reader.skipped)
        named = " and ".join(feature.name for feature in features.values())
        raise DataError(f"no events of {', '.join(map(str, files))} have {named} to compare on{skipped}")
    return {
        name: np.concatenate([p.inputs[name] for p in pieces])[:most] for name in features
    }, reader.skipped


def features_of(bundle: Bundle) -> dict[str, Feature]:
    """Return the feature of every input of a bundle; raises if an input has none."""
    features: dict[str, Feature] = {}
    for spec in bundle.manifest.signature.inputs:
        feature = feature_of(spec)
        if feature is None:
            raise UsageError(
                f"the bundle {bundle.name} declares no feature for its input {spec}: pack it with --feature {spec.name}=FEATURE, or "
                f"with --columns {spec.name}=COLUMN,COLUMN if a row of it is columns of the events, or score arrays (.npz, .h5)"
            )
        features[spec.name] = feature
    return features


def check_decides(session: Session) -> None:
    """Check that a session is verified: an unverified one may be measured, but not used for decisions."""
    if not session.verified:
        raise VerificationError(
            f"the engine {session.engine.name} was not verified on the bundle {session.bundle.name}, so it must not score: "
            "use another engine, such as onnxruntime"
        )


def check_rows(session: Session) -> None:
    """Check that the events of a bundle can be scored in pieces without changing the scores."""
    if session.signature.rows == "none":
        raise UsageError(
            f"the bundle {session.bundle.name} ({session.signature.describe_inputs()}) cannot be scored in pieces: "
            "its outputs depend on the whole batch. Call it with tamis.open on one set of arrays"
        )


def check_scores(session: Session) -> dict[str, Feature]:
    """Check that a session can score events, and return the features of its inputs."""
    check_decides(session)
    check_rows(session)
    return features_of(session.bundle)


def _rows_of_files(features: Mapping[str, Feature], reader: EventReader, at_once: int) -> Iterator[InputRows]:
    with explain_missing_columns(features):
        for chunk in reader:
            with of_file(chunk.file):
                whole = frame_of(features, chunk.events)
            for _, frame in _pieces(whole, at_once):
                with of_file(chunk.file):
                    rows = input_rows(features, frame)
                yield rows


def _pieces(whole: Frame, at_once: int) -> Iterator[tuple[int, Frame]]:
    """Yield (index of the first event, frame) in pieces of `at_once` events; one empty piece for no events."""
    for start in range(0, max(1, len(whole)), at_once):
        yield start, whole.rows(start, min(start + at_once, len(whole)))


def _joined(pieces: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
