"""Training from files to a bundle: what `tamis train` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tamis._base import UsageError, require
from tamis.bundle import Packed, check_target
from tamis.events import Aliases, expand
from tamis.zoo.data import (
    ReadOptions,
    check_classes,
    load_by_file,
    load_by_truth,
    load_features,
    load_jets,
    load_rows,
    split_classes,
    split_jets,
    split_rows,
)
from tamis.zoo.networks import (
    AnomalyDetector,
    ArrayModel,
    Classifier,
    FeatureDetector,
    NetworkSpec,
    Recipe,
    Tagger,
    UntrainedNetwork,
    find_network,
)

if TYPE_CHECKING:
    from tamis.zoo.training.loop import AfterEpoch, Trained, TrainingLoop

Files = Sequence[str] | Mapping[str, Sequence[str]]
R = TypeVar("R", bound=Recipe)


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training; None means the default of the network's recipe, of the library, or no limit."""

    seed: int = 1
    epochs: int | None = None
    batch: int | None = None
    latent: int = 8  # size of z, of an anomaly detector
    most_rows: int | None = None  # jets, frames or events of each class, or rows of arrays
    device: str = "cpu"
    threads: int | None = None
    resume: bool = False  # from the checkpoint of an earlier run with the same options
    start: Path | None = None  # folder of the training whose weights an 8-bit network starts from
    tree: str | None = None
    aliases: Aliases | None = None
    skip_bad_files: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("epochs", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}; it must be at least 1")

    def applied_to(self, recipe: R) -> R:
        """Return the recipe with the epochs and the batch size of these options."""
        return replace(recipe, epochs=self.epochs or recipe.epochs, batch=self.batch or recipe.batch)


def train(
    model: str,
    files: Files,
    target: str | Path,
    options: TrainingOptions | None = None,
    *,
    after_epoch: AfterEpoch | None = None,
) -> Packed:
    """Train a registered network on files, and pack it.

    Classifiers take a mapping from class to files (taggers: `background` and `signal`), other networks a list of files.
    `after_epoch` gets each row of the history. Checkpoints and metrics are in `TARGET.training`.
    """
    options = options or TrainingOptions()
    network, target = find_network(model), Path(target)
    torch = require("torch", extra="torch", purpose="training")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    _check_start(network, options)
    match network:
        case Classifier():
            by_class = _by_class(network, files)
            check_target(target)
            return _train_classifier(network, by_class, target, options, after_epoch)
        case AnomalyDetector():
            paths = _list_of_files(network, files, "learns from background alone")
            check_target(target)
            return _train_detector(network, paths, target, options, after_epoch)
        case FeatureDetector():
            paths = _list_of_files(network, files, "learns from background alone")
            check_target(target)
            return _train_feature_detector(network, paths, target, options, after_epoch)
        case ArrayModel():
            paths = _list_of_files(network, files, f"learns from the array {network.target!r} of its files")
            check_target(target)
            return _train_array_model(network, paths, target, options, after_epoch)
        case UntrainedNetwork():
            from tamis.zoo.training.packing import pack_untrained

            if files:
                raise UsageError(f"{model} is not trained, its weights are random: omit the files")
            check_target(target)
            return pack_untrained(network, target, seed=options.seed)
    raise UsageError(f"{model} is a {type(network).__name__}, for which there is no training")


def _train_detector(
    detector: AnomalyDetector,
    files: Sequence[str],
    target: Path,
    options: TrainingOptions,
    after_epoch: AfterEpoch | None,
) -> Packed:
    from tamis.zoo.training.packing import pack_detector
    from tamis.zoo.training.runs import DetectorTraining

    detector = replace(detector, recipe=options.applied_to(detector.recipe))
    loaded = load_jets(
        files,
        options.most_rows,
        tree=options.tree,
        aliases=options.aliases,
        skip_bad_files=options.skip_bad_files,
    )
    data = split_jets(loaded, options.seed)
    run = DetectorTraining(
        detector, data, _folder(target), latent=options.latent, seed=options.seed, device=options.device
    )
    trained = _run(run, options, after_epoch)
    return pack_detector(
        detector,
        trained,
        data,
        target,
        latent=options.latent,
        seed=options.seed,
        files=files,
        skipped=loaded.skipped,
    )


