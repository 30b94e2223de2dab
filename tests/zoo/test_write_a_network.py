"""The page docs/how-to/write-a-network.md: its file in the folder of networks is all that a new network needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tamis.zoo.networks as package
from tamis._base import UsageError
from tamis.events import open_array_writer
from tamis.measure import evaluate_arrays, verify
from tamis.simulate import simulate_sample
from tamis.zoo import TrainingOptions, find_network, known_networks, register, train
from tamis.zoo.networks import registry

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-network.md"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder that is scanned for networks, with the file of the page."""
    monkeypatch.setattr(registry, "_registered", dict(known_networks()))
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    (code, *_) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "small_hcal.py").write_text(code)
    return tmp_path


def test_a_file_in_the_folder_is_trained_packed_and_evaluated(folder):
    file = str(folder / "channels.h5")
    with open_array_writer(file) as writer:
        for arrays in simulate_sample("hcal-channels", 400, seed=1):
            writer.write(arrays)
    packed = train("small-hcal", [file], folder / "m.tamis", TrainingOptions(epochs=1, threads=1))
    assert packed.bundle.manifest.training["model"] == "small-hcal"
    assert verify(packed.bundle, "onnxruntime").passed
    assert {figures.method for figures in evaluate_arrays(packed.bundle, [file]).energies[-1].figures} == {
        "small-hcal",
        "method_0",
        "template_fit",
    }


def test_a_name_is_registered_once():
    with pytest.raises(UsageError, match="'facile' is registered already"):
        register(find_network("facile"))
