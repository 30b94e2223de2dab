"""Scoring: events in, features made, the session called, scores out with the identity of their events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from quickbeam._base import DataError, UsageError, VerificationError, did_you_mean, now_ns
from quickbeam.bundle import Bundle, Input
from quickbeam.engines import Session
from quickbeam.events import EventReader, Events, SkippedFile, of_file, read_events
from quickbeam.features import JET_COLUMNS, leading_jets

LEADING_JETS = "leading_jets"
FEATURES = (LEADING_JETS,)
JETS_PER_EVENT = 2
JET_BASELINES = ("FatJet_pt", "FatJet_mass", "FatJet_tau1", "FatJet_tau2", "FatJet_nConstituents")


@dataclass(frozen=True)
class Scored:
    """The jets of one chunk of events: identity, index in the event, every output, and columns asked for."""

    identity: np.ndarray  # (jets, 3): run, luminosity block, event
    jet: np.ndarray
    outputs: dict[str, np.ndarray]
    columns: dict[str, np.ndarray]
    events: int
    events_with_jets: int
    feature_ns: int
    score_ns: int


def score_events(
    session: Session, files: Sequence[str] | EventReader, *, extra: Sequence[str] = ()
) -> Iterator[Scored]:
    """Score the leading jets of every event of the files, chunk by chunk; `extra` names columns to keep with them."""
    _check_feature(session)
    reader = (
        files if isinstance(files, EventReader) else read_events(files, columns=JET_COLUMNS, optional=extra)
    )
    for chunk in reader:
        with of_file(chunk.file):
            scored = score_batch(session, chunk.events, extra)
        yield scored


def score_batch(session: Session, events: Events, extra: Sequence[str] = ()) -> Scored:
    """Score the leading jets of a batch of events."""
    _check_feature(session)
    start = now_ns()
    jets = leading_jets(events, jets=JETS_PER_EVENT)
    middle = now_ns()
    outputs = _run_padded(session, jets.inputs)
    end = now_ns()
    columns = {name: jets.take(events, name) for name in extra if name in events}
    identity = events.identity[jets.event_row]
    with_jets = len(np.unique(jets.event_row))
    return Scored(
        identity, jets.jet_index, outputs, columns, len(events), with_jets, middle - start, end - middle
    )


def _run_padded(session: Session, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Run any number of jets: a graph of a fixed batch gets the last one again until a batch is full."""
    short = -len(rows) % (session.signature.fixed_batch or 1)
    if not short:
        return session.run(rows)
    outputs = session.run(np.concatenate([rows, np.repeat(rows[-1:], short, axis=0)]))
    return {name: values[: len(rows)] for name, values in outputs.items()}


def inputs_of_events(
    bundle: Bundle, files: Sequence[str], most: int, *, tree: str | None = None, skip_bad_files: bool = False
) -> tuple[dict[str, np.ndarray], list[SkippedFile]]:
    """Return a bundle's inputs for the first jets of some files, and the files that were given up."""
    spec = _feature_input(bundle)
    pieces: list[np.ndarray] = []
    reader = read_events(files, columns=JET_COLUMNS, tree=tree, skip_bad_files=skip_bad_files)
    for chunk in reader:
        with of_file(chunk.file):
            pieces.append(leading_jets(chunk.events, jets=JETS_PER_EVENT).inputs)
        if sum(map(len, pieces)) >= most:
            break
    if not sum(map(len, pieces)):
        told = "".join(f"; {entry.reason}" for entry in reader.skipped)
        raise DataError(f"no jets in {', '.join(map(str, files))} to compare on{told}")
    return {spec.name: np.concatenate(pieces)[:most]}, reader.skipped


def check_decides(session: Session) -> None:
    """Refuse a session that has not passed the gate: it may be measured, but nothing may be decided with it."""
    if not session.verified:
        raise VerificationError(
            f"the engine {session.engine.name} was not verified on the bundle {session.bundle.name}, so it scores nothing: "
            "use one that computes, such as onnxruntime"
        )


def check_rows(session: Session) -> None:
    """Refuse a bundle whose events cannot be scored piece by piece: where the cuts fall would change the scores."""
    if session.signature.rows == "none":
        raise UsageError(
            f"the bundle {session.bundle.name} ({session.signature.describe_inputs()}) cannot be scored in pieces, as its "
            "events influence each other or its outputs have no row per event: run it in Python with qb.open on one set of arrays"
        )


def _check_feature(session: Session) -> None:
    check_decides(session)
    check_rows(session)
    _feature_input(session.bundle)


def _feature_input(bundle: Bundle) -> Input:
    """Return the one input that is made from events, or say why there is none."""
    signature = bundle.manifest.signature
    spec = signature.inputs[0]
    if len(signature.inputs) != 1 or spec.feature is None:
        raise UsageError(
            f"the bundle {bundle.name} does not say how its inputs are made from events ({signature.describe_inputs()}): "
            "pack it with --feature INPUT=leading_jets, or score arrays (.npz, .h5) instead"
        )
    if spec.feature not in FEATURES:
        hint = did_you_mean(spec.feature, FEATURES)
        raise UsageError(f"no feature builder is called {spec.feature!r}; {hint}".rstrip("; "))
    return spec
