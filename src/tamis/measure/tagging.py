"""Samples for the evaluation of an image tagger: frames by the generator's truth, at one spectrum of the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tamis._base import UsageError, progress
from tamis.bundle import Bundle
from tamis.engines import Session
from tamis.features import find_inputs
from tamis.measure.discrimination import Sample
from tamis.zoo import ReadOptions, TaggedFrames, TruthMatching
from tamis.zoo.data import ClassRows, same_spectrum

FRAMES_AT_ONCE = 64
COLUMNS = ("mass", "tau1", "tau2", "nConstituents")


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
) -> dict[str, tuple[Sample, ClassRows]]:
    """Return background and signal, drawn to have one spectrum of the seeds' transverse momentum, and what they are of."""
    if len(files) != 2:
        raise UsageError(
            "a tagger is evaluated on one signal at a time, since background and signal are brought to one spectrum: "
            "give one --signal"
        )
    feature = next(iter(tagger.features.values()))
    extra = () if feature.jets is None else tuple(f"{feature.jets}_{name}" for name in COLUMNS)
    loaded = {
        name: tagger.load(paths, "background" if name == "background" else "signal", reading, extra)
        for name, paths in files.items()
    }
    first, second = (one.about["pt"] for one in loaded.values())
    kept = same_spectrum(first, second, seed)
    return {
        name: (Sample(name, _values(session, tagger, name, one, rows)), one)
        for (name, one), rows in zip(loaded.items(), kept, strict=True)
    }


def _values(
    session: Session, tagger: TaggedFrames, name: str, one: ClassRows, rows: np.ndarray
) -> dict[str, np.ndarray]:
    """Return scores and baselines, one value per frame; the width of images is a baseline too."""
    score = session.bundle.manifest.score or "score"
    first, feature = next(iter(tagger.features.items()))
    scores, widths = [], []
    with progress(f"scoring {name}", len(rows), "frames") as advance:
        for start in range(0, len(rows), FRAMES_AT_ONCE):
            inputs = {key: store[rows[start : start + FRAMES_AT_ONCE]] for key, store in one.inputs.items()}
            scores.append(session.run(**inputs)[score].reshape(-1))
            if inputs[first].ndim == 4:
                widths.append(_width(inputs[first], feature.channels))
            advance(len(inputs[first]))
    columns = {key.split("_", 1)[1]: values[rows] for key, values in one.about.items() if "_" in key}
    values = {score: np.concatenate(scores), **_baselines(columns)}
    values["jet pT"] = one.about["pt"][rows].astype(np.float64)
    if widths:
        width = np.concatenate(widths)
        values |= {"width": width, "-width": -width}
    return values


def _baselines(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {}
    if "mass" in columns:
        found["jet mass"] = columns["mass"]
    if "tau1" in columns and "tau2" in columns:
        found["-tau21"] = -columns["tau2"] / np.maximum(columns["tau1"], 1e-6)
    if "nConstituents" in columns:
        found["multiplicity"] = columns["nConstituents"]
        found["-multiplicity"] = -columns["nConstituents"]
    return found


def _width(frames: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Return the mean distance of the energy (the calorimeters', where there are any) from the middle, in pixels."""
    calorimeters = [number for number, name in enumerate(names) if name in ("ECAL", "HCAL")]
    energy = frames[:, calorimeters or slice(None)].sum(axis=1, dtype=np.float64)
    step = np.arange(frames.shape[-1]) - frames.shape[-1] // 2
    distance = np.hypot(step[:, None], step)
    total = np.maximum(energy.sum(axis=(1, 2)), 1e-6)
    found: np.ndarray = (energy * distance).sum(axis=(1, 2)) / total
    return found
