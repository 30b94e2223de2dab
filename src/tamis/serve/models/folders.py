"""Where models lie: directories that are looked through, and nothing outside them."""

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
MANIFEST_BYTES_MOST = 10_000_000
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+:\- ]{0,199}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


class ModelFormat(Enum):
    """What a folder holds."""

    BUNDLE = "bundle"
    TRITON = "Triton model"


@dataclass(frozen=True)
class ModelFolder:
    """A model as it lies on disk, before it is opened."""

    name: str
    folder: Path
    roots: tuple[Path, ...]  # all directories that were given, its own the last: nothing outside them is read
    kind: ModelFormat
    trouble: str = ""  # why it cannot be opened


def find_models(given: Sequence[str | Path]) -> dict[str, ModelFolder]:
    """Look through repositories, folders of bundles, bundles, and names of shipped bundles; return models by name."""
    found: dict[str, ModelFolder] = {}
    paths = [path if (path := Path(one)).is_dir() else locate(one) for one in given]
    for path in paths:
        for place in _places_in(path, (*(other for other in paths if other != path), path)):
            first = found.get(place.name)
            if first is not None and first.folder != place.folder:
                trouble = (
                    f"the name {place.name!r} is that of {first.folder} and of {place.folder}: rename one"
                )
                place = replace(first, trouble=trouble)  # noqa: PLW2901 - as good as neither
            found[place.name] = place
    return found


def _places_in(path: Path, roots: tuple[Path, ...]) -> Iterator[ModelFolder]:
    if (path / MANIFEST).is_file():
        yield _bundle(path, roots)
        return
    if _is_triton(path):
        raise UsageError(
            f"{path} is one model of a repository; name the folder that holds it: {path.resolve().parent}"
        )
    for entry in sorted(path.iterdir()):
        if entry.name.startswith(".") or not entry.is_dir():
            continue
        if not inside(entry, roots):
            yield ModelFolder(entry.name, entry, roots, ModelFormat.TRITON, _leads_out(entry, roots))
        elif (entry / MANIFEST).is_file():
            yield _bundle(entry, roots)
        elif _is_triton(entry):
            trouble = (
                ""
                if NAME.fullmatch(entry.name)
                else f"{entry.name!r} is no name of a model: rename the folder"
            )
            yield ModelFolder(entry.name, entry, roots, ModelFormat.TRITON, trouble)


def confine(path: Path, roots: Sequence[Path]) -> None:
    """Refuse a file or folder that lies outside all of the directories that were given."""
    if not inside(path, roots):
        raise UnsafeBundleError(_leads_out(path, roots))


def _leads_out(path: Path, roots: Sequence[Path]) -> str:
    return (
        f"{path} is a link that leads out of {roots[-1]}, to {path.resolve()}: copy the file there, or name the "
        "directory that it leads to as well"
    )


def _is_triton(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or any(
        entry.is_dir() and _VERSION.fullmatch(entry.name) for entry in folder.iterdir()
    )


def _bundle(folder: Path, roots: tuple[Path, ...]) -> ModelFolder:
    """Read a bundle's name only; it is checked when it is opened."""
    name = folder.resolve().name.removesuffix(".tamis")
    manifest = folder / MANIFEST
    try:
        if not manifest.is_symlink() and manifest.stat().st_size <= MANIFEST_BYTES_MOST:
            told = json.loads(manifest.read_text(encoding="utf-8"))
            if isinstance(told, dict) and isinstance(told.get("name"), str) and NAME.fullmatch(told["name"]):
                name = told["name"]
    except (OSError, ValueError, RecursionError):
        pass  # opening it will say what is wrong
    return ModelFolder(name, folder, roots, ModelFormat.BUNDLE)


def inside(path: Path, roots: Sequence[Path]) -> bool:
    """Tell whether a path, with all its links followed, is in one of several directories."""
    try:
        whole = path.resolve()
        return any(whole.is_relative_to(root.resolve()) for root in roots)
    except (OSError, RuntimeError):  # a ring of links
        return False
