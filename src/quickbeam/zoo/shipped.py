"""The bundles that come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def conv_vae() -> Path:
    """Return where the shipped conv-vae is."""
    return _place("conv-vae.qb")


def graph_vae() -> Path:
    """Return where the shipped graph-vae is."""
    return _place("graph-vae.qb")


def _place(name: str) -> Path:
    return Path(str(files("quickbeam.zoo"))) / "bundles" / name
