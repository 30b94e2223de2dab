"""Bundles of trained networks: export, golden inputs, working points, facts of the training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from tamis._base import library_versions
from tamis.bundle import Packed, WorkingPoint, pack
from tamis.bundle.model import parse_model
from tamis.zoo.data.arrays import ArrayRows, ArraySplit
from tamis.zoo.data.jets import JetSplit
from tamis.zoo.data.labelled import Labelled, LabelledSplit
from tamis.zoo.networks.description import (
    AnomalyDetector,
    ArrayModel,
    Classifier,
    FeatureDetector,
    Recipe,
    UntrainedNetwork,
)
from tamis.zoo.training.export import (
    AnomalyScore,
    ClassifierScore,
    export_classifier,
    export_detector,
    export_graph,
)
from tamis.zoo.training.loop import Trained, describe_end
from tamis.zoo.training.thresholds import background_points, class_points

DETECTOR_BACKGROUND_EFFICIENCIES = (1e-2, 1e-3)
DETECTOR_GOLDEN_JETS = 256
EXAMPLES_MAX = 64  # golden rows, fewer where they would dominate the size of the bundle
CLASSIFIER_EXAMPLE_BYTES, ARRAY_EXAMPLE_BYTES = 700_000, 400_000
ROWS_PER_CALL, JETS_PER_CALL = 256, 512
UNTRAINED_EXAMPLES = 4
PIXEL_OCCUPANCY = 0.003  # fraction of pixels that are not zero, as in an image of a jet
UNTRAINED_CARD = """# Model card: {name}

{description}.

**Untrained.** Its weights are random numbers of the seed {seed}. It has the layers, parameters and operations of the
published network, with one output, so that time, memory and throughput can be measured; it cannot distinguish anything.
`top-resnet` is a small residual network that was trained.
"""


def pack_detector(
    detector: AnomalyDetector,
    trained: Trained,
    data: JetSplit,
    target: Path,
    *,
    latent: int,
    seed: int,
    files: Sequence[str],
    skipped: Sequence[str] = (),
) -> Packed:
    """Pack a trained detector; calibration jets, used for nothing else, set the thresholds."""
    beta = detector.recipe.beta / detector.recipe.weight  # the score has the balance of the loss
    scored = AnomalyScore(trained.model, beta).eval()
    with torch.inference_mode():
        scores = np.concatenate(
            [
                scored(torch.from_numpy(data.calibration[i : i + JETS_PER_CALL]))[0].numpy()
                for i in range(0, len(data.calibration), JETS_PER_CALL)
            ]
        )
    return pack(
        parse_model(export_detector(trained.model, beta), detector.name),
        target,
        name=detector.name,
        inputs={"jets": data.calibration[:DETECTOR_GOLDEN_JETS]},
        score="score",
        description=detector.description,
        features={"jets": "leading_jets"},
        units={"jets": "eta, phi relative to the jet axis; pT in GeV"},
        working_points=background_points(scores, DETECTOR_BACKGROUND_EFFICIENCIES, "jets"),
        training={
            "model": detector.name,
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
            **_outcome(trained, detector.recipe),
        },
        extra=_history(trained),
    )


def pack_classifier(
    classifier: Classifier,
    trained: Trained,
    data: LabelledSplit,
    target: Path,
    *,
    seed: int,
    files: Mapping[str, Sequence[str]],
) -> Packed:
    """Pack a trained classifier; calibration rows, used for nothing else, set the thresholds."""
    held = data.calibration
    golden = _examples_of_all_classes(held)
    scores = classifier_scores(trained.model, held)
    if classifier.background_efficiencies:
        background = scores[held.label == 0]
        points = background_points(background, classifier.background_efficiencies, classifier.rows)
    else:
        points = class_points(classifier.classes, scores, held.label)
    counts = {
        part: dict(zip(classifier.classes, np.bincount(rows.label).tolist(), strict=True))
        for part, rows in (("training", data.train), ("validation", data.validation), ("calibration", held))
    }
    facts = {
        "model": classifier.name,
        "classes": classifier.classes,
        "seed": seed,
        "files": list(dict.fromkeys(Path(name).name for names in files.values() for name in names)),
        **({"skipped_files": held.skipped} if held.skipped else {}),
        **held.facts,
        "rows": classifier.rows,
        **{f"{part}_rows": rows for part, rows in counts.items()},
        **_outcome(trained, classifier.recipe),
    }
    return pack(
        parse_model(export_classifier(trained.model, golden), classifier.name),
        target,
        name=classifier.name,
        inputs=golden,
        score="score",
        description=classifier.description,
        features=classifier.features,
        units=classifier.units,
        working_points=points,
        training=json.loads(json.dumps(facts)),
        extra=_history(trained),
    )


def pack_array_model(
    model: ArrayModel,
    trained: Trained,
    data: ArraySplit,
    target: Path,
    *,
    seed: int,
    files: Sequence[str],
) -> Packed:
    """Pack a trained model of arrays with validation rows as golden inputs; calibration rows set the thresholds."""
    train, validation = data.train, data.validation
    row_bytes = sum(values[:1].nbytes for values in validation.inputs.values())
    count = max(4, min(EXAMPLES_MAX, ARRAY_EXAMPLE_BYTES // row_bytes))
    golden = {name: values[:count] for name, values in validation.inputs.items()}
    example = {name: torch.from_numpy(values[:2]) for name, values in golden.items()}
    facts = {
        "model": model.name,
        "task": model.task,
        "sample": model.sample,
        "target": model.target,
        "baselines": model.baselines,
        **({"classes": model.classes} if model.classes else {}),
        "seed": seed,
        "files": [Path(file).name for file in files],
        **({"skipped_files": train.skipped} if train.skipped else {}),
        "rows": model.rows,
        "training_rows": len(train),
        "validation_rows": len(validation),
        **({"calibration_rows": len(data.calibration)} if model.calibration else {}),
        **({"background": model.background} if model.background else {}),
        **_outcome(trained, model.recipe),
    }
    return pack(
        parse_model(export_graph(trained.model.eval(), example, model.outputs), model.name),
        target,
        name=model.name,
        inputs=golden,
        score=model.score,
        description=model.description,
        units=dict(model.inputs),
        working_points=_array_points(model, trained, data.calibration),
        rewrites=model.rewrites,
        training=json.loads(json.dumps(facts)),
        extra=_history(trained),
    )


def pack_feature_detector(
    detector: FeatureDetector,
    trained: Trained,
    data: ArraySplit,
    target: Path,
    *,
    seed: int,
    files: Sequence[str],
) -> Packed:
    """Pack a trained detector on features of events; calibration rows, used for nothing else, set the thresholds."""
    held = data.calibration
    golden = {name: values[:EXAMPLES_MAX] for name, values in held.inputs.items()}
    example = {name: torch.from_numpy(values[:2]) for name, values in golden.items()}
    facts = {
        "model": detector.name,
        "seed": seed,
        "files": [Path(file).name for file in files],
        **({"skipped_files": held.skipped} if held.skipped else {}),
        "rows": detector.rows,
        "training_rows": len(data.train),
        "validation_rows": len(data.validation),
        "calibration_rows": len(held),
        **_outcome(trained, detector.recipe),
    }
    return pack(
        parse_model(export_graph(trained.model.eval(), example, detector.outputs), detector.name),
        target,
        name=detector.name,
        inputs=golden,
        score="score",
        description=detector.description,
        features=detector.features,
        units=detector.units,
        working_points=background_points(
            _scores(trained.model, held, detector.outputs.index("score")),
            detector.background_efficiencies,
            f"calibration {detector.rows}",
        ),
        rewrites=detector.rewrites,
        training=json.loads(json.dumps(facts)),
        extra=_history(trained),
    )


def _array_points(model: ArrayModel, trained: Trained, held: ArrayRows) -> list[WorkingPoint]:
    """Return a threshold for each background efficiency of the model."""
    if not model.background_efficiencies:
        return []
    numbers = [model.classes.index(name) for name in model.background]
    background = held.take(np.flatnonzero(np.isin(held.target, numbers)))
    scores = _scores(trained.model, background, model.outputs.index(str(model.score)))
    what = f"{model.rows} of {' and '.join(model.background)}"
    return background_points(scores, model.background_efficiencies, what)


def _scores(model: torch.nn.Module, rows: ArrayRows, output: int) -> np.ndarray:
    """Return one output of a model for every row."""
    pieces = []
    with torch.inference_mode():
        for start in range(0, len(rows), ROWS_PER_CALL):
            found = model(*(torch.from_numpy(v[start : start + ROWS_PER_CALL]) for v in rows.inputs.values()))
            pieces.append((found[output] if isinstance(found, tuple) else found).numpy())
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def pack_untrained(network: UntrainedNetwork, target: Path, *, seed: int = 1) -> Packed:
    """Pack a network with random weights, and say on its card that it is untrained."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    shape = (UNTRAINED_EXAMPLES, *network.shape)
    frames = rng.exponential(20.0, shape) * (rng.random(shape) < PIXEL_OCCUPANCY)
    inputs = {"frames": frames.astype(np.float32)}
    card = UNTRAINED_CARD.format(name=network.name, description=network.description, seed=seed)
    return pack(
        parse_model(export_classifier(network.build(), inputs), network.name),
        target,
        name=network.name,
        inputs=inputs,
        score="score",
        description=network.description,
        units={"frames": "GeV"},
        training={"model": network.name, "seed": seed, "trained": False},
        extra={"CARD.md": card},
    )


