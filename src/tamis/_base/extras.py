"""Optional libraries: found when they are needed, or told with the line that installs them."""

from __future__ import annotations

import importlib
from types import ModuleType

from tamis._base.errors import MissingExtraError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional library, or say what it is for and how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        root = module.split(".", maxsplit=1)[0]
        reason = (
            "is not installed" if getattr(error, "name", None) == root else f"cannot be imported ({error})"
        )
        raise MissingExtraError(
            f"{root}, which is needed for {purpose}, {reason}: pip install 'tamis[{extra}]'"
        ) from error
