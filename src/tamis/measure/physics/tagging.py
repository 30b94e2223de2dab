"""Samples for the evaluation of an image tagger: frames labelled by generator truth, with equal seed pT spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tamis._base import UsageError, progress
from tamis.bundle import Bundle
from tamis.engines import Session
from tamis.features import find_inputs
from tamis.measure.physics.discrimination import EvaluationSample
from tamis.zoo import ReadOptions, TaggedFrames, TruthMatching
from tamis.zoo.data import ClassRows, same_spectrum

FRAMES_AT_ONCE = 64
BASELINE_COLUMNS = ("mass", "tau1", "tau2", "nConstituents")


def tagged_frames(bundle: Bundle) -> TaggedFrames | None:
    """Return the frames of a bundle whose manifest records how a tagger's frames were labelled in its training."""
    truth = TruthMatching.parse(bundle.manifest.training.get("truth"))
    features = {spec.name: spec.feature for spec in bundle.manifest.signature.inputs if spec.feature}
    return None if truth is None or not features else TaggedFrames(bundle.name, find_inputs(features), truth)


def tagged_samples(
    session: Session,
    tagger: TaggedFrames,
    files: Mapping[str, Sequence[str]],
    *,
    seed: int,
    reading: ReadOptions,
) -> dict[str, tuple[EvaluationSample, ClassRows]]:
    """Return background and signal with their rows, sampled to have the same pT spectrum of the seeds."""
    if len(files) != 2:
        raise UsageError(
            "a tagger is evaluated on one signal at a time, since background and signal are sampled to one pT spectrum; "
            "pass one --signal"
        )
    feature = next(iter(tagger.features.values()))
    extra = () if feature.jets is None else tuple(f"{feature.jets}_{name}" for name in BASELINE_COLUMNS)
    loaded = {
        name: tagger.load(paths, "background" if name == "background" else "signal", reading, extra)
        for name, paths in files.items()
    }
    first, second = (rows.about["pt"] for rows in loaded.values())
    chosen = same_spectrum(first, second, seed)
    return {
        name: (EvaluationSample(name, _values(session, tagger, name, rows, indices)), rows)
        for (name, rows), indices in zip(loaded.items(), chosen, strict=True)
    }


def _values(
    session: Session, tagger: TaggedFrames, name: str, rows: ClassRows, indices: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the score and the baselines, one value per frame; the width of an image is a baseline too."""
    score = session.bundle.manifest.score or "score"
    first, feature = next(iter(tagger.features.items()))
    scores, widths = [], []
    with progress(f"scoring {name}", len(indices), "frames") as advance:
        for start in range(0, len(indices), FRAMES_AT_ONCE):
            inputs = {
                key: store[indices[start : start + FRAMES_AT_ONCE]] for key, store in rows.inputs.items()
            }
            scores.append(session.run(**inputs)[score].reshape(-1))
            if inputs[first].ndim == 4:
                widths.append(_width(inputs[first], feature.channels))
            advance(len(inputs[first]))
    columns = {key.split("_", 1)[1]: values[indices] for key, values in rows.about.items() if "_" in key}
    values = {score: np.concatenate(scores), **_baselines(columns)}
    values["jet pT"] = rows.about["pt"][indices].astype(np.float64)
    if widths:
        width = np.concatenate(widths)
        values |= {"width": width, "-width": -width}
    return values


def _baselines(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    baselines = {}
    if "mass" in columns:
        baselines["jet mass"] = columns["mass"]
    if "tau1" in columns and "tau2" in columns:
        baselines["-tau21"] = -columns["tau2"] / np.maximum(columns["tau1"], 1e-6)
    if "nConstituents" in columns:
        baselines["multiplicity"] = columns["nConstituents"]
        baselines["-multiplicity"] = -columns["nConstituents"]
    return baselines


def _width(frames: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Return the energy-weighted mean distance from the centre, in pixels; of the calorimeter channels if there are any."""
    calorimeters = [number for number, name in enumerate(names) if name in ("ECAL", "HCAL")]
    energy = frames[:, calorimeters or slice(None)].sum(axis=1, dtype=np.float64)
    step = np.arange(frames.shape[-1]) - frames.shape[-1] // 2
    distance = np.hypot(step[:, None], step)
    total = np.maximum(energy.sum(axis=(1, 2)), 1e-6)
    width: np.ndarray = (energy * distance).sum(axis=(1, 2)) / total
    return width
