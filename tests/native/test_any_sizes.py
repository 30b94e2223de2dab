"""Code for models with several free dimensions: it computes what follows from any combination of their sizes."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from onnx import numpy_helper

from tamis._base import ModelError
from tamis.bundle import Reference
from tamis.bundle.model import read_signature
from tamis.native.build import build_any_sizes
from tamis.native.call import AnySizes, any_sizes
from tamis.native.compiler import compile_sizes
from tamis.native.size_grid import SizeGrid
from tamis.native.specialise import admits
from tamis.native.targets import host_target

LARGE = np.array([2**31])
MODELS = {
    # tracks and vertices in one list, with attention among all of them and a mean over them
    "joined": (
        """(float[N, a, 4] tracks, float[N, b, 4] vertices) => (float[N, 5] y, float[N, all, 5] each) {
            x = Concat <axis = 1> (tracks, vertices)
            q = MatMul (x, wq)
            k = MatMul (x, wk)
            kt = Transpose <perm = [0, 2, 1]> (k)
            s = MatMul (q, kt)
            p = Softmax <axis = -1> (s)
            v = MatMul (x, wv)
            each = MatMul (p, v)
            y = ReduceMean <axes = [1], keepdims = 0> (each)
        }""",
        {"wq": (4, 6), "wk": (4, 6), "wv": (4, 5)},
        {"tracks": (None, 4), "vertices": (None, 4)},
    ),
    # the three largest of two lists, which must have three elements together
    "leading": (
        """(float[N, a] first, float[N, b] second) => (float[N, 3] y) {
            x = Concat <axis = 1> (first, second)
            three = Constant <value_ints = [3]> ()
            y, i = TopK <axis = 1> (x, three)
        }""",
        {},
        {"first": (None,), "second": (None,)},
    ),
    # windows, their number rounded down and up, and arithmetic on shapes
    "windows": (
        """(float[N, 3, a] x, float[N, b, 2] z, float[N, c] u) => (float[N, 4] y, float[N, 2] w, float[N] t) {
            f = Conv <kernel_shape = [3], pads = [1, 1], strides = [2]> (x, kernel)
            p = MaxPool <kernel_shape = [2], strides = [2], ceil_mode = 1> (f)
            y = ReduceSum <keepdims = 0> (p, two)
            shape = Shape (z)
            n = Gather <axis = 0> (shape, one)
            part = Slice (table, zero, n)
            m = Mul (z, part)
            total = ReduceSum <keepdims = 0> (m, one)
            g = Cast <to = 1> (n)
            w = Div (total, g)
            t = ReduceMax <axes = [1], keepdims = 0> (u)
        }""",
        {
            "kernel": (4, 3, 3),
            "table": (200, 2),
            "zero": np.array([0]),
            "one": np.array([1]),
            "two": np.array([2]),
        },
        {"x": (3, None), "z": (None, 2), "u": (None,)},
    ),
}


@pytest.fixture(scope="module")
def model_of(parse_model):
    """Return a function that parses one of the models, with random weights."""

    def make(kind):
        text, constants, _ = MODELS[kind]
        model = parse_model("m " + text, **{n: v for n, v in constants.items() if isinstance(v, tuple)})
        for name, value in constants.items():
            if isinstance(value, np.ndarray):
                model.graph.initializer.append(numpy_helper.from_array(value, name))
        return model

    return make


def event_of(kind, sizes, events=1, seed=0):
    rng, left = np.random.default_rng(seed), iter(sizes)
    return {
        name: rng.normal(size=(events, *(next(left) if one is None else one for one in shape))).astype(
            np.float32
        )
        for name, shape in MODELS[kind][2].items()
    }


def grid_of(model, **dims):
    return SizeGrid.of(read_signature(model, "the model"), dims, None, admits(model))


def opened(model, grid):
    return AnySizes(build_any_sizes(model.SerializeToString(), grid.events, grid.typical, free=grid.free))


def call(code, grid, event):
    shapes = tuple((1, *array.shape[1:]) for array in event.values())
    sizes = [array.shape[1 + place] for array, place in zip(event.values(), _free_places(event), strict=True)]
    assert grid.admits(tuple(sizes))
    kernel = code.find(shapes) or code.open(shapes, sizes)
    assert kernel is not None
    return kernel(list(event.values()))


def _free_places(event):
    kind = next(kind for kind, (_, _, inputs) in MODELS.items() if list(inputs) == list(event))
    return [shape.index(None) for shape in MODELS[kind][2].values()]


@pytest.mark.parametrize("kind", MODELS)
def test_any_combination_of_sizes_is_computed(kind, model_of):
    model = model_of(kind)
    grid = grid_of(model)
    code, reference, rng = opened(model, grid), Reference(model), np.random.default_rng(3)
    dimensions = len(grid.names)
    drawn = [tuple(rng.integers(1, 1 + high, dimensions)) for high in [6] * 20 + [128] * 12]
    chosen = [grid.bounds, *grid.smallest, *(one for one in drawn if grid.admits(one))]
    assert len(set(chosen) - set(grid.examples)) > 10
    for sizes in chosen:
        event = event_of(kind, sizes, events=3)
        found = call(code, grid, event)
        for own, expected in zip(found, reference(event).values(), strict=True):
            np.testing.assert_allclose(own, expected, rtol=2e-5, atol=2e-5)
        alone = call(code, grid, {name: array[1:2] for name, array in event.items()})
        for one, every in zip(alone, found, strict=True):
            np.testing.assert_array_equal(one[0], every[1])


@pytest.mark.parametrize("kind", MODELS)
def test_sizes_that_code_computes_are_those_of_the_compiler(kind, model_of):
    model = model_of(kind)
    grid = grid_of(model)
    built = build_any_sizes(model.SerializeToString(), grid.events, grid.typical, free=grid.free)
    table = compile_sizes(model, grid.events, grid.typical, host_target(), free=grid.free).graph.table.array()
    code = ctypes.CDLL(str(built.path))
    for sizes, expected in zip(grid.examples, table, strict=True):
        row = np.zeros(built.columns, np.int64)
        assert code.tamis_sizes((ctypes.c_long * len(sizes))(*sizes), ctypes.c_void_p(row.ctypes.data))
        assert row.tolist() == expected.tolist()


def test_combinations_that_the_model_does_not_take_are_left_out(model_of):
    grid = grid_of(model_of("leading"))
    assert grid.smallest == ((1, 2), (2, 1))
    assert not grid.admits((1, 1))
    assert grid.admits((1, 2))
    assert not grid.admits((129, 2))
    assert grid_of(model_of("leading"), a=(200,)).admits((129, 2))


def test_every_combination_of_enough_particles_is_taken(parse_model):
    model = parse_model(
        "m (float[N, a] x, float[N, b] z) => (float[N, 150] y) { both = Concat <axis = 1> (x, z)\n y, i = TopK <axis = 1> (both, k) }"
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([150]), "k"))
    grid = grid_of(model)
    for a in (1, 21, 22, 23, 64, 75, 100, 128):
        assert [grid.admits((a, b)) for b in (149 - a, 150 - a)] == [False, a >= 22]


def test_code_refuses_sizes_that_it_was_not_made_for(model_of):
    model = model_of("joined")
    code = opened(model, grid_of(model))
    assert code.open(((1, 129, 4), (1, 2, 4)), (129, 2)) is None
    assert code.open(((1, 0, 4), (1, 2, 4)), (0, 2)) is None


def test_more_combinations_than_are_kept_begin_anew(model_of, monkeypatch):
    monkeypatch.setattr(any_sizes, "KEPT_ROWS", 4)
    model = model_of("joined")
    grid = grid_of(model)
    code, reference = opened(model, grid), Reference(model)
    first = event_of("joined", (2, 3))
    shapes = tuple(array.shape for array in first.values())
    kept = code.open(shapes, (2, 3))
    for size in range(1, 12):
        event = event_of("joined", (size, 5), seed=size)
        (_, expected), (_, found) = reference(event).values(), call(code, grid, event)
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_array_equal(kept(list(first.values()))[1], call(code, grid, first)[1])


def test_a_table_that_differs_from_size_to_size_is_refused(parse_model):
    model = parse_model(
        """m (float[N, a, 2] x, float[N, b, 2] z) => (float[N, a, 2] y, float[N, 2] w) {
            shape = Shape (x)
            n = Gather <axis = 0> (shape, one)
            falling = Range (n, zero, minus)
            order = Unsqueeze (falling, zeros)
            places = Unsqueeze (order, last)
            f = Cast <to = 1> (places)
            odd = Mod (places, three)
            g = Cast <to = 1> (odd)
            m = Mul (x, f)
            y = Mul (m, g)
            w = ReduceSum <keepdims = 0> (z, ones)
        }"""
    )
    for name, values in {
        "one": 1, "zero": 0, "minus": -1, "zeros": [0], "ones": [1], "last": [2], "three": 3,
    }.items():  # fmt: skip
        model.graph.initializer.append(numpy_helper.from_array(np.array(values), name))
    grid = grid_of(model)
    with pytest.raises(ModelError, match="free dimensions"):
        compile_sizes(model, grid.events, grid.typical, free=grid.free)
