"""The extension module that calls compiled models: built once per Python, numpy and compiler, by the same compiler."""

from __future__ import annotations

import sys
import sysconfig
from functools import lru_cache
from importlib.machinery import ExtensionFileLoader
from importlib.resources import files
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np

from quickbeam._base import ModelError
from quickbeam.native.build import Compiler, cached, compile_shared, key_of

NAME = "quickbeam_call"


@lru_cache(maxsize=4)
def load_extension(compiler: Compiler) -> ModuleType | None:
    """Return the module, built if need be; None where this Python has no headers, or the compiler cannot use them."""
    folders = [sysconfig.get_path("include"), sysconfig.get_path("platinclude"), np.get_include()]
    if not (Path(folders[0]) / "Python.h").is_file():
        return None
    code = (files("quickbeam.native.c") / "call.c").read_text(encoding="utf-8")
    flags = tuple(f"-I{folder}" for folder in dict.fromkeys(folders))
    key = key_of(code, compiler, flags, sys.version, np.__version__, sysconfig.get_config_var("SOABI"))

    def make(folder: Path) -> dict[str, object]:
        compile_shared(compiler, code, folder / f"{NAME}.so", flags)
        return {}

    try:
        return _import(cached(key, make).path / f"{NAME}.so")
    except (ModelError, ImportError):
        return None


def _import(path: Path) -> ModuleType:
    loader = ExtensionFileLoader(NAME, str(path))
    spec = spec_from_file_location(NAME, path, loader=loader)
    assert spec is not None  # noqa: S101 - a loader was given
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module
