"""Paths of the shipped bundles."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def conv_vae() -> Path:
    """Return the path of the shipped conv-vae."""
    return _path("conv-vae.tamis")


def graph_vae() -> Path:
    """Return the path of the shipped graph-vae."""
    return _path("graph-vae.tamis")


def topology_gru() -> Path:
    """Return the path of the shipped topology-gru."""
    return _path("topology-gru.tamis")


def topology_lstm() -> Path:
    """Return the path of the shipped topology-lstm."""
    return _path("topology-lstm.tamis")


def topology_hlf() -> Path:
    """Return the path of the shipped topology-hlf."""
    return _path("topology-hlf.tamis")


def topology_both() -> Path:
    """Return the path of the shipped topology-both."""
    return _path("topology-both.tamis")


def egamma() -> Path:
    """Return the path of the shipped electron-photon tagger."""
    return _path("egamma.tamis")


def quark_gluon() -> Path:
    """Return the path of the shipped quark-gluon tagger."""
    return _path("quark-gluon.tamis")


def top() -> Path:
    """Return the path of the shipped top tagger."""
    return _path("top.tamis")


def tau() -> Path:
    """Return the path of the shipped tau tagger."""
    return _path("tau.tamis")


def facile() -> Path:
    """Return the path of the shipped FACILE."""
    return _path("facile.tamis")


def em_trk_michel() -> Path:
    """Return the path of the shipped EmTrkMichelId."""
    return _path("em-trk-michel.tamis")


def jet_tagger() -> Path:
    """Return the path of the shipped Level-1 jet tagger."""
    return _path("jet-tagger.tamis")


def top_resnet() -> Path:
    """Return the path of the shipped residual network on jet images."""
    return _path("top-resnet.tamis")


def conv_vae_student() -> Path:
    """Return the path of the shipped student of conv-vae."""
    return _path("conv-vae-student.tamis")


def graph_vae_student() -> Path:
    """Return the path of the shipped student of graph-vae."""
    return _path("graph-vae-student.tamis")


def facile_8bit() -> Path:
    """Return the path of the shipped FACILE in 8 bits."""
    return _path("facile-8bit.tamis")


def jet_tagger_8bit() -> Path:
    """Return the path of the shipped Level-1 jet tagger in 8 bits."""
    return _path("jet-tagger-8bit.tamis")


def jet_tagger_6bit() -> Path:
    """Return the path of the shipped Level-1 jet tagger in 6 bits."""
    return _path("jet-tagger-6bit.tamis")


def l1_anomaly() -> Path:
    """Return the path of the shipped l1-anomaly, quantised for firmware."""
    return _path("l1-anomaly.tamis")


def l1_calo_anomaly() -> Path:
    """Return the path of the shipped l1-calo-anomaly, the teacher of l1-calo-student."""
    return _path("l1-calo-anomaly.tamis")


def l1_calo_student() -> Path:
    """Return the path of the shipped l1-calo-student, quantised for firmware."""
    return _path("l1-calo-student.tamis")


def _path(name: str) -> Path:
    return Path(str(files("tamis.zoo"))) / "bundles" / name
