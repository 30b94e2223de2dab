"""The extension module that calls compiled models."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from types import ModuleType

import numpy as np

from tamis.native.build import Compiler, load_module


def load_extension(compiler: Compiler) -> ModuleType | None:
    """Return the module, built if need be; None where it cannot be."""
    return load_module(compiler, "tamis_call", _code(), (np.get_include(),))


@cache
def _code() -> str:
    told = f"/* numpy {np.__version__} */\n"  # another numpy, another module
    return told + (files("tamis.native.c") / "call.c").read_text(encoding="utf-8")
