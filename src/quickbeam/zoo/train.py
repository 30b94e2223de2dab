"""Training from files to a bundle: what `quickbeam train` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from quickbeam._base import UsageError, did_you_mean, require
from quickbeam.bundle import Packed, check_target
from quickbeam.zoo.classifiers import CLASSIFIERS, with_numbers
from quickbeam.zoo.models import MODELS
from quickbeam.zoo.taggers import TAGGERS, Reading


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
    after_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Packed:
    """Train a reference model on event files and pack it; the run's state lives in `TARGET.training` until it is done."""
    _check(model, signal)
    torch = require("torch", extra="torch", purpose="training")
    from quickbeam.zoo.dataset import load_jets, split
    from quickbeam.zoo.packing import pack_trained
    from quickbeam.zoo.train_tagger import train_tagger
    from quickbeam.zoo.training import Training, with_epochs

    if threads is not None:
        torch.set_num_threads(threads)
    target = Path(target)
    check_target(target)
    if model in TAGGERS:
        tagger = TAGGERS[model].with_recipe(epochs, batch)
        reading = Reading(most_jets, tree, skip_bad_files)
        return train_tagger(
            tagger, files, signal, target, seed=seed, reading=reading, resume=resume, after_epoch=after_epoch
        )
    zoo = with_epochs(MODELS[model], epochs, batch)
    loaded = load_jets(files, most_jets, tree=tree, skip_bad_files=skip_bad_files)
    data = split(loaded, seed)
    folder = target.with_name(target.name + ".training")
    run = Training(zoo, data, folder, latent=latent, seed=seed, device=device)
    if resume:
        run.resume()
    trained = run.run(after_epoch)
    return pack_trained(
        zoo, trained, data, target, latent=latent, seed=seed, files=files, skipped=loaded.skipped
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
    after_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Packed:
    """Train a reference classifier on the event files of each class and pack it; at most `most_rows` of a class."""
    if model not in CLASSIFIERS:
        known = did_you_mean(model, CLASSIFIERS)
        raise UsageError(f"no classifier is called {model!r}; {known}".rstrip("; "))
    torch = require("torch", extra="torch", purpose="training")
    from quickbeam.zoo.classified import pack_classifier
    from quickbeam.zoo.labelled import check_classes, load_classes, split_classes
    from quickbeam.zoo.supervised import SupervisedTraining

    if threads is not None:
        torch.set_num_threads(threads)
    target = Path(target)
    check_target(target)
    classifier = with_numbers(CLASSIFIERS[model], epochs, batch)
    check_classes(classifier, files)
    loaded = load_classes(classifier, files, most_rows, tree=tree, skip_bad_files=skip_bad_files)
    data = split_classes(loaded, seed)
    folder = target.with_name(target.name + ".training")
    run = SupervisedTraining(classifier, data, folder, seed=seed, device=device)
    if resume:
        run.resume()
    trained = run.run(after_epoch)
    return pack_classifier(classifier, trained, data, target, seed=seed, files=files, skipped=loaded.skipped)


def _check(model: str, signal: Sequence[str]) -> None:
    if model in CLASSIFIERS:
        raise UsageError(
            f"{model} learns from classes: give --class NAME=FILE for each of {', '.join(CLASSIFIERS[model].classes)}"
        )
    if model not in MODELS and model not in TAGGERS:
        known = (*MODELS, *TAGGERS, *CLASSIFIERS)
        raise UsageError(f"no reference model is called {model!r}; {did_you_mean(model, known)}".rstrip("; "))
    if model in MODELS and signal:
        raise UsageError(f"{model} learns from background alone: leave --signal away")
    if model in TAGGERS and not signal:
        raise UsageError(f"{model} tells signal from background: name the signal's files with --signal FILE")
