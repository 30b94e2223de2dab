"""Samples for the evaluation of an image tagger: frames by the generator's truth, at one spectrum of the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tamis._base import UsageError, progress
from tamis.bundle import Bundle
from tamis.engines import Session
from tamis.features import find_inputs
from tamis.measure.discrimination import Sample
from tamis.zoo import TAGGERS, Reading, Tagger
from tamis.zoo.data.class_rows import ClassRows
from tamis.zoo.data.truth_frames import load_kind, same_spectrum

FRAMES_AT_ONCE = 64
COLUMNS = ("mass", "tau1", "tau2", "nConstituents")


def tagger_of(bundle: Bundle) -> Tagger | None:
    """Return the tagger whose frames a bundle reads, if it reads any."""
    features = [spec.feature for spec in bundle.manifest.signature.inputs]
    same = (tagger for tagger in TAGGERS.values() if list(tagger.features.values()) == features)
    return TAGGERS.get(bundle.name) or next(same, None)


def tagged_samples(
    session: Session,
    tagger: Tagger,
    files: Mapping[str, Sequence[str]],
    *,
    seed: int,
    reading: Reading,
) -> dict[str, tuple[Sample, ClassRows]]:
    """Return background and signal, drawn to have one spectrum of the seeds' transverse momentum, and what they are of."""
    if len(files) != 2:
        raise UsageError(
            "a tagger is evaluated on one signal at a time, since background and signal are brought to one spectrum: "
            "give one --signal"
        )
    (feature,) = find_inputs(tagger.features).values()
    extra = () if feature.jets is None else tuple(f"{feature.jets}_{name}" for name in COLUMNS)
    loaded = {
        name: load_kind(tagger, paths, "background" if name == "background" else "signal", reading, extra)
        for name, paths in files.items()
    }
    first, second = (one.about["pt"] for one in loaded.values())
    kept = same_spectrum(first, second, seed)
    return {
        name: (Sample(name, _values(session, tagger, name, one, rows)), one)
        for (name, one), rows in zip(loaded.items(), kept, strict=True)
    }


def _values(
    session: Session, tagger: Tagger, name: str, one: ClassRows, rows: np.ndarray
) -> dict[str, np.ndarray]:
    """Return scores and baselines, one value per frame."""
    scores, widths = [], []
    with progress(f"scoring {name}", len(rows), "frames") as advance:
        for start in range(0, len(rows), FRAMES_AT_ONCE):
            frames = one.inputs["frames"][rows[start : start + FRAMES_AT_ONCE]]
            scores.append(session.run(frames)[session.bundle.manifest.score or "score"].reshape(-1))
            widths.append(_width(frames, tagger))
            advance(len(frames))
    columns = {key.split("_", 1)[1]: values[rows] for key, values in one.about.items() if "_" in key}
    width = np.concatenate(widths)
    values = {session.bundle.manifest.score or "score": np.concatenate(scores), **_baselines(columns)}
    return values | {"jet pT": one.about["pt"][rows].astype(np.float64), "width": width, "-width": -width}


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


def _width(frames: np.ndarray, tagger: Tagger) -> np.ndarray:
    """Return the mean distance of the energy (the calorimeters', where there are any) from the middle, in pixels."""
    calorimeters = [name for name in ("ECAL", "HCAL") if name in tagger.channels] or tagger.channels
    channels = [tagger.channels.index(name) for name in calorimeters]
    energy = frames[:, channels].sum(axis=1, dtype=np.float64)
    step = np.arange(tagger.size) - tagger.size // 2
    distance = np.hypot(step[:, None], step)
    total = np.maximum(energy.sum(axis=(1, 2)), 1e-6)
    found: np.ndarray = (energy * distance).sum(axis=(1, 2)) / total
    return found
