"""tamis: from a trained model to a trigger decision inside a time budget, with every step proven."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tamis._base import TamisError
    from tamis.bundle import Bundle, pack
    from tamis.engines import Session, open  # noqa: A004 - tamis.open is the front door
    from tamis.events import Events
    from tamis.measure import verify

if sys.version_info < (3, 11):  # noqa: UP036 - a source folder in PYTHONPATH bypasses pip's own check
    raise ImportError(
        f"tamis needs Python 3.11 or later, this is {sys.version.split()[0]}: see docs/install.md"
    )
if sys.platform != "linux":
    raise ImportError(
        f"tamis runs on Linux; on {sys.platform} use a Linux container or virtual machine (on Windows: WSL)"
    )

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "tamis.bundle",
    "Events": "tamis.events",
    "TamisError": "tamis._base",
    "Session": "tamis.engines",
    "open": "tamis.engines",
    "pack": "tamis.bundle",
    "verify": "tamis.measure",
}

__all__ = ["Bundle", "Events", "Session", "TamisError", "__version__", "open", "pack", "verify"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import tamis` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tamis' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
