"""Keras 3 to ONNX on its torch backend, without TensorFlow."""

from __future__ import annotations

import importlib
import os
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tamis._base import MissingExtraError, ModelError, UsageError, require
from tamis.bundle.importers.torchscript import export
from tamis.bundle.sample import DEFAULT_FREE_DIMENSION

KERAS_PURPOSE = "importing Keras files"
LAYER_LIBRARIES = {
    "hgq": ("hgq.layers", "HGQ2")
}  # root of modules: what registers its layers, and who distributes it


def import_keras(path: Path, samples: dict[str, np.ndarray] | None, dims: dict[str, int]) -> onnx.ModelProto:
    """Export a .keras file as ONNX; Keras itself rejects unsafe layers (pickled lambdas)."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    torch = require("torch", extra="keras", purpose=KERAS_PURPOSE)
    keras = require("keras", extra="keras", purpose=KERAS_PURPOSE)
    if keras.backend.backend() != "torch":
        raise UsageError(
            f"Keras uses the backend {keras.backend.backend()}, but the import needs torch: set KERAS_BACKEND=torch"
        )
    register_layers(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = keras.saving.load_model(str(path), compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"Keras cannot load {path}: {first}") from error
    names = [tensor.name.split(":")[0] for tensor in model.inputs]
    arrays = [_example(tensor, name, samples, dims) for tensor, name in zip(model.inputs, names, strict=True)]
    tensors = tuple(torch.from_numpy(array) for array in arrays)
    free = {
        name: {0: "N"}
        | {axis: f"{name}_{axis}" for axis, size in enumerate(tensor.shape) if axis and size is None}
        for tensor, name in zip(model.inputs, names, strict=True)
    }
    return export(torch, _as_module(torch, model), tensors, names, path, free)


def register_layers(path: Path) -> None:
    """Import the libraries whose layers a .keras file has; only those of LAYER_LIBRARIES, never code that the file names."""
    try:
        with zipfile.ZipFile(path) as archive:
            config = archive.read("config.json").decode("utf-8")
    except (OSError, KeyError, zipfile.BadZipFile, UnicodeDecodeError):
        return  # Keras reports it
    for root, (module, distribution) in LAYER_LIBRARIES.items():
        if re.search(rf'"module"\s*:\s*"{root}[."]', config) is None:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(module)
        except ImportError as error:
            raise MissingExtraError(
                f"{path} has layers of {distribution}, which cannot be imported ({error}): install {distribution} beside tamis"
            ) from error


def _example(
    tensor: Any, name: str, samples: dict[str, np.ndarray] | None, dims: dict[str, int]
) -> np.ndarray:
    if samples:
        if name in samples:
            return np.ascontiguousarray(samples[name])
        if len(samples) == 1:
            return np.ascontiguousarray(next(iter(samples.values())))
    shape = [
        2,
        *(
            size or dims.get(f"{name}_{axis}", DEFAULT_FREE_DIMENSION)
            for axis, size in enumerate(tensor.shape[1:], 1)
        ),
    ]
    return np.zeros(shape, dtype=str(tensor.dtype))


def _as_module(torch: Any, model: Any) -> Any:
    """Wrap a Keras model as the torch module that the exporter traces."""

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Any) -> Any:
            result = self.model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
            return tuple(result.values()) if isinstance(result, dict) else result

    return Wrapped().eval()
