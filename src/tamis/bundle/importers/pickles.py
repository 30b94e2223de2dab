"""Pickles, which are never opened since loading one can run any code: say which library wrote one, and the way round."""

from __future__ import annotations

import re
from pathlib import Path

from tamis._base import ModelError

PICKLE_SUFFIXES = (".pkl", ".pickle", ".joblib")
MODEL_STARTS = (b"{", b"tree", b"\x08")  # of JSON and UBJSON, LightGBM's text and ONNX
SEARCHED_BYTES = 1_000_000
# Library: how to save its models in a format that holds only data.
WAYS_ROUND = {
    "torch": "save a PyTorch model with torch.jit.save or torch.onnx.export",
    "xgboost": "save an XGBoost model with model.save_model('model.json'), which `tamis pack` takes as it is",
    "lightgbm": "save a LightGBM model with model.booster_.save_model('model.txt') (a Booster: model.save_model('model.txt')), "
    "which `tamis pack` takes as it is",
    "sklearn": "convert a scikit-learn model where you trained it: skl2onnx.to_onnx(model, X[:1].astype('float32')) "
    "returns an ONNX model, and onnx.save(it, 'model.onnx') writes it",
}


def looks_pickled(path: Path, head: bytes) -> bool:
    """Return whether a file is a pickle, by its first bytes; compressed ones and those of old protocols by their suffix."""
    if re.match(rb"\x80[\x02-\x05]", head):
        return True
    return path.suffix.lower() in PICKLE_SUFFIXES and not head.startswith(MODEL_STARTS)


def explain_pickle(path: Path) -> ModelError:
    """Return the error for a pickle: why it is refused, and what to do with a model of the library named in it."""
    with path.open("rb") as handle:
        data = handle.read(SEARCHED_BYTES)
    named = sorted(
        (data.find(library.encode()), library) for library in WAYS_ROUND if library.encode() in data
    )
    chosen = [named[0][1]] if named else list(WAYS_ROUND)
    return ModelError(
        f"{path} is a pickle (as pickle, joblib and torch.save write), which can run code when it is loaded, so it is not "
        f"opened: {'; '.join(WAYS_ROUND[library] for library in chosen)}"
    )
