"""Recognise the format of a model file and import it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from tamis._base import ModelError, UsageError
from tamis.bundle.model import load_model

Samples = dict[str, np.ndarray] | None
Importer = Callable[[Path, Samples, dict[str, int]], onnx.ModelProto]


def _onnx(path: Path, samples: Samples, dims: dict[str, int]) -> onnx.ModelProto:  # noqa: ARG001 - the signature of an Importer
    return load_model(path)


def _torchscript(path: Path, samples: Samples, dims: dict[str, int]) -> onnx.ModelProto:
    from tamis.bundle.importers.torchscript import import_torchscript

    return import_torchscript(path, samples, dims)


def _keras(path: Path, samples: Samples, dims: dict[str, int]) -> onnx.ModelProto:
    from tamis.bundle.importers.keras import import_keras

    return import_keras(path, samples, dims)


FORMATS: dict[str, Importer] = {"ONNX": _onnx, "TorchScript": _torchscript, "Keras 3": _keras}


def import_model(path: Path, samples: Samples = None, dims: dict[str, int] | None = None) -> onnx.ModelProto:
    """Return an ONNX, TorchScript or Keras 3 file as an ONNX model; the format is recognised by content, not suffix."""
    return FORMATS[recognise(path)](path, samples, dims or {})


def recognise(path: Path) -> str:
    """Return the format of a model file, recognised by its content."""
    if not path.is_file():
        raise UsageError(
            f"{path} is a folder, not a model file" if path.is_dir() else f"there is no model file {path}"
        )
    if zipfile.is_zipfile(path):
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
            raise _pickled(path)
        raise ModelError(f"{path} is a zip archive, but neither TorchScript nor Keras 3")
    with path.open("rb") as handle:
        head = handle.read(8)
    if head.startswith(b"\x89HDF\r\n"):
        raise ModelError(f"{path} is HDF5 (Keras 2); open it with Keras 3 and save it as .keras")
    if head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise _pickled(path)
    return "ONNX"


def _pickled(path: Path) -> ModelError:
    return ModelError(
        f"{path} is a pickle (as written by torch.save), which can run code when it is loaded; "
        "save the model with torch.jit.save or torch.onnx.export instead"
    )
