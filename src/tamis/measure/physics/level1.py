"""Single variables of the Level-1 trigger that a detector on its objects or regions has to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from tamis._base import DataError, progress
from tamis.engines import Session
from tamis.events import EventReader, of_file
from tamis.features import Feature, input_rows
from tamis.features.level1 import L1_CALO_TOWERS, L1_OBJECTS, PROPERTIES
from tamis.measure.physics.discrimination import EvaluationSample
from tamis.records import SampleFacts


def _of_objects(inputs: np.ndarray) -> dict[str, np.ndarray]:
    pt = inputs[:, :: len(PROPERTIES)].astype(np.float64)
    return {
        "MET": pt[:, 0],
        "leading e/gamma pT": pt[:, 1],
        "leading muon pT": pt[:, 5],
        "leading jet pT": pt[:, 9],
        "HT": pt[:, 9:].sum(axis=1),
    }


def _of_regions(inputs: np.ndarray) -> dict[str, np.ndarray]:
    counts = inputs.reshape(len(inputs), -1).astype(np.float64)
    return {"total ET": counts.sum(axis=1), "largest region": counts.max(axis=1)}


VARIABLES_OF: Mapping[str, Callable[[np.ndarray], dict[str, np.ndarray]]] = MappingProxyType(
    {L1_OBJECTS.name: _of_objects, L1_CALO_TOWERS.name: _of_regions}
)


def event_sample(
    session: Session, name: str, reader: EventReader, features: Mapping[str, Feature]
) -> tuple[EvaluationSample, SampleFacts]:
    """Score the events of a sample, next to the single variables of the first input's feature."""
    pieces: list[dict[str, np.ndarray]] = []
    first, feature = next(iter(features.items()))
    events = 0
    with progress(f"scoring {name}", reader.count(), "events") as advance:
        for chunk in reader:
            with of_file(chunk.file):
                rows = input_rows(features, chunk.events)
            outputs = session.run(**rows.inputs)
            scores = {
                key: np.asarray(value).reshape(-1)
                for key, value in outputs.items()
                if value.size == len(rows)
            }
            pieces.append({**scores, **VARIABLES_OF[feature.name](rows.inputs[first])})
            events += len(chunk.events)
            advance(len(chunk.events))
    if not events:
        reasons = "".join(f"; {entry.reason}" for entry in reader.skipped)
        raise DataError(f"the sample {name} ({', '.join(reader.files)}) has no events to score{reasons}")
    values = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
    skipped = tuple(entry.reason for entry in reader.skipped)
    facts = SampleFacts(name=name, files=reader.files, events=events, jets=events, skipped=skipped)
    return EvaluationSample(name, values), facts
