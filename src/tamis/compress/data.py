"""The rows on which a model is compressed: events through the parent's features, or arrays by the names of its inputs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from tamis._base import DataError, UsageError, did_you_mean
from tamis.bundle import Bundle, Input
from tamis.compress.quality import Labels
from tamis.events import Aliases, expand, holds_arrays, open_arrays
from tamis.features import Feature, feature_of
from tamis.zoo.data import load_arrays
from tamis.zoo.data.class_rows import ReadOptions, RowSelection, read_class

ROWS_MIN = 100
HELD_FRACTION = 0.15  # of the rows each, to choose a model and to judge it


class RowOptions(Protocol):
    """Which rows are read: the options that every way of compressing has."""

    @property
    def most_rows(self) -> int | None:
        """Of each class; None: all."""
        ...

    @property
    def label(self) -> str | None:
        """The array of class numbers."""
        ...

    @property
    def tree(self) -> str | None:
        """The tree of events in ROOT files."""
        ...

    @property
    def aliases(self) -> Aliases | None:
        """Names of columns in the files."""
        ...

    @property
    def skip_bad_files(self) -> bool:
        """Whether files that cannot be read are left out."""
        ...


@dataclass(frozen=True)
class CompressionRows:
    """Inputs by name, with the classes of the rows where they are known, and the running number of each row's event."""

    inputs: dict[str, np.ndarray]
    labels: Labels | None
    event: np.ndarray
    files: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.event)

    def take(self, rows: np.ndarray) -> CompressionRows:
        """Return some rows."""
        labels = None if self.labels is None else self.labels.take(rows)
        inputs = {name: values[rows] for name, values in self.inputs.items()}
        return CompressionRows(inputs, labels, self.event[rows], self.files, self.skipped)

    def split(self, seed: int) -> tuple[CompressionRows, CompressionRows, CompressionRows]:
        """Split by event into rows for training, for the choice among models, and for the final judgement."""
        events, event_of_row = np.unique(self.event, return_inverse=True)
        place = np.random.default_rng((seed, 0)).permutation(len(events))[event_of_row] / len(events)
        held = (place < HELD_FRACTION, (place >= HELD_FRACTION) & (place < 2 * HELD_FRACTION))
        train, validation, test = (
            self.take(np.flatnonzero(chosen)) for chosen in (place >= 2 * HELD_FRACTION, *held)
        )
        return train, validation, test


def read_rows(
    bundle: Bundle,
    data: Sequence[str],
    classes: Mapping[str, Sequence[str]],
    options: RowOptions,
) -> CompressionRows:
    """Read the inputs of a bundle from files of events or arrays, or from files of each class."""
    reading = ReadOptions(options.most_rows, options.tree, options.skip_bad_files, options.aliases)
    if bool(data) == bool(classes):
        raise UsageError(
            "give the rows to compress on either as --data FILE or by class as --class NAME=FILE"
        )
    if classes:
        names = _class_names(bundle, list(classes))
        parts = [_read(bundle, _files(classes[name]), reading, None) for name in names]
        joined = _joined(parts)
        numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        rows = CompressionRows(
            joined.inputs,
            Labels(numbers, tuple(names), _background(bundle, names)),
            joined.event,
            joined.files,
            joined.skipped,
        )
    else:
        rows = _read(bundle, _files(data), reading, options.label)
    if len(rows) < ROWS_MIN:
        reasons = "".join(f"; {reason}" for reason in rows.skipped)
        raise DataError(
            f"{len(rows)} rows are too few to compress {bundle.name} on; give at least {ROWS_MIN}{reasons}"
        )
    return rows


def _files(paths: Sequence[str]) -> list[str]:
    """Return the files of paths, globs and folders."""
    found = []
    for path in paths:
        if Path(path).is_dir():
            inside = sorted(
                str(one) for one in Path(path).iterdir() if one.is_file() and not one.name.startswith(".")
            )
            if not inside:
                raise DataError(f"the folder {path} holds no files to read")
            found += inside
        else:
            found += expand([path])
    return found