def _train_classifier(
    classifier: Classifier,
    files: Mapping[str, Sequence[str]],
    target: Path,
    options: TrainingOptions,
    after_epoch: AfterEpoch | None,
) -> Packed:
    from tamis.zoo.training.checkpoint import load_best
    from tamis.zoo.training.packing import pack_classifier
    from tamis.zoo.training.runs import ClassifierTraining

    classifier = replace(classifier, recipe=options.applied_to(classifier.recipe))
    if classifier.starts_from and classifier.build_from and options.start:
        weights = load_best(options.start, classifier.starts_from)
        classifier = replace(classifier, build=partial(classifier.build_from, weights))
    reading = ReadOptions(options.most_rows, options.tree, options.skip_bad_files, options.aliases)
    if isinstance(classifier, Tagger):
        loaded = load_by_truth(classifier, files, reading, options.seed)
    else:
        loaded = load_by_file(classifier, files, reading)
    data = split_classes(loaded, options.seed, classifier.calibration)
    run = ClassifierTraining(classifier, data, _folder(target), seed=options.seed, device=options.device)
    trained = _run(run, options, after_epoch)
    return pack_classifier(classifier, trained, data, target, seed=options.seed, files=files)


def _train_array_model(
    model: ArrayModel,
    files: Sequence[str],
    target: Path,
    options: TrainingOptions,
    after_epoch: AfterEpoch | None,
) -> Packed:
    from tamis.zoo.training.packing import pack_array_model
    from tamis.zoo.training.runs import ArrayTraining

    model = replace(model, recipe=options.applied_to(model.recipe))
    files = expand(files)
    rows = load_rows(model, files, options.most_rows, skip_bad_files=options.skip_bad_files)
    data = split_rows(rows, options.seed, model.calibration)
    run = ArrayTraining(model, data, _folder(target), seed=options.seed, device=options.device)
    trained = _run(run, options, after_epoch)
    return pack_array_model(model, trained, data, target, seed=options.seed, files=files)


def _train_feature_detector(
    detector: FeatureDetector,
    files: Sequence[str],
    target: Path,
    options: TrainingOptions,
    after_epoch: AfterEpoch | None,
) -> Packed:
    from tamis.zoo.training.packing import pack_feature_detector
    from tamis.zoo.training.runs import ArrayTraining

    detector = replace(detector, recipe=options.applied_to(detector.recipe))
    reading = ReadOptions(options.most_rows, options.tree, options.skip_bad_files, options.aliases)
    data = split_rows(load_features(detector, files, reading), options.seed, detector.calibration)
    run = ArrayTraining(detector, data, _folder(target), seed=options.seed, device=options.device)
    trained = _run(run, options, after_epoch)
    return pack_feature_detector(detector, trained, data, target, seed=options.seed, files=files)


def _run(run: TrainingLoop, options: TrainingOptions, after_epoch: AfterEpoch | None) -> Trained:
    if options.resume:
        run.resume()
    return run.run(after_epoch)


def _folder(target: Path) -> Path:
    """Return the folder of checkpoints and metrics."""
    return target.with_name(target.name + ".training")


def _check_start(network: NetworkSpec, options: TrainingOptions) -> None:
    """Check that a training to start from is given exactly for the networks that need one."""
    needed = network.starts_from if isinstance(network, Classifier) else None
    if needed is None and options.start is not None:
        raise UsageError(f"{network.name} starts untrained: omit --from")
    if needed is not None and options.start is None:
        raise UsageError(
            f"{network.name} starts from a trained {needed}: name the folder of its training with "
            f"--from {needed}.tamis.training"
        )


def _by_class(classifier: Classifier, files: Files) -> Mapping[str, Sequence[str]]:
    """Return the files of every class, after checking that they are those of the classifier."""
    if not isinstance(files, Mapping):
        if isinstance(classifier, Tagger):
            raise UsageError(
                f"{classifier.name} distinguishes signal from background: name the signal's files with --signal FILE"
            )
        classes = ", ".join(classifier.classes)
        raise UsageError(
            f"{classifier.name} learns from classes: give --class NAME=FILE for each of {classes}"
        )
    check_classes(classifier, files)
    return files


def _list_of_files(network: NetworkSpec, files: Files, reason: str) -> Sequence[str]:
    if isinstance(files, Mapping):
        raise UsageError(f"{network.name} {reason}: omit --signal and --class")
    if not files:
        raise UsageError(f"no files to train {network.name} on: name them as FILES")
    return files
