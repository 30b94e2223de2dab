"""Models that QONNX's converter makes of QKeras compute what Keras computes, see make_qkeras_models.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tamis
from tamis.bundle import pack
from tamis.bundle.model import load_model

FOLDER = Path(__file__).with_name("qkeras_models")
CASES = np.load(FOLDER / "cases.npz")
NAMES = sorted({key.split("/")[0] for key in CASES})


@pytest.mark.parametrize("name", NAMES)
def test_every_engine_gives_the_bits_of_keras(name, tmp_path):
    """The converter forgets to import the domain of its quantisers, whose scales are float64 and zero points int64."""
    packed = pack(load_model(FOLDER / f"{name}.onnx"), tmp_path / f"{name}.tamis")
    x, y = CASES[f"{name}/x"], CASES[f"{name}/y"]
    for engine in ("onnxruntime", "native", "reference"):
        with tamis.open(packed.bundle, engine=engine) as session:
            (result,) = session.run(**{packed.bundle.manifest.signature.inputs[0].name: x}).values()
        np.testing.assert_array_equal(result, y, err_msg=engine)
