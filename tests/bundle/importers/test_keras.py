"""Keras files with layers of other libraries: only known ones are imported, and a missing one is named."""

from __future__ import annotations

import importlib.util
import json
import zipfile

import pytest

from tamis._base import MissingExtraError
from tamis.bundle.importers.keras import register_layers


def written(path, module):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "QDense", "module": module}))
        archive.writestr("model.weights.h5", b"")
    return path


@pytest.mark.skipif(importlib.util.find_spec("hgq") is not None, reason="HGQ2 is installed")
def test_a_missing_library_of_layers_is_named(tmp_path):
    with pytest.raises(MissingExtraError, match=r"m.keras has layers of HGQ2, .*: install HGQ2 beside tamis"):
        register_layers(written(tmp_path / "m.keras", "hgq.layers.core.dense"))


@pytest.fixture
def imported(monkeypatch):
    """Return the list of modules that are imported by name."""
    names = []
    monkeypatch.setattr("importlib.import_module", names.append)
    return names


@pytest.mark.parametrize(
    ("module", "expected"),
    [("hgq.layers.core.dense", ["hgq.layers"]), ("os.path", []), ("antigravity.x", []), ("keras.layers", [])],
)
def test_only_known_libraries_of_layers_are_imported(tmp_path, imported, module, expected):
    register_layers(written(tmp_path / "m.keras", module))
    assert imported == expected


@pytest.mark.parametrize("data", [b"", b"PK broken"])
def test_damaged_files_are_left_to_keras(tmp_path, imported, data):
    (tmp_path / "m.keras").write_bytes(data)
    register_layers(tmp_path / "m.keras")
    assert imported == []
