"""quickbeam: from a trained model to a trigger decision inside a time budget, with every step proven."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quickbeam._base import QuickbeamError
    from quickbeam.bundle import Bundle, pack
    from quickbeam.engines import Session, open  # noqa: A004 - qb.open is the front door
    from quickbeam.events import Events
    from quickbeam.measure import verify

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "quickbeam.bundle",
    "Events": "quickbeam.events",
    "QuickbeamError": "quickbeam._base",
    "Session": "quickbeam.engines",
    "open": "quickbeam.engines",
    "pack": "quickbeam.bundle",
    "verify": "quickbeam.measure",
}

__all__ = ["Bundle", "Events", "QuickbeamError", "Session", "__version__", "open", "pack", "verify"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import quickbeam` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'quickbeam' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
