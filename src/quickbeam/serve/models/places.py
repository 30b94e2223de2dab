"""Where models lie: directories that are looked through, and nothing outside them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from quickbeam._base import UsageError
from quickbeam.bundle import locate

MANIFEST, CONFIG = "manifest.json", "config.pbtxt"
MANIFEST_BYTES_MOST = 10_000_000
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+:\- ]{0,199}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


class Kind(Enum):
    """What a folder holds."""

    BUNDLE = "bundle"
    TRITON = "Triton model"


@dataclass(frozen=True)
class Place:
    """A model as it lies on disk, before it is opened."""

    name: str
    folder: Path
    root: Path  # nothing outside it is read
    kind: Kind
    trouble: str = ""  # why it cannot be opened


def find_places(given: Sequence[str | Path]) -> dict[str, Place]:
    """Look through repositories, folders of bundles, bundles, and names of shipped bundles; return models by name."""
    found: dict[str, Place] = {}
    for one in given:
        for place in _places_in(one):
            first = found.get(place.name)
            if first is not None and first.folder != place.folder:
                trouble = (
                    f"the name {place.name!r} is that of {first.folder} and of {place.folder}: rename one"
                )
                place = replace(first, trouble=trouble)  # noqa: PLW2901 - as good as neither
            found[place.name] = place
    return found


def _places_in(given: str | Path) -> Iterator[Place]:
    path = Path(given)
    if not path.is_dir():
        path = locate(given)
    if (path / MANIFEST).is_file():
        yield _bundle(path, path)
        return
    if _is_triton(path):
        raise UsageError(
            f"{path} is one model of a repository; name the folder that holds it: {path.resolve().parent}"
        )
    for entry in sorted(path.iterdir()):
        if entry.name.startswith(".") or not entry.is_dir():
            continue
        if not inside(entry, path):
            told = f"{entry} is a link that leads out of {path}: copy the model there"
            yield Place(entry.name, entry, path, Kind.TRITON, told)
        elif (entry / MANIFEST).is_file():
            yield _bundle(entry, path)
        elif _is_triton(entry):
            trouble = (
                ""
                if NAME.fullmatch(entry.name)
                else f"{entry.name!r} is no name of a model: rename the folder"
            )
            yield Place(entry.name, entry, path, Kind.TRITON, trouble)


def _is_triton(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or any(
        entry.is_dir() and _VERSION.fullmatch(entry.name) for entry in folder.iterdir()
    )


def _bundle(folder: Path, root: Path) -> Place:
    """Read a bundle's name only; it is checked when it is opened."""
    name = folder.resolve().name.removesuffix(".qb")
    manifest = folder / MANIFEST
    try:
        if not manifest.is_symlink() and manifest.stat().st_size <= MANIFEST_BYTES_MOST:
            told = json.loads(manifest.read_text(encoding="utf-8"))
            if isinstance(told, dict) and isinstance(told.get("name"), str) and NAME.fullmatch(told["name"]):
                name = told["name"]
    except (OSError, ValueError, RecursionError):
        pass  # opening it will say what is wrong
    return Place(name, folder, root, Kind.BUNDLE)


def inside(path: Path, root: Path) -> bool:
    """Tell whether a path, with all its links followed, is in a folder."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a ring of links
        return False
