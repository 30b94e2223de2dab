"""The bundles that come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def conv_vae() -> Path:
    """Return where the shipped conv-vae is."""
    return _place("conv-vae.tamis")


def graph_vae() -> Path:
    """Return where the shipped graph-vae is."""
    return _place("graph-vae.tamis")


def topology_gru() -> Path:
    """Return where the shipped topology-gru is."""
    return _place("topology-gru.tamis")


def topology_lstm() -> Path:
    """Return where the shipped topology-lstm is."""
    return _place("topology-lstm.tamis")


def topology_hlf() -> Path:
    """Return where the shipped topology-hlf is."""
    return _place("topology-hlf.tamis")


def topology_both() -> Path:
    """Return where the shipped topology-both is."""
    return _place("topology-both.tamis")


def egamma() -> Path:
    """Return where the shipped electron-photon tagger is."""
    return _place("egamma.tamis")


def quark_gluon() -> Path:
    """Return where the shipped quark-gluon tagger is."""
    return _place("quark-gluon.tamis")


def top() -> Path:
    """Return where the shipped top tagger is."""
    return _place("top.tamis")


def tau() -> Path:
    """Return where the shipped tau tagger is."""
    return _place("tau.tamis")


def facile() -> Path:
    """Return where the shipped FACILE is."""
    return _place("facile.tamis")


def em_trk_michel() -> Path:
    """Return where the shipped EmTrkMichelId is."""
    return _place("em-trk-michel.tamis")


def top_resnet() -> Path:
    """Return where the shipped residual network on jet images is."""
    return _place("top-resnet.tamis")


def _place(name: str) -> Path:
    return Path(str(files("tamis.zoo"))) / "bundles" / name
