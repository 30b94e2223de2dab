"""From signal and background files to a tagger's bundle."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from quickbeam._base import library_versions
from quickbeam.bundle import Packed, WorkingPoint, pack
from quickbeam.bundle.model import parse_model
from quickbeam.zoo.simple_net import export
from quickbeam.zoo.tagger_data import Labelled, load_labelled
from quickbeam.zoo.tagger_training import Supervised, TaggedSet, split_labelled
from quickbeam.zoo.taggers import Reading, Tagger

WORKING_POINTS = (0.3, 0.1, 1e-2)
GOLDEN_BYTES = 700_000  # of frames: a bundle of a few small layers should not be mostly its examples


def train_tagger(
    tagger: Tagger,
    background: Sequence[str],
    signal: Sequence[str],
    target: Path,
    *,
    seed: int = 1,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    resume: bool = False,
    after_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Packed:
    """Train a tagger and pack it; which seeds of a file are signal and which background, the generator's truth tells."""
    kinds = {
        kind: load_labelled(tagger, files, signal=kind == "signal", reading=reading)
        for kind, files in (("signal", signal), ("background", background))
    }
    data = split_labelled(kinds["signal"], kinds["background"], seed)
    run = Supervised(tagger, data, target.with_name(target.name + ".training"), seed=seed)
    if resume:
        run.resume()
    stopped = run.run(after_epoch)
    return _pack(tagger, run, data, kinds, target, stopped=stopped)


def _pack(
    tagger: Tagger,
    run: Supervised,
    data: TaggedSet,
    kinds: dict[str, Labelled],
    target: Path,
    *,
    stopped: bool,
) -> Packed:
    """Pack; thresholds come from background frames that neither trained the network nor stopped its training."""
    proto = parse_model(export(run.net, len(tagger.channels), tagger.size), tagger.name)
    calibration = data.calibration[data.label[data.calibration] == 0]
    scores = 1.0 / (1.0 + np.exp(-run.logits(calibration)))
    ended = "by early stopping" if stopped else "with its last epoch: a longer training may do better"
    skipped = [entry for kind in kinds.values() for entry in kind.skipped]
    return pack(
        proto,
        target,
        name=tagger.name,
        inputs={"frames": data.frames.dense(_examples(data))},
        score="score",
        description=tagger.description,
        features={"frames": tagger.feature},
        units={"frames": f"{', '.join(tagger.channels)}: GeV, cm, hits"},
        working_points=_working_points(scores),
        training={
            "model": tagger.name,
            "seed": run.seed,
            **{f"{kind}_files": [Path(f).name for f in one.files] for kind, one in kinds.items()},
            "files": sorted({Path(f).name for one in kinds.values() for f in one.files}),
            **({"skipped_files": skipped} if skipped else {}),
            **{f"{kind}_frames_found": len(one) for kind, one in kinds.items()},
            "training_frames": len(data.train),
            "validation_frames": len(data.validation),
            "calibration_frames": len(data.calibration),
            "spectra": "signal and background frames were drawn to have one spectrum of the seed's transverse momentum",
            "truth": json.loads(json.dumps(asdict(tagger.truth))),
            "recipe": asdict(tagger.recipe),
            "best_epoch": run.state.best_epoch,
            "ended": ended,
            "versions": library_versions(("torch", "numpy", "quickbeam")),
        },
        extra={"training.json": json.dumps(run.state.history, indent=1) + "\n"},
    )


def _examples(data: TaggedSet) -> np.ndarray:
    """Return calibration frames of both kinds, in turn, few where frames are large."""
    frame_bytes = 4 * int(np.prod(data.frames.shape))
    rows = data.calibration
    kinds = [rows[data.label[rows] == kind] for kind in (1, 0)]
    most = max(1, min(32, GOLDEN_BYTES // frame_bytes))
    turns = [kinds[i % 2][i // 2] for i in range(most) if i // 2 < len(kinds[i % 2])]
    return np.array(turns)


def _working_points(scores: np.ndarray) -> list[WorkingPoint]:
    """Return thresholds that 30 %, 10 % and 1 % of the background pass, as far as there are frames for it."""
    points = []
    for efficiency in WORKING_POINTS:
        if len(scores) * efficiency >= 10:
            threshold = float(np.quantile(scores, 1.0 - efficiency))
            points.append(
                WorkingPoint(
                    name=f"background-{efficiency:g}",
                    threshold=threshold,
                    background_efficiency=float(np.mean(scores > threshold)),
                    background=f"{len(scores)} calibration frames",
                )
            )
    return points
