"""From a trained model to its bundle: export, golden events, working points, card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from tamis._base import library_versions
from tamis.bundle import Packed, pack
from tamis.bundle.model import parse_model
from tamis.zoo.data.jets import TrainingSet
from tamis.zoo.networks.models import ZooModel
from tamis.zoo.training.loop import Trained, ended
from tamis.zoo.training.scored import Scored, export
from tamis.zoo.training.thresholds import background_points

WORKING_POINTS = (1e-2, 1e-3)
FEATURE = "leading_jets"


def pack_trained(
    zoo: ZooModel,
    trained: Trained,
    data: TrainingSet,
    target: Path,
    *,
    latent: int,
    seed: int,
    files: Sequence[str],
    skipped: Sequence[str] = (),
) -> Packed:
    """Pack a trained model; thresholds come from jets that neither trained it nor stopped its training."""
    beta = zoo.recipe.beta / zoo.recipe.weight  # the score has the balance of the loss
    proto = parse_model(export(trained.model, beta), zoo.name)
    scores = _scores(trained.model, beta, data.calibration)
    return pack(
        proto,
        target,
        name=zoo.name,
        inputs={"jets": data.calibration[:256]},
        score="score",
        description=zoo.description,
        features={"jets": FEATURE},
        units={"jets": "eta, phi relative to the jet axis; pT in GeV"},
        working_points=background_points(scores, WORKING_POINTS, "jets"),
        training={
            "model": zoo.name,
            "latent": latent,
            "seed": seed,
            "files": [Path(name).name for name in files],
            **({"skipped_files": list(skipped)} if skipped else {}),
            "training_jets": len(data.train),
            "validation_jets": len(data.validation),
            "calibration_jets": len(data.calibration),
            "mean": data.mean.tolist(),
            "std": data.std.tolist(),
            "beta_score": beta,
            "recipe": asdict(zoo.recipe),
            "best_epoch": trained.best_epoch,
            "ended": ended(trained, zoo.recipe.patience_stop),
            "versions": library_versions(("torch", "numpy", "tamis")),
        },
        extra={"training.json": json.dumps(trained.history, indent=1) + "\n"},
    )


def _scores(model: torch.nn.Module, beta: float, jets: np.ndarray) -> np.ndarray:
    scored = Scored(model, beta).eval()
    with torch.inference_mode():
        pieces = [scored(torch.from_numpy(jets[i : i + 512]))[0].numpy() for i in range(0, len(jets), 512)]
    return np.concatenate(pieces)
