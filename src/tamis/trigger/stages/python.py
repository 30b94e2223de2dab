"""Stages written by the user, imported from `module:name` or `file.py:name`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from tamis._base import UsageError, did_you_mean
from tamis.trigger.stages.stage import Stage, UserStage, user_stage


def python_stage(name: str, where: str, folder: Path) -> Stage:
    """Import the stage at `where`, which may be in a file or module beside the menu."""
    place, mark, attribute = where.rpartition(":")
    if not mark or not place or not attribute:
        raise UsageError(
            f"the stage {name} has python: {where!r}; it must be module:function or file.py:function"
        )
    if place.endswith(".py"):
        module = _file(folder / place, name)
    else:
        sys.path.insert(0, str(folder))
        try:
            with _importing(name, place):
                module = importlib.import_module(place)
        finally:
            sys.path.remove(str(folder))
    function = getattr(module, attribute, None)
    if not isinstance(function, UserStage):
        known = [key for key, value in vars(module).items() if isinstance(value, UserStage)]
        problem = f"no stage {attribute!r}" if function is None else f"{attribute!r}, but without @stage"
        raise UsageError(
            f"the stage {name}: {place} has {problem}; {did_you_mean(attribute, known)}".rstrip("; ")
        )
    return user_stage(name, function)


def _file(path: Path, name: str) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"the stage {name}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"tamis_stages_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"the stage {name}: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    with _importing(name, str(path)):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _importing(name: str, place: str) -> Iterator[None]:
    """Turn any exception of a user's file into an error that names the stage."""
    try:
        yield
    except Exception as error:
        raise UsageError(
            f"the stage {name}: {place} cannot be imported: {type(error).__name__}: {error}"
        ) from error
