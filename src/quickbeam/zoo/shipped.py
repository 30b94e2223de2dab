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


def topology_gru() -> Path:
    """Return where the shipped topology-gru is."""
    return _place("topology-gru.qb")


def topology_lstm() -> Path:
    """Return where the shipped topology-lstm is."""
    return _place("topology-lstm.qb")


def topology_hlf() -> Path:
    """Return where the shipped topology-hlf is."""
    return _place("topology-hlf.qb")


def topology_both() -> Path:
    """Return where the shipped topology-both is."""
    return _place("topology-both.qb")


def egamma() -> Path:
    """Return where the shipped electron-photon tagger is."""
    return _place("egamma.qb")


def quark_gluon() -> Path:
    """Return where the shipped quark-gluon tagger is."""
    return _place("quark-gluon.qb")


def top() -> Path:
    """Return where the shipped top tagger is."""
    return _place("top.qb")


def tau() -> Path:
    """Return where the shipped tau tagger is."""
    return _place("tau.qb")


def facile() -> Path:
    """Return where the shipped FACILE is."""
    return _place("facile.qb")


def em_trk_michel() -> Path:
    """Return where the shipped EmTrkMichelId is."""
    return _place("em-trk-michel.qb")


def top_resnet() -> Path:
    """Return where the shipped residual network on jet images is."""
    return _place("top-resnet.qb")


def _place(name: str) -> Path:
    return Path(str(files("quickbeam.zoo"))) / "bundles" / name
