"""Extension modules in C: compiled once per Python and compiler, with the same compiler as models."""

from __future__ import annotations

import logging
import sys
import sysconfig
from collections.abc import Sequence
from functools import lru_cache
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from tamis._base import ModelError
from tamis.cbuild.cache import cached, key_of
from tamis.cbuild.toolchain import COMPILE_FLAGS, Compiler, compile_shared

_log = logging.getLogger(__name__)


@lru_cache(maxsize=16)
def load_module(
    compiler: Compiler, name: str, code: str, headers: Sequence[str] = (), *, fallback: str
) -> ModuleType | None:
    """Return an extension module, compiled if it is not cached; None if Python's headers are missing or it does not compile.

    `fallback` says what the caller does instead and what that costs, for the warning with the compiler's error.
    """
    folders = [sysconfig.get_path("include"), sysconfig.get_path("platinclude"), *headers]
    if not (Path(folders[0]) / "Python.h").is_file():
        return None
    flags = tuple(f"-I{folder}" for folder in dict.fromkeys(folders))
    key = key_of(code, compiler, COMPILE_FLAGS, flags, sys.version, sysconfig.get_config_var("SOABI"))

    def make(folder: Path) -> dict[str, object]:
        compile_shared(compiler, code, folder / f"{name}.so", flags)
        return {}

    try:
        path = cached(key, make).path / f"{name}.so"
        loader = ExtensionFileLoader(name, str(path))
        spec = spec_from_file_location(name, path, loader=loader)
        assert spec is not None  # noqa: S101 - a loader was passed
        module = module_from_spec(spec)
        loader.exec_module(module)
    except (ModelError, ImportError) as error:
        _log.warning("the extension module %s cannot be used: %s; %s", name, error, fallback)
        return None
    return module
