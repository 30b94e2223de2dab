"""The memory of inputs lives while an engine runs, also that of copies made for it."""

import numpy as np
import pytest

import tamis
from tamis.bundle import pack
from tamis.engines.openvino import MAX_STATIC_SHAPES


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch", "native"])
def test_read_only_arrays_of_ever_new_sizes_give_the_right_numbers(engine, parse_model, tmp_path):
    model = parse_model(
        """two (float[N, 4] a, float[N, 4] b) => (float[N, 4] y) {
            y = Sub (a, b)
        }"""
    )
    rng = np.random.default_rng(1)
    whole = {name: rng.integers(-9, 9, (400, 4)).astype(np.float32) for name in "ab"}
    pack(model, tmp_path / "two.tamis", inputs=whole)
    with tamis.open(tmp_path / "two.tamis", engine=engine) as session:
        for size in range(1, MAX_STATIC_SHAPES + 200):
            inputs = {name: array[:size].copy() for name, array in whole.items()}
            for array in inputs.values():
                array.flags.writeable = False
            np.testing.assert_array_equal(session.run(**inputs)["y"], inputs["a"] - inputs["b"])
