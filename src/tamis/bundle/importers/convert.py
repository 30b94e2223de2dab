"""Recognise the format of a model file and import it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from tamis._base import ModelError, UsageError
from tamis.bundle.importers.pickles import explain_pickle, looks_pickled
from tamis.bundle.importers.trees import BoostedTrees, sample_rows, to_onnx
from tamis.bundle.model import load_model

Samples = dict[str, np.ndarray] | None
HEAD_BYTES = 4096


@dataclass(frozen=True)
class Imported:
    """A model as ONNX, and what its file says beyond the graph."""

    model: onnx.ModelProto
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # names of the columns of inputs
    samples: Mapping[str, np.ndarray] | None = None  # inputs that reach all parts of the model
    notes: tuple[str, ...] = ()


Importer = Callable[[Path, Samples, dict[str, int]], Imported]


def _onnx(path: Path, samples: Samples, dims: dict[str, int]) -> Imported:  # noqa: ARG001 - the signature of an Importer
    return Imported(load_model(path))


def _torchscript(path: Path, samples: Samples, dims: dict[str, int]) -> Imported:
    from tamis.bundle.importers.torchscript import import_torchscript

    return Imported(import_torchscript(path, samples, dims))


def _keras(path: Path, samples: Samples, dims: dict[str, int]) -> Imported:
    from tamis.bundle.importers.keras import import_keras

    return Imported(import_keras(path, samples, dims))


def _xgboost(path: Path, samples: Samples, dims: dict[str, int]) -> Imported:  # noqa: ARG001
    from tamis.bundle.importers.xgboost import read_xgboost

    return _of_trees(read_xgboost(path), path)


def _lightgbm(path: Path, samples: Samples, dims: dict[str, int]) -> Imported:  # noqa: ARG001
    from tamis.bundle.importers.lightgbm import read_lightgbm

    return _of_trees(read_lightgbm(path), path)


def _of_trees(trees: BoostedTrees, path: Path) -> Imported:
    model = to_onnx(trees, str(path))
    columns = {"x": trees.names} if trees.names else {}
    return Imported(model, columns, {"x": sample_rows(trees)}, trees.notes)


FORMATS: dict[str, Importer] = {
    "ONNX": _onnx,
    "TorchScript": _torchscript,
    "Keras 3": _keras,
    "XGBoost": _xgboost,
    "LightGBM": _lightgbm,
}


def import_model(path: Path, samples: Samples = None, dims: dict[str, int] | None = None) -> Imported:
    """Return a model file of any of FORMATS as ONNX; the format is recognised by content, not suffix."""
    return FORMATS[recognise(path)](path, samples, dims or {})


def recognise(path: Path) -> str:
    """Return the format of a model file, recognised by its content."""
    if not path.is_file():
        raise UsageError(
            f"{path} is a folder, not a model file" if path.is_dir() else f"there is no model file {path}"
        )
    if zipfile.is_zipfile(path):
        return _recognise_zip(path)
    with path.open("rb") as handle:
        head = handle.read(HEAD_BYTES)
    if head.startswith(b"\x89HDF\r\n"):
        raise ModelError(f"{path} is HDF5 (Keras 2); open it with Keras 3 and save it as .keras")
    if looks_pickled(path, head):
        raise explain_pickle(path)
    if head.startswith(b"CBM1"):
        raise ModelError(f"{path} is a CatBoost model; save it with save_model('model.onnx', format='onnx')")
    if head.startswith(b"binf"):
        raise ModelError(
            f"{path} is a model in XGBoost's old binary format; load it with the XGBoost that wrote it and save it as .json or "
            ".ubj with save_model"
        )
    if head.startswith((b"tree\n", b"tree\r\n")):
        return "LightGBM"
    if head.lstrip().startswith((b"{", b"[")):
        if b"learner" in head:
            return "XGBoost"
        raise ModelError(
            f"{path} is a JSON document, but not of a model that booster.save_model of XGBoost wrote; a dump (dump_model) lacks what "
            "predictions need: save an XGBoost model with save_model('model.json'), a LightGBM model with save_model('model.txt')"
        )
    return "ONNX"


def _recognise_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.rsplit("/", 1)[-1] for name in archive.namelist()}
            has_code = any("/code/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, OSError) as error:
        raise ModelError(f"{path} is a damaged zip archive ({error}); copy it again") from error
    if "model.weights.h5" in members:
        return "Keras 3"
    if has_code:
        return "TorchScript"
    if "data.pkl" in members:
        raise explain_pickle(path)
    raise ModelError(f"{path} is a zip archive, but neither TorchScript nor Keras 3")