def classifier_scores(model: torch.nn.Module, rows: Labelled) -> np.ndarray:
    """Return the score of every row."""
    scored = ClassifierScore(model).eval()
    pieces = []
    with torch.inference_mode():
        for start in range(0, len(rows), ROWS_PER_CALL):
            indices = np.arange(start, min(start + ROWS_PER_CALL, len(rows)))
            inputs = (torch.from_numpy(store[indices]) for store in rows.inputs.values())
            pieces.append(scored(*inputs)[0].numpy())
    return np.concatenate(pieces)


def _outcome(trained: Trained, recipe: Recipe) -> dict[str, object]:
    """Return the facts of the manifest that all trainings have in common."""
    return {
        "recipe": asdict(recipe),
        "best_epoch": trained.best_epoch,
        "ended": describe_end(trained, recipe.patience_stop),
        "versions": library_versions(("torch", "numpy", "tamis")),
    }


def _history(trained: Trained) -> dict[str, str]:
    return {"training.json": json.dumps(trained.history, indent=1) + "\n"}


def _examples_of_all_classes(rows: Labelled) -> dict[str, np.ndarray]:
    """Return rows of the classes in turn, few if rows are large."""
    row_bytes = sum(store[np.arange(1)].nbytes for store in rows.inputs.values())
    count = max(1, min(EXAMPLES_MAX, CLASSIFIER_EXAMPLE_BYTES // row_bytes))
    rank = np.empty(len(rows), np.int64)
    for number in np.unique(rows.label):
        members = np.flatnonzero(rows.label == number)
        rank[members] = np.arange(len(members))
    chosen = np.lexsort((-rows.label, rank))[:count]  # signal first, in case of a single row
    return {name: store[chosen] for name, store in rows.inputs.items()}
