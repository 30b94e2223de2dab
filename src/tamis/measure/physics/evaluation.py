"""Evaluation of a detector or tagger on simulated background and signal samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tamis._base import DataError, UsageError, host_facts, progress, utc_timestamp
from tamis.bundle import Bundle
from tamis.engines import Session
from tamis.engines import open as open_session
from tamis.events import Aliases, EventReader, read_events
from tamis.features import columns_read
from tamis.measure.physics.discrimination import EvaluationSample, discriminate, histogram
from tamis.measure.physics.level1 import VARIABLES_OF, event_sample
from tamis.measure.physics.tagging import tagged_frames, tagged_samples
from tamis.records import Evaluation, SampleFacts
from tamis.trigger import features_of, score_events
from tamis.zoo import ReadOptions, TaggedFrames

JET_PROPERTIES = ("pt", "mass", "tau1", "tau2", "nConstituents")  # columns of the scored jets
# Larger is more signal-like. tau21 is small for two-pronged jets, so it is negated; the multiplicity of a signal may be
# larger or smaller than the background's.
BASELINES: dict[str, Callable[[Mapping[str, np.ndarray]], np.ndarray]] = {
    "jet mass": lambda columns: columns["mass"],
    "-tau21": lambda columns: -_ratio(columns["tau2"], columns["tau1"]),
    "multiplicity": lambda columns: columns["nConstituents"],
    "-multiplicity": lambda columns: -np.asarray(columns["nConstituents"], np.float64),
    "jet pT": lambda columns: columns["pt"],
}


def evaluate_bundle(
    bundle: Bundle,
    background: Sequence[str],
    signals: Mapping[str, Sequence[str]],
    *,
    engine: str = "onnxruntime",
    seed: int = 0,
    tree: str | None = None,
    aliases: Aliases | None = None,
    skip_bad_files: bool = False,
) -> Evaluation:
    """Score the samples and measure the score and the baselines on every signal."""
    if not signals:
        raise UsageError("an evaluation needs at least one signal sample: add --signal NAME=FILE")
    if "background" in signals:
        raise UsageError("a signal cannot be called 'background'; give it a name with --signal NAME=FILE")
    with open_session(bundle, engine) as session:
        score = bundle.manifest.score
        if score is None:
            raise UsageError(f"the bundle {bundle.name} declares no score to evaluate; pack it with --score")
        golden = bundle.golden.outputs[score]
        if golden[0].size != 1:
            raise UsageError(
                f"the score {score} of the bundle {bundle.name} has {golden[0].size} values per event; an evaluation needs one: "
                f"pack it with --score {score}:0 (or another column)"
            )
        samples_of = {"background": background, **signals}
        tagger = tagged_frames(bundle)
        features = features_of(bundle)
        options = ReadOptions(None, tree, skip_bad_files, aliases)
        if next(iter(features.values())).name in VARIABLES_OF:
            scored = {
                name: event_sample(session, name, _reader(bundle, None, files, options), features)
                for name, files in samples_of.items()
            }
        elif tagger is None:
            jets = _jets(bundle)
            scored = {
                name: _sample(
                    session,
                    name,
                    _reader(bundle, jets, files, options),
                    jets,
                )
                for name, files in samples_of.items()
            }
        else:
            scored = _tagged(session, tagger, samples_of, seed, options)
    samples = [sample for sample, _ in scored.values()]
    common = [v for v in samples[0].values if all(v in sample.values for sample in samples)]
    rng = np.random.default_rng(seed)
    pairs = [(s, variable) for s in samples[1:] for variable in common]
    figures = []
    with progress("bootstrapping", len(pairs), "figures") as advance:
        for signal, variable in pairs:
            figures.append(discriminate(samples[0], signal, variable, rng))
            advance(1)
    return Evaluation(
        bundle=bundle.name,
        bundle_version=bundle.manifest.version,
        model_sha256=bundle.manifest.files["model.onnx"].sha256,
        engine=engine,
        created=utc_timestamp(),
        host=host_facts(),
        background=scored["background"][1],
        signals=tuple(facts for name, (_, facts) in scored.items() if name != "background"),
        figures=tuple(figures),
        histograms=tuple(histogram(samples, variable) for variable in common),
        working_points={
            point.name: {
                sample.name: float(np.mean(sample.values[score] > point.threshold)) for sample in samples
            }
            for point in bundle.manifest.working_points
        },
    )


def _jets(bundle: Bundle) -> str:
    """Return the name of the jet collection that a bundle scores; raises UsageError if it does not score jets."""
    jets = next(iter(features_of(bundle).values())).jets
    if jets is None:
        raise UsageError(
            f"the bundle {bundle.name} ({bundle.manifest.signature.describe_inputs()}) does not score jets; "
            "evaluate a classifier of events with --class NAME=FILE for each class"
        )
    return jets


def _reader(bundle: Bundle, jets: str | None, files: Sequence[str], options: ReadOptions) -> EventReader:
    return read_events(
        files,
        columns=columns_read(features_of(bundle)),
        optional=[f"{jets}_{name}" for name in JET_PROPERTIES] if jets else [],
        tree=options.tree,
        aliases=options.aliases,
        skip_bad_files=options.skip_bad_files,
    )


def _sample(
    session: Session, name: str, reader: EventReader, jets: str
) -> tuple[EvaluationSample, SampleFacts]:
    chunks = []
    with progress(f"scoring {name}", reader.count(), "events") as advance:
        for chunk in score_events(session, reader, extra=[f"{jets}_{what}" for what in JET_PROPERTIES]):
            chunks.append(chunk)
            advance(chunk.events)
    there = np.concatenate([~chunk.empty for chunk in chunks]) if chunks else np.zeros(0, bool)
    if not there.any():
        reasons = "".join(f"; {entry.reason}" for entry in reader.skipped)
        raise DataError(f"the sample {name} ({', '.join(reader.files)}) has no jets to score{reasons}")
    common = [key for key in chunks[0].columns if all(key in chunk.columns for chunk in chunks)]
    columns = {
        key.removeprefix(f"{jets}_"): np.concatenate([chunk.columns[key] for chunk in chunks])[there]
        for key in common
    }
    outputs = {
        key: np.concatenate([chunk.outputs[key] for chunk in chunks])[there] for key in chunks[0].outputs
    }
    values = {key: value.reshape(-1) for key, value in outputs.items() if value.size == len(value)}
    for key, baseline in BASELINES.items():
        try:
            values[key] = np.asarray(baseline(columns), np.float64)
        except KeyError:
            continue  # the files lack a column of this baseline
    events = sum(chunk.events for chunk in chunks)
    skipped = tuple(entry.reason for entry in reader.skipped)
    return EvaluationSample(name, values), SampleFacts(
        name=name,
        files=reader.files,
        events=events,
        jets=int(there.sum()),
        jets_without_input=int((~there).sum()),
        skipped=skipped,
    )


def _tagged(
    session: Session,
    tagger: TaggedFrames,
    files: Mapping[str, Sequence[str]],
    seed: int,
    reading: ReadOptions,
) -> dict[str, tuple[EvaluationSample, SampleFacts]]:
    found = tagged_samples(session, tagger, files, seed=seed, reading=reading)
    return {
        name: (
            sample,
            SampleFacts(
                name=name, files=rows.files, events=rows.events, jets=len(sample), skipped=rows.skipped
            ),
        )
        for name, (sample, rows) in found.items()
    }


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.where(b > 0, a / np.where(b > 0, b, 1.0), 1.0)
