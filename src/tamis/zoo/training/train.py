"""Training from files to a bundle: what `tamis train` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tamis._base import UsageError, did_you_mean, require
from tamis.bundle import Packed, check_target
from tamis.zoo.networks.array_models import ARRAY_MODELS
from tamis.zoo.networks.classifiers import CLASSIFIERS, QUANTISED, TAGGERS, Classifier, Reading, Tagger
from tamis.zoo.networks.models import MODELS
from tamis.zoo.networks.recipe import with_numbers


def train(
    model: str,
    files: Sequence[str],
    target: str | Path,
    *,
    signal: Sequence[str] = (),
    latent: int = 8,
    seed: int = 1,
    epochs: int | None = None,
    batch: int | None = None,
    device: str = "cpu",
    threads: int | None = None,
    most_jets: int | None = None,
    resume: bool = False,
    tree: str | None = None,
    skip_bad_files: bool = False,
    start: str | Path | None = None,
    after_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Packed:
    """Train a detector on background, or a tagger on background and signal, and pack it.

    The run's state lives in `TARGET.training` until it is done.
    """
    _check(model, signal)
    shared: dict[str, Any] = {
        "seed": seed,
        "epochs": epochs,
        "batch": batch,
        "device": device,
        "threads": threads,
        "resume": resume,
        "skip_bad_files": skip_bad_files,
        "after_epoch": after_epoch,
    }
    if model in ARRAY_MODELS:
        return train_on_arrays(model, files, target, most_rows=most_jets, **shared)
    if model in MODELS:
        return _train_detector(model, files, target, latent=latent, most_jets=most_jets, tree=tree, **shared)
    kinds = {"background": files, "signal": signal}
    return train_classifier(model, kinds, target, most_rows=most_jets, tree=tree, start=start, **shared)


def _train_detector(
    model: str,
    files: Sequence[str],
    target: str | Path,
    *,
    latent: int = 8,
    seed: int = 1,
    epochs: int | None = None,
    batch: int | None = None,
    device: str = "cpu",
    threads: int | None = None,
    most_jets: int | None = None,
    resume: bool = False,
    tree: str | None = None,
    skip_bad_files: bool = False,
    after_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Packed:
    """Train a reference detector on background and pack it."""
    folder = _prepare(target, threads)
    from tamis.zoo.data.jets import load_jets, split
    from tamis.zoo.training.packing import pack_trained
    from tamis.zoo.training.runs import Training

    zoo = MODELS[model]
    zoo = replace(zoo, recipe=with_numbers(zoo.recipe, epochs, batch))
    loaded = load_jets(files, most_jets, tree=tree, skip_bad_files=skip_bad_files)
    data = split(loaded, seed)
    run = Training(zoo, data, folder, latent=latent, seed=seed, device=device)
    if resume:
        run.resume()
    trained = run.run(after_epoch)
    return pack_trained(
        zoo, trained, data, Path(target), latent=latent, seed=seed, files=files, skipped=loaded.skipped
    )


def train_classifier(
    model: str,
    files: Mapping[str, Sequence[str]],
    target: str | Path,
    *,
    seed: int = 1,
    epochs: int | None = None,
    batch: int | None = None,
    device: str = "cpu",
    threads: int | None = None,
    most_rows: int | None = None,
    resume: bool = False,
    tree: str | None = None,
    skip_bad_files: bool = False,
    start: str | Path | None = None,
    after_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Packed:
    """Train a reference classifier on the event files of each class and pack it; at most `most_rows` of a class.

    One that takes a trained network over needs `start`, the folder of that network's training.
    """
    if model not in CLASSIFIERS:
        known = did_you_mean(model, CLASSIFIERS)
        raise UsageError(f"no classifier is called {model!r}; {known}".rstrip("; "))
    folder = _prepare(target, threads)
    from tamis.zoo.data.labelled import check_classes, load_by_file, split_classes
    from tamis.zoo.data.truth_frames import load_by_truth
    from tamis.zoo.training.classified import pack_classifier
    from tamis.zoo.training.supervised import SupervisedTraining

    classifier = CLASSIFIERS[model]
    classifier = replace(classifier, recipe=with_numbers(classifier.recipe, epochs, batch))
    check_classes(classifier, files)
    classifier = _taking_over(classifier, start)
    reading = Reading(most_rows, tree, skip_bad_files)
    if isinstance(classifier, Tagger):
        loaded = load_by_truth(classifier, files, reading, seed)
    else:
        loaded = load_by_file(classifier, files, reading)
    data = split_classes(loaded, seed, classifier.calibration)
    run = SupervisedTraining(classifier, data, folder, seed=seed, device=device)
    if resume:
        run.resume()
    trained = run.run(after_epoch)
    return pack_classifier(classifier, trained, data, Path(target), seed=seed, files=files)


def train_on_arrays(
    model: str,
    files: Sequence[str],
    target: str | Path,
    *,
    seed: int = 1,
    epochs: int | None = None,
    batch: int | None = None,
    device: str = "cpu",
    threads: int | None = None,
    most_rows: int | None = None,
    resume: bool = False,
    skip_bad_files: bool = False,
    after_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Packed:
    """Train a reference model on the arrays of HDF5 or NumPy files and pack it; at most `most_rows` of them."""
    if model not in ARRAY_MODELS:
        known = did_you_mean(model, ARRAY_MODELS)
        raise UsageError(f"no model of arrays is called {model!r}; {known}".rstrip("; "))
    folder = _prepare(target, threads)
    from tamis.zoo.data.arrays import load_rows, split_rows
    from tamis.zoo.training.array_training import ArrayTraining, pack_array_model

    chosen = ARRAY_MODELS[model]
    chosen = replace(chosen, recipe=with_numbers(chosen.recipe, epochs, batch))
    data = split_rows(load_rows(chosen, files, most_rows, skip_bad_files=skip_bad_files), seed)
    run = ArrayTraining(chosen, data, folder, seed=seed, device=device)
    if resume:
        run.resume()
    trained = run.run(after_epoch)
    return pack_array_model(chosen, trained, data, Path(target), seed=seed, files=files)


def _taking_over(classifier: Classifier, start: str | Path | None) -> Classifier:
    """Return the classifier with a network that begins as a trained one, where it has to."""
    if classifier.begins_with is None:
        if start is not None:
            raise UsageError(f"{classifier.name} begins untrained: leave --from away")
        return classifier
    if start is None:
        raise UsageError(
            f"{classifier.name} takes a trained {classifier.begins_with} over: name the folder of its training with "
            f"--from {classifier.begins_with}.tamis.training"
        )
    from tamis.zoo.training.taking_over import quantised

    return replace(classifier, build=quantised(classifier.begins_with, Path(start)))


def _prepare(target: str | Path, threads: int | None) -> Path:
    """See that there is torch and that the target may be written; return the folder of the run's state."""
    torch = require("torch", extra="torch", purpose="training")
    if threads is not None:
        torch.set_num_threads(threads)
    target = Path(target)
    check_target(target)
    return target.with_name(target.name + ".training")


def _check(model: str, signal: Sequence[str]) -> None:
    known = (*MODELS, *CLASSIFIERS, *ARRAY_MODELS)
    if model not in known:
        raise UsageError(f"no reference model is called {model!r}; {did_you_mean(model, known)}".rstrip("; "))
    if model in MODELS and signal:
        raise UsageError(f"{model} learns from background alone: leave --signal away")
    if model in ARRAY_MODELS and signal:
        raise UsageError(f"{model} learns from arrays that hold what is right: leave --signal away")
    if (model in TAGGERS or model in QUANTISED) and not signal:
        raise UsageError(f"{model} tells signal from background: name the signal's files with --signal FILE")
    if model in CLASSIFIERS and not (model in TAGGERS or model in QUANTISED):
        classes = ", ".join(CLASSIFIERS[model].classes)
        raise UsageError(f"{model} learns from classes: give --class NAME=FILE for each of {classes}")
