"""Finds the models in the directories of a repository, and keeps file access within them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from tamis._base import UnsafeBundleError, UsageError
from tamis.bundle import locate

MANIFEST, CONFIG = "manifest.json", "config.pbtxt"
MAX_MANIFEST_BYTES = 10_000_000
MODEL_PATTERNS = (
    "*.onnx",
    "model.pt",
    "*/model.onnx",
    "*/model.pt",
)  # outside a version; other *.pt are checkpoints
MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+:\- ]{0,199}")
VERSION_FOLDER = re.compile(r"[1-9][0-9]{0,17}")


class ModelFormat(Enum):
    """The format of a model's folder."""

    BUNDLE = "bundle"
    TRITON = "Triton model"


@dataclass(frozen=True)
class ModelFolder:
    """A model on disk, before it is opened."""

    name: str
    folder: Path
    roots: tuple[Path, ...]  # the directories of the repository, its own last: no file outside them is read
    format: ModelFormat
    problem: str = ""  # why it cannot be opened
    sent: bool = False  # by a client, with a load request


def find_models(sources: Sequence[str | Path]) -> dict[str, ModelFolder]:
    """Return the models by name; a source is a repository, a folder of bundles, a bundle, or a shipped bundle's name."""
    models: dict[str, ModelFolder] = {}
    paths = [path if (path := Path(one)).is_dir() else locate(one) for one in sources]
    for path in paths:
        for model in _models_in(path, (*(other for other in paths if other != path), path)):
            first = models.get(model.name)
            if first is not None and first.folder.resolve() == model.folder.resolve():
                raise UsageError(f"the model {model.name!r} ({model.folder}) is named twice; name it once")
            if first is not None:
                problem = f"{first.folder} and {model.folder} have the same name {model.name!r}: rename one"
                models[model.name] = replace(first, problem=problem)
            else:
                models[model.name] = model
    strays = (file for path in paths for file in sorted(path.glob("*.onnx")))
    if not models and (file := next(strays, None)):
        target = file.parent / file.stem / "1" / "model.onnx"
        raise UsageError(
            f"{file.parent} has no folder of a model; move {file.name} to {target}, or pack it with `tamis pack`"
        )
    return models


def _models_in(path: Path, roots: tuple[Path, ...]) -> Iterator[ModelFolder]:
    if (path / MANIFEST).is_file():
        yield _bundle(path, roots)
        return
    if _is_triton(path):
        raise UsageError(
            f"{path} is a single model of a repository; give the folder that contains it: {path.resolve().parent}"
        )
    for entry in sorted(path.iterdir()):
        if entry.name.startswith(".") or not entry.is_dir():
            continue
        if not inside(entry, roots):
            yield ModelFolder(entry.name, entry, roots, ModelFormat.TRITON, _leads_out(entry, roots))
        elif (entry / MANIFEST).is_file():
            yield _bundle(entry, roots)
        elif _is_triton(entry) or _lacks_version(entry):
            problem = (
                ""
                if MODEL_NAME.fullmatch(entry.name)
                else f"{entry.name!r} is not a valid model name: rename the folder"
            )
            yield ModelFolder(entry.name, entry, roots, ModelFormat.TRITON, problem)


def confine(path: Path, roots: Sequence[Path]) -> None:
    """Raise UnsafeBundleError for a file or folder outside all of the directories."""
    if not inside(path, roots):
        raise UnsafeBundleError(_leads_out(path, roots))


def _leads_out(path: Path, roots: Sequence[Path]) -> str:
    return (
        f"{path} is a link that leads out of {roots[-1]}, to {path.resolve()}: replace it by a copy, or serve the "
        "directory of its target as well"
    )


def _is_triton(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or any(
        entry.is_dir() and VERSION_FOLDER.fullmatch(entry.name) for entry in folder.iterdir()
    )


def _lacks_version(folder: Path) -> bool:
    """Return whether a folder is empty or has a model's file, but not in a version: opening it says where the file belongs."""
    return not any(folder.iterdir()) or bool(misplaced_files(folder))


def misplaced_files(folder: Path) -> list[Path]:
    """Return the model files in a folder and one level below."""
    return [path for pattern in MODEL_PATTERNS for path in sorted(folder.glob(pattern))]


def _bundle(folder: Path, roots: tuple[Path, ...]) -> ModelFolder:
    """Return a bundle; only its name is read here, it is checked when it is opened."""
    name = folder.resolve().name.removesuffix(".tamis")
    manifest = folder / MANIFEST
    try:
        if not manifest.is_symlink() and manifest.stat().st_size <= MAX_MANIFEST_BYTES:
            content = json.loads(manifest.read_text(encoding="utf-8"))
            own = content.get("name") if isinstance(content, dict) else None
            if isinstance(own, str) and MODEL_NAME.fullmatch(own):
                name = own
    except (OSError, ValueError, RecursionError):
        pass  # opening it reports the error
    return ModelFolder(name, folder, roots, ModelFormat.BUNDLE)


def inside(path: Path, roots: Sequence[Path]) -> bool:
    """Return whether a path, with all links followed, is in one of several directories."""
    try:
        resolved = path.resolve()
        return any(resolved.is_relative_to(root.resolve()) for root in roots)
    except (OSError, RuntimeError):  # a cycle of links
        return False
