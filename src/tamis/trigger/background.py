"""Scores of a background sample, from which working points are set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tamis._base import DataError, InputMismatchError, UsageError, close_matches
from tamis.bundle import Input
from tamis.engines import Session
from tamis.events import (
    ColumnData,
    columns_of,
    expand,
    holds_arrays,
    of_file,
    open_arrays,
    open_table,
    read_events,
)
from tamis.features import columns_read
from tamis.trigger.score import check_decides, check_rows, events_at_once, features_of, run_rows, score_events

NAMES_MAX = 12  # of a file's columns in a message

Rows = Mapping[str, np.ndarray]


def background_scores(session: Session, files: Sequence[str], *, tree: str | None = None) -> np.ndarray:
    """Return the score of every row of some files.

    The inputs come from their features, from arrays of their names (npz, npy, HDF5), or from columns of their names, or of
    the names of their features in training, that have one number per event (ROOT, Parquet).
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
    elif all(spec.feature is not None for spec in inputs):
        reader = read_events(files, columns=columns_read(features_of(session.bundle)), tree=tree)
        outputs = (batch.outputs for batch in score_events(session, reader))
    else:
        outputs = (
            run_rows(session, [rows[spec.name] for spec in inputs]) for rows in _columns(session, files, tree)
        )
    pieces = []
    for found in outputs:
        values = found[score]
        if values.size != len(values):
            raise UsageError(
                f"the score {score} has {values.size // max(1, len(values))} numbers per row, but a threshold needs one: "
                f"choose one column, as in --score {score}:1"
            )
        pieces.append(np.ravel(values).astype(np.float64))
    scores = np.concatenate(pieces) if pieces else np.zeros(0)
    if not scores.size:
        raise DataError(f"{', '.join(map(str, files))} has no rows to score")
    return scores


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


def _columns(session: Session, files: Sequence[str], tree: str | None) -> Iterator[Rows]:
    inputs, step = session.signature.inputs, events_at_once(session.bundle)
    names = {spec.name: spec.columns or (spec.name,) for spec in inputs}
    for url in expand(files):
        with contextlib.closing(open_table(url, tree)) as table:
            known = [*table.columns, *table.hidden]
        for spec in inputs:
            for name in names[spec.name]:
                if name not in known:
                    raise _mismatch(spec, name, url, known, known)
    wanted = [name for columns in names.values() for name in columns]
    for chunk in read_events(files, columns=wanted, tree=tree):
        with of_file(chunk.file):
            values = {
                name: _numbers(name, column) for name, column in columns_of(chunk.events, wanted).items()
            }
            for start in range(0, len(chunk.events), step):
                yield {
                    spec.name: _input(spec, [values[n][start : start + step] for n in names[spec.name]])
                    for spec in inputs
                }


def _numbers(name: str, column: ColumnData) -> np.ndarray:
    if isinstance(column, np.ndarray) and column.ndim == 1:
        return column
    raise DataError(
        f"the column {name} has a list in every event, but an input needs one number per row: give the rows as arrays (.npz), "
        "or pack with --feature INPUT=FEATURE"
    )


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
        f"{which} is not in {url}, which has {some}{more}; {hint}name the arrays or columns as in the model, as with "
        f"numpy.savez(FILE, {spec.name}=rows), or pack with --feature {spec.name}=FEATURE, which computes the input from events"
    )