def _read(bundle: Bundle, files: list[str], options: ReadOptions, label: str | None) -> CompressionRows:
    if holds_arrays(files):
        return _read_arrays(bundle, files, options, label)
    if label is not None:
        raise UsageError(
            "--label names an array of labels; give events by class instead, as --class NAME=FILE"
        )
    features = {spec.name: _feature(bundle, spec) for spec in bundle.manifest.signature.inputs}
    found = read_class(features, files, RowSelection(bundle.name), options)
    inputs = {name: found.inputs[name][np.arange(len(found))] for name in features}
    return CompressionRows(inputs, None, found.event, found.files, found.skipped)


def _feature(bundle: Bundle, spec: Input) -> Feature:
    feature = feature_of(spec)
    if feature is None:
        raise UsageError(
            f"the bundle {bundle.name} declares no feature for its input {spec}, so events cannot be read: give arrays (.npz, .h5) "
            "named after its inputs"
        )
    return feature


def _read_arrays(
    bundle: Bundle, files: list[str], options: ReadOptions, label: str | None
) -> CompressionRows:
    specs = bundle.manifest.signature.inputs
    with contextlib.closing(open_arrays(files[0])) as held:
        shapes = {name: tuple(dataset.shape) for name, dataset in held.datasets.items()}
    names = list(shapes)
    aliases = {
        spec.name: spec.name if spec.name in names or len(specs) > 1 else options.tree or spec.name
        for spec in specs
    }
    if len(specs) == 1 and aliases[specs[0].name] not in names:
        fitting = [name for name in names if shapes[name][1:] == tuple(specs[0].shape[1:])]
        if len(fitting) != 1:
            hint = did_you_mean(specs[0].name, names)
            raise DataError(
                f"{files[0]} has no array {specs[0].name!r} for the input of {bundle.name}; {hint}".rstrip(
                    "; "
                )
            )
        aliases[specs[0].name] = fitting[0]
    training = bundle.manifest.training
    target = label or str(training.get("target", ""))
    labelled = target in names and (label is not None or training.get("task") == "classes")
    if label is not None and label not in names:
        raise DataError(
            f"{files[0]} has no array {label!r} of labels; {did_you_mean(label, names)}".rstrip("; ")
        )
    wanted = [*aliases.values(), *([target] if labelled else [])]
    arrays, skipped = load_arrays(files, wanted, options.most, skip_bad_files=options.skip_bad_files)
    inputs = {
        name: arrays[alias].astype(spec.dtype)
        for (name, alias), spec in zip(aliases.items(), specs, strict=True)
    }
    labels = None
    if labelled:
        number = arrays[target].reshape(-1).astype(np.int64)
        listed = training.get("classes")
        classes = [str(one) for one in listed] if isinstance(listed, list) else []
        classes = classes or [str(one) for one in range(int(number.max()) + 1)]
        labels = Labels(number, tuple(classes), _background(bundle, classes))
    rows = len(next(iter(inputs.values())))
    return CompressionRows(inputs, labels, np.arange(rows), tuple(files), skipped)


def _class_names(bundle: Bundle, given: list[str]) -> list[str]:
    """Return the classes in the order of the parent's probabilities."""
    listed = bundle.manifest.training.get("classes")
    if not isinstance(listed, list):
        return given
    known = [str(one) for one in listed]
    for name in given:
        if name not in known:
            raise UsageError(f"{bundle.name} has no class {name!r}; {did_you_mean(name, known)}".rstrip("; "))
    missing = [name for name in known if name not in given]
    if missing:
        raise UsageError(
            f"{bundle.name} distinguishes {', '.join(known)}; give --class {missing[0]}=FILE as well"
        )
    return known


def _background(bundle: Bundle, classes: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of the classes that the score rejects: those that the training names, else the first."""
    listed = bundle.manifest.training.get("background")
    names = [str(one) for one in listed] if isinstance(listed, list) else []
    return tuple(classes.index(name) for name in names if name in classes) or (0,)


def _joined(parts: Sequence[CompressionRows]) -> CompressionRows:
    starts = np.cumsum([0, *(int(part.event.max(initial=-1)) + 1 for part in parts)])
    return CompressionRows(
        {name: np.concatenate([part.inputs[name] for part in parts]) for name in parts[0].inputs},
        None,
        np.concatenate([part.event + start for part, start in zip(parts, starts, strict=False)]),
        tuple(file for part in parts for file in part.files),
        tuple(reason for part in parts for reason in part.skipped),
    )
