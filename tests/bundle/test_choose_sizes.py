"""Sizes of free dimensions that the packer finds by itself."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from tamis.bundle import pack

NEIGHBOURS = """nearest (float[N, n] x) => (float[N, %d] y) {
    v, places = TopK <axis = 1> (x, k)
    y = GatherElements <axis = 1> (x, places)
}"""


def nearest(parse_model, k):
    model = parse_model(NEIGHBOURS % k)
    model.graph.initializer.append(numpy_helper.from_array(np.array([k]), "k"))
    return model


@pytest.mark.parametrize(("k", "size", "note"), [(20, 28, "takes 20, but not 16"), (3, 16, "n=16")])
def test_enough_particles_for_the_neighbours(k, size, note, parse_model, tmp_path):
    packed = pack(nearest(parse_model, k), tmp_path / "nearest.tamis")
    assert packed.bundle.golden.inputs["x"].shape[1] == size
    assert any(note in one for one in packed.notes)


def test_a_size_that_is_fixed_inside_the_graph(parse_model, tmp_path):
    model = parse_model("""fixed (float[N, n] x) => (float[N, 3] y) { y = MatMul (x, w) }""", w=(5, 3))
    packed = pack(model, tmp_path / "fixed.tamis")
    assert packed.bundle.golden.inputs["x"].shape[1] == 5


def test_named_sizes_are_kept(parse_model, tmp_path):
    packed = pack(nearest(parse_model, 20), tmp_path / "nearest.tamis", dims={"n": 21})
    assert packed.bundle.golden.inputs["x"].shape[1] == 21
