"""Emulated firmware: host, program and host together compute what ONNX Runtime computes, bit by bit."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from tests.fixedpoint.conftest import draw, make

from tamis.bundle import Reference
from tamis.firmware.emulator import Emulator


def onnxruntime(model, arrays):
    session = ort.InferenceSession(model.SerializeToString())
    return dict(zip([one.name for one in session.get_outputs()], session.run(None, arrays), strict=True))


@pytest.mark.parametrize("rows", [1, 2, 300])
def test_emulation_gives_the_bits_of_onnxruntime(graph, rows):
    arrays = draw(graph, rows)
    emulator = Emulator(graph, {name: array[:1] for name, array in arrays.items()})
    results, expected = emulator(arrays), onnxruntime(graph, arrays)
    for name, array in expected.items():
        assert results[name].dtype == array.dtype
        np.testing.assert_array_equal(results[name], array)


def test_emulation_gives_the_numbers_of_the_float64_reference(graph):
    arrays = draw(graph, 50)
    results = Emulator(graph, {name: array[:1] for name, array in arrays.items()})(arrays)
    for name, array in Reference(graph)(arrays).items():
        np.testing.assert_allclose(results[name], array, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "value", [np.inf, -np.inf, 3e38, -3e38, 1e-45, -1e-45, 0.49999997, -0.0, 2**23 + 1.0, 7.96875, -8.03125]
)
def test_extreme_inputs(value):
    model = make("dense")
    arrays = {"x": np.full((3, 8), value, np.float32)}
    emulator = Emulator(model, draw(model, 1))
    np.testing.assert_array_equal(emulator(arrays)["y"], onnxruntime(model, arrays)["y"])


def test_a_row_with_nan_is_nan_and_others_keep_their_bits():
    model = make("dense")
    arrays = draw(model, 4)
    expected = onnxruntime(model, arrays)["y"]
    arrays["x"][2, 5] = np.nan
    result = Emulator(model, draw(model, 1))(arrays)["y"]
    assert np.isnan(result[2]).all()
    np.testing.assert_array_equal(result[[0, 1, 3]], expected[[0, 1, 3]])


def test_no_rows():
    model = make("image")
    arrays = draw(model, 0)
    assert Emulator(model, draw(model, 1))(arrays)["y"].shape == (0, 5)
