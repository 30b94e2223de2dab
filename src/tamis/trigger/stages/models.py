"""Stages of models: a feature turns events into rows of inputs, a bundle turns rows into scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tamis._base import DataError, UsageError
from tamis.bundle import Input, Output
from tamis.engines import Remote, Session
from tamis.engines import open as open_session
from tamis.events import ColumnData, Frame, Jagged, with_missing
from tamis.features import Feature, feature_of
from tamis.trigger.score import check_decides, check_rows, run_rows
from tamis.trigger.stages.kinds import Kind
from tamis.trigger.stages.stage import Added, Stage

WIDTH_MAX = 16  # numbers per row of an output that becomes columns


def feature_stage(feature: Feature) -> Stage:
    """Return the stage of a feature, which models that use it share."""
    about = {what: f"{feature.name}_{what}" for what in feature.about}
    empty = _empty_of(feature)
    adds = (feature.name, *about.values(), *empty)

    def run(frame: Frame) -> Added:
        rows = feature.build(frame)
        columns = {feature.name: Jagged(rows.offsets, rows.inputs)}
        for what, column in about.items():
            columns[column] = Jagged(rows.offsets, rows.about[what])
        if (rows.empty is not None) != feature.may_be_empty:
            raise DataError(
                f"the feature {feature.name} declares may_be_empty={feature.may_be_empty}, but its rows "
                f"{'have no' if rows.empty is None else 'have a'} mask of those without input"
            )
        for column in empty:
            columns[column] = Jagged(rows.offsets, np.asarray(rows.empty))
        return Added(columns)

    return Stage(
        feature.name, "features", feature.reads, adds, run, kinds=lambda _: dict.fromkeys(adds, Kind(True))
    )


def _empty_of(feature: Feature) -> tuple[str, ...]:
    """Return the column with the rows of a feature that have no input, if there may be any."""
    return (f"{feature.name}_empty",) if feature.may_be_empty else ()


def model_stages(
    name: str, bundle: str | Path, engine: str, chunk: int | None, remote: Remote | None = None
) -> tuple[Stage, list[Stage]]:
    """Open and verify a bundle; return its stage, and the stages of its inputs."""
    session = open_session(bundle, engine, chunk=chunk, remote=remote)
    try:
        check_decides(session)
        check_rows(session)
        features = [_feature_of(session, spec) for spec in session.signature.inputs]
    except BaseException:
        session.close()
        raise
    return _model_stage(name, session, features), [feature_stage(feature) for feature in features]


def _feature_of(session: Session, spec: Input) -> Feature:
    feature = feature_of(spec)
    if feature is None:
        raise UsageError(
            f"the bundle {session.bundle.name} declares no feature for its input {spec.name!r}: "
            f"pack it with --feature {spec.name}=FEATURE or --columns {spec.name}=COLUMN,COLUMN, or call it in a Python stage"
        )
    return feature


def _model_stage(name: str, session: Session, features: list[Feature]) -> Stage:
    about = {f"{name}_{what}": f"{features[0].name}_{what}" for what in features[0].about}
    outputs = _columns_of_outputs(name, session.signature.outputs)
    empties = [column for feature in features for column in _empty_of(feature)]
    reads = tuple(dict.fromkeys([*(f.name for f in features), *about.values(), *empties]))

    def run(frame: Frame) -> Added:
        rows = [_rows(frame, feature.name) for feature in features]
        offsets = rows[0].offsets - rows[0].offsets[0]
        for feature, other in zip(features[1:], rows[1:], strict=True):
            if not np.array_equal(other.counts, rows[0].counts):
                raise DataError(f"{features[0].name} and {feature.name} differ in their rows per event")
        found = run_rows(session, [row.flat for row in rows])
        columns: dict[str, ColumnData] = {}
        may_miss = False
        if empties:
            empty = np.logical_or.reduce([_rows(frame, column).flat for column in empties])
            may_miss = bool(empty.any())
            found = {output: with_missing(values, empty) for output, values in found.items()}
        for column, (output, place) in outputs.items():
            columns[column] = Jagged(offsets, found[output] if place is None else found[output][:, place])
        for column, source in about.items():
            columns[column] = Jagged(offsets, _rows(frame, source).flat)
        return Added(columns, may_miss=may_miss)

    manifest = session.bundle.manifest
    row_bytes = max(golden[:1].nbytes for golden in session.bundle.golden.inputs.values())
    facts = {
        "bundle": manifest.name,
        "model_sha256": manifest.files["model.onnx"].sha256,
        "engine": session.computed_by,
    }
    kinds = dict.fromkeys(about, Kind(True))
    for column, (output, _) in outputs.items():
        dtype = next(spec.dtype for spec in session.signature.outputs if spec.name == output)
        sample = np.ones(1, dtype)
        if empties:  # integers become float64
            sample = with_missing(sample, np.zeros(1, bool))
        kinds[column] = Kind(True, None, sample)
    return Stage(
        name,
        "model",
        reads,
        (*outputs, *about),
        run,
        tuple(outputs),
        facts,
        session.close,
        row_bytes,
        kinds=lambda _: kinds,
    )


def _columns_of_outputs(name: str, outputs: Sequence[Output]) -> dict[str, tuple[str, int | None]]:
    """Return column -> (output, index) for every number of a row; wide outputs, such as a latent space, are left out."""
    columns: dict[str, tuple[str, int | None]] = {}
    for spec in outputs:
        inner = spec.shape[1:]
        if not inner:
            columns[f"{name}_{spec.name}"] = (spec.name, None)
        elif len(inner) == 1 and isinstance(inner[0], int) and inner[0] <= WIDTH_MAX:
            columns.update({f"{name}_{spec.name}_{k}": (spec.name, k) for k in range(inner[0])})
    return columns


def _rows(frame: Frame, name: str) -> Jagged:
    column = frame[name]
    assert isinstance(column, Jagged)  # noqa: S101 - feature stages add only lists
    return column
