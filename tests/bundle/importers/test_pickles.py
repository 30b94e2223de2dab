"""Pickles are refused for safety, with the way round for the library that wrote them."""

from __future__ import annotations

import gzip
import pickle

import pytest

from tamis._base import ModelError
from tamis.bundle.importers import import_model


class Trap:
    """A model whose pickle would write a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def fake(library: bytes) -> bytes:
    """Return the beginning of a pickle that refers to a class of a library."""
    return (
        b"\x80\x04\x95\x20\x00\x00\x00\x00\x00\x00\x00\x8c"
        + bytes([len(library)])
        + library
        + b"\x94\x8c\x05Model\x93."
    )


def test_a_pickle_is_never_loaded(tmp_path):
    for name, protocol in (("m.pkl", 5), ("old.pkl", 0), ("m.onnx", 4)):
        (tmp_path / name).write_bytes(pickle.dumps(Trap(tmp_path / "ran"), protocol=protocol))
        with pytest.raises(ModelError, match="can run code when it is loaded, so it is not opened"):
            import_model(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("library", "way"),
    [
        (b"sklearn.ensemble._gb", r"skl2onnx\.to_onnx"),
        (b"xgboost.sklearn", r"model\.save_model\('model\.json'\)"),
        (b"lightgbm.sklearn", r"model\.booster_\.save_model\('model\.txt'\)"),
        (b"torch._utils", r"torch\.jit\.save"),
    ],
)
def test_the_way_round_is_that_of_the_library(tmp_path, library, way):
    (tmp_path / "m.joblib").write_bytes(fake(library))
    with pytest.raises(ModelError, match=way) as error:
        import_model(tmp_path / "m.joblib")
    assert (
        sum(text in str(error.value) for text in ("skl2onnx", "model.json", "model.txt", "torch.jit.save"))
        == 1
    )


def test_a_compressed_pickle_is_known_by_its_suffix(tmp_path):
    (tmp_path / "m.pkl").write_bytes(gzip.compress(fake(b"sklearn.svm")))
    with pytest.raises(ModelError, match=r"skl2onnx.*model\.onnx") as error:
        import_model(tmp_path / "m.pkl")
    assert "model.json" in str(error.value)  # the library is hidden, so the message has all ways


def test_a_model_named_like_a_pickle_is_still_a_model(tmp_path, bundle_of):
    import onnx

    onnx.save(bundle_of("dense").model, tmp_path / "dense.pkl")
    assert import_model(tmp_path / "dense.pkl").model.graph.output[0].name == "score"
