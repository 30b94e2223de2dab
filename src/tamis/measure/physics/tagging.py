"""Samples for the evaluation of an image tagger: frames labelled by generator truth, with equal seed pT spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tamis._base import UsageError, progress
from tamis.bundle import Bundle
from tamis.engines import Session
from tamis.features import find_inputs
from tamis.measure.physics.discrimination import EvaluationSample
from tamis.zoo import TAGGERS, Reading, Tagger
from tamis.zoo.data.class_rows import ClassRows
from tamis.zoo.data.truth_frames import load_kind, same_spectrum

FRAMES_AT_ONCE = 64
BASELINE_COLUMNS = ("mass", "tau1", "tau2", "nConstituents")


def tagger_of(bundle: Bundle) -> Tagger | None:
    """Return the tagger whose frames a bundle reads, or None."""
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
) -> dict[str, tuple[EvaluationSample, ClassRows]]:
    """Return background and signal with their rows, sampled to have the same pT spectrum of the seeds."""
    if len(files) != 2:
        raise UsageError(
            "a tagger is evaluated on one signal at a time, since background and signal are sampled to one pT spectrum; "
            "pass one --signal"
        )
    (feature,) = find_inputs(tagger.features).values()
    extra = () if feature.jets is None else tuple(f"{feature.jets}_{name}" for name in BASELINE_COLUMNS)
    loaded = {
        name: load_kind(tagger, paths, "background" if name == "background" else "signal", reading, extra)
        for name, paths in files.items()
    }
    first, second = (rows.about["pt"] for rows in loaded.values())
    chosen = same_spectrum(first, second, seed)
    return {
        name: (EvaluationSample(name, _values(session, tagger, name, rows, indices)), rows)
        for (name, rows), indices in zip(loaded.items(), chosen, strict=True)
    }


def _values(
    session: Session, tagger: Tagger, name: str, rows: ClassRows, indices: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the score and the baselines, one value per frame."""
    scores, widths = [], []
    with progress(f"scoring {name}", len(indices), "frames") as advance:
        for start in range(0, len(indices), FRAMES_AT_ONCE):
            frames = rows.inputs["frames"][indices[start : start + FRAMES_AT_ONCE]]
            scores.append(session.run(frames)[session.bundle.manifest.score or "score"].reshape(-1))
            widths.append(_width(frames, tagger))
            advance(len(frames))
    columns = {key.split("_", 1)[1]: values[indices] for key, values in rows.about.items() if "_" in key}
    width = np.concatenate(widths)
    values = {session.bundle.manifest.score or "score": np.concatenate(scores), **_baselines(columns)}
    return values | {"jet pT": rows.about["pt"][indices].astype(np.float64), "width": width, "-width": -width}


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


def _width(frames: np.ndarray, tagger: Tagger) -> np.ndarray:
    """Return the energy-weighted mean distance from the centre, in pixels; of the calorimeter channels if there are any."""
    calorimeters = [name for name in ("ECAL", "HCAL") if name in tagger.channels] or tagger.channels
    channels = [tagger.channels.index(name) for name in calorimeters]
    energy = frames[:, channels].sum(axis=1, dtype=np.float64)
    step = np.arange(tagger.size) - tagger.size // 2
    distance = np.hypot(step[:, None], step)
    total = np.maximum(energy.sum(axis=(1, 2)), 1e-6)
    width: np.ndarray = (energy * distance).sum(axis=(1, 2)) / total
    return width
