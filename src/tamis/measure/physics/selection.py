"""Selection: how well a classifier separates its classes, and how much of the rate behind a trigger path it removes.

Every row is weighted by the rate of its sample, so that the mix is that of the trigger and not that of the simulation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tamis._base import DataError, UsageError, host_facts, progress, utc_timestamp
from tamis.bundle import Bundle
from tamis.engines import Session
from tamis.engines import open as open_session
from tamis.events import Aliases, of_file, read_events
from tamis.features import (
    LEPTON_EVENT_VALUES,
    Feature,
    columns_read,
    find_inputs,
    input_rows,
)
from tamis.measure.physics.selectors import Scores, measure_selectors
from tamis.records import ClassFacts, Selection
from tamis.zoo import ReadOptions

# Single variables of the same rows, for comparison: (column, sign); larger is more signal-like.
LEPTON_BASELINES: Mapping[str, tuple[str, float]] = {
    "-lepton isolation": ("lepton isolation", -1.0),
    "MT": ("mt", 1.0),
    "HT": ("ht", 1.0),
}
LEPTON_FEATURES = {"lepton_event", "particle_list"}


@dataclass(frozen=True)
class ClassSample:
    """Files of a class, and the rate that all their rows represent; a class may have several samples."""

    name: str
    files: tuple[str, ...]
    rate: float = 1.0


def evaluate_classes(
    bundle: Bundle,
    samples: Sequence[ClassSample],
    *,
    engine: str = "onnxruntime",
    seed: int = 0,
    tree: str | None = None,
    aliases: Aliases | None = None,
    skip_bad_files: bool = False,
) -> Selection:
    """Score the samples of every class and measure every selector."""
    classes = classes_of(bundle)
    _check(bundle, classes, samples)
    parts, facts = [], []
    with open_session(bundle, engine) as session:
        for sample in samples:
            values, sample_facts = _score(
                session, classes, sample, ReadOptions(None, tree, skip_bad_files, aliases)
            )
            parts.append(
                (
                    values,
                    np.full(sample_facts.rows, classes.index(sample.name)),
                    sample.rate / sample_facts.rows,
                )
            )
            facts.append(sample_facts)
    common = [name for name in parts[0][0] if all(name in values for values, _, _ in parts)]
    scores = Scores(
        {name: np.concatenate([values[name] for values, _, _ in parts]) for name in common},
        np.concatenate([label for _, label, _ in parts]),
        np.concatenate([np.full(len(label), rate) for _, label, rate in parts]),
    )
    return Selection(
        bundle=bundle.name,
        bundle_version=bundle.manifest.version,
        model_sha256=bundle.manifest.files["model.onnx"].sha256,
        engine=engine,
        created=utc_timestamp(),
        host=host_facts(),
        classes=classes,
        samples=tuple(facts),
        selectors=tuple(measure_selectors(scores, classes, np.random.default_rng(seed))),
    )


def classes_of(bundle: Bundle) -> tuple[str, ...]:
    """Return the classes that a bundle was trained on; raises UsageError if it is not a classifier."""
    classes = bundle.manifest.training.get("classes")
    if not isinstance(classes, list) or "probabilities" not in bundle.golden.outputs:
        raise UsageError(
            f"the bundle {bundle.name} is not a classifier: it has no list of classes, or no output 'probabilities'"
        )
    return tuple(map(str, classes))


def _check(bundle: Bundle, classes: Sequence[str], samples: Sequence[ClassSample]) -> None:
    for sample in samples:
        if sample.name not in classes:
            raise UsageError(f"{bundle.name} has no class {sample.name!r}; it has {', '.join(classes)}")
        if not (np.isfinite(sample.rate) and sample.rate > 0):
            raise UsageError(f"the rate of {sample.name} is {sample.rate:g}; it must be above 0")
    for name in classes:
        if all(sample.name != name for sample in samples):
            raise UsageError(f"the class {name} has no sample: add --class {name}=FILE")


def _score(
    session: Session, classes: Sequence[str], sample: ClassSample, options: ReadOptions
) -> tuple[dict[str, np.ndarray], ClassFacts]:
    inputs, baselines = _features(session)
    columns = columns_read({**inputs, **baselines})
    reader = read_events(
        sample.files,
        columns=columns,
        tree=options.tree,
        aliases=options.aliases,
        skip_bad_files=options.skip_bad_files,
    )
    pieces, events = [], 0
    with progress(f"scoring {sample.name}", reader.count(), "events") as advance:
        for chunk in reader:
            with of_file(chunk.file):
                rows = input_rows(inputs, chunk.events)
                high_level = input_rows(baselines, chunk.events) if baselines else None
            if len(rows):
                outputs = session.run(**rows.inputs)
                piece = {f"p({name})": outputs["probabilities"][:, k] for k, name in enumerate(classes)}
                piece["score"] = outputs["score"]
                if high_level is not None:
                    for name, (column, sign) in LEPTON_BASELINES.items():
                        index = LEPTON_EVENT_VALUES.index(column)
                        piece[name] = sign * high_level.inputs["event"][:, index]
                pieces.append({name: np.asarray(values, np.float64) for name, values in piece.items()})
            events += len(chunk.events)
            advance(len(chunk.events))
    if not pieces:
        raise DataError(
            f"the sample {sample.name} ({', '.join(reader.files)}) has no rows to score; check the files and the selection of the feature"
        )
    values = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    bad = [name for name, column in values.items() if not np.isfinite(column).all()]
    if bad:
        raise DataError(f"{bad[0]} of the sample {sample.name} is not finite in some rows")
    return values, ClassFacts(
        name=sample.name,
        files=reader.files,
        events=events,
        rows=len(next(iter(values.values()))),
        rate=sample.rate,
        skipped=tuple(entry.reason for entry in reader.skipped),
    )


def _features(session: Session) -> tuple[dict[str, Feature], dict[str, Feature]]:
    """Return the features of the inputs, and those of the baselines if the model reads events with leptons."""
    names = {spec.name: spec.feature for spec in session.signature.inputs if spec.feature is not None}
    if len(names) != len(session.signature.inputs):
        raise UsageError(
            f"the bundle {session.bundle.name} does not declare features for all its inputs "
            f"({session.signature.describe_inputs()}); pack it with --feature INPUT=FEATURE"
        )
    with_lepton = set(names.values()) <= LEPTON_FEATURES
    return find_inputs(names), find_inputs({"event": "lepton_event"}) if with_lepton else {}
