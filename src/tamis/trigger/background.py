"""Scores of a background sample, from which working points are set."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from tamis._base import DataError, InputMismatchError, MissingColumnError, UsageError, close_matches
from tamis.bundle import Input
from tamis.engines import Session
from tamis.events import (
    Aliases,
    EventReader,
    expand,
    holds_arrays,
    is_missing,
    open_arrays,
    open_table,
    read_events,
)
from tamis.events.aliases import AliasedTable
from tamis.features import Feature, columns_read
from tamis.trigger.score import (
    ScoredBatch,
    check_decides,
    check_rows,
    events_at_once,
    features_of,
    run_rows,
    score_events,
)

NAMES_MAX = 12  # of a file's columns in a message

Rows = Mapping[str, np.ndarray]


def background_scores(
    session: Session, files: Sequence[str], *, tree: str | None = None, aliases: Aliases | None = None
) -> np.ndarray:
    """Return the score of every row of some files that has input; a missing score is none.

    The inputs come from events through their features, which may be plain columns, or from arrays of their names (npz, npy,
    HDF5).
    """
    check_decides(session)
    check_rows(session)
    score, inputs = session.bundle.manifest.score, session.signature.inputs
    if score is None:
        names = ", ".join(spec.name for spec in session.signature.outputs)
        raise UsageError(f"a working point needs a score: name one of the outputs ({names}) with --score")
    if holds_arrays(files):
        outputs = (
            run_rows(session, [rows[spec.name] for spec in inputs]) for rows in _arrays(session, files)
        )
    else:
        features = features_of(session.bundle)
        reader = read_events(files, columns=columns_read(features), tree=tree, aliases=aliases)
        outputs = (
            batch.outputs
            for batch in _scored(session, reader, features, partial(open_table, tree=tree, aliases=aliases))
        )
    pieces = []
    for found in outputs:
        values = found[score]
        if values.size != len(values):
            raise UsageError(
                f"the score {score} has {values.size // max(1, len(values))} numbers per row, but a threshold needs one: "
                f"choose one column, as in --score {score}:1"
            )
        flat = np.ravel(values)
        pieces.append(flat[~is_missing(flat)].astype(np.float64))
    scores = np.concatenate(pieces) if pieces else np.zeros(0)
    if not scores.size:
        raise DataError(f"{', '.join(map(str, files))} has no rows to score")
    return scores


def _scored(
    session: Session,
    reader: EventReader,
    features: Mapping[str, Feature],
    open_file: Callable[[str], AliasedTable],
) -> Iterator[ScoredBatch]:
    """Yield the scored batches of a reader; a missing column is reported with the input that it is for."""
    try:
        yield from score_events(session, reader)
    except MissingColumnError as error:
        named = re.search("has no column '([^']+)'", str(error))
        lacking = named[1] if named else ""
        of_columns = [spec for spec in session.signature.inputs if spec.feature is None]
        spec = next((spec for spec in of_columns if lacking in features[spec.name].reads), None)
        url = next((file for file in reader.files if str(file) in str(error)), None)
        if spec is None or url is None:
            raise
        with contextlib.closing(open_file(url)) as table:
            known = [*table.columns, *table.hidden]
        raise _mismatch(spec, lacking, url, known, known) from error


def _arrays(session: Session, files: Sequence[str]) -> Iterator[Rows]:
    inputs, step = session.signature.inputs, events_at_once(session.bundle)
    for url in expand(files):
        with contextlib.closing(open_arrays(url)) as file:
            names = _names_of_arrays(inputs, {n: found.shape for n, found in file.datasets.items()}, url)
            counts = {name: file.datasets[name].shape[0] for columns in names.values() for name in columns}
            if len(set(counts.values())) > 1:
                lengths = ", ".join(f"{name} {count}" for name, count in counts.items())
                raise InputMismatchError(f"the arrays in {url} have different numbers of rows: {lengths}")
            count = next(iter(counts.values()))
            for start in range(0, count, step):
                yield {
                    spec.name: _input(
                        spec, [file.read(name, start, min(start + step, count)) for name in names[spec.name]]
                    )
                    for spec in inputs
                }


def _names_of_arrays(
    inputs: Sequence[Input], found: Mapping[str, tuple[int, ...]], url: str
) -> dict[str, tuple[str, ...]]:
    """Return the arrays that each input is read from: one of its name, the only one, or one for each of its columns."""
    names: dict[str, tuple[str, ...]] = {}
    for spec in inputs:
        if spec.name in found:
            names[spec.name] = (spec.name,)
        elif len(inputs) == len(found) == 1 and not spec.columns:
            names[spec.name] = tuple(found)
        elif spec.columns and set(spec.columns) <= set(found):
            names[spec.name] = spec.columns
        else:
            lacking = next((column for column in spec.columns if column not in found), spec.name)
            wanted = lacking if set(spec.columns) & set(found) else spec.name
            contents = [f"{name} ({', '.join(map(str, shape))})" for name, shape in found.items()]
            raise _mismatch(spec, wanted, url, contents, list(found))
    return names


def _input(spec: Input, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the rows of an input from its columns, or from one array."""
    if len(parts) > 1 or spec.columns == (spec.name,):
        return np.stack(parts, axis=1).astype(spec.dtype)
    rows = np.asarray(parts[0]).astype(spec.dtype)
    return rows.reshape(len(rows), 1) if rows.ndim == 1 and spec.shape[1:] == (1,) else rows


def _mismatch(
    spec: Input, name: str, url: str, contents: Sequence[str], known: Sequence[str]
) -> InputMismatchError:
    which = f"the input {spec}" if name == spec.name else f"column {name!r} of the input {spec}"
    some = ", ".join(contents[:NAMES_MAX]) or "no arrays of numbers"
    more = f" and {len(contents) - NAMES_MAX} more" if len(contents) > NAMES_MAX else ""
    close = (
        close_matches(name, known) if len(name) > 2 else [k for k in known if k.casefold() == name.casefold()]
    )
    hint = f"did you mean {' or '.join(map(repr, close))}? Otherwise " if close else ""
    return InputMismatchError(
        f"{which} is not in {url}, which has {some}{more}; {hint}name the arrays as in the model, as with "
        f"numpy.savez(FILE, {spec.name}=rows), or pack with --feature {spec.name}=FEATURE or --columns {spec.name}=COLUMN,COLUMN, "
        "which compute the input from events"
    )
