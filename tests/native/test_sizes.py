"""Code for any number of particles: one object, every size, the same bits alone and in a batch."""

from __future__ import annotations

import itertools
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from tamis._base import host_facts
from tamis.bundle import Reference
from tamis.native.build import build_sizes
from tamis.native.call import open_kernels
from tamis.native.compiler import compile_sizes
from tamis.native.interpolate import polynomial
from tamis.native.program import Contract, Pick
from tamis.native.sizes import Size, SizeDependentError, SizeTable, greatest, least, row_by_row, typical
from tamis.native.specialise import specialise_sizes
from tamis.native.targets import find_target

INTEGERS = st.integers(-50, 50)
ROWS = st.lists(INTEGERS, min_size=3, max_size=3)

MODELS = {
    # a mean and a maximum over particles, with a mask
    "pooled": (
        """(float[N, n, 4] x, float[N, n, 1] m) => (float[N, 10] y) {
            h = MatMul (x, w)
            h2 = Relu (h)
            h3 = Mul (h2, m)
            mean = ReduceMean <axes = [1], keepdims = 0> (h3)
            most = ReduceMax <axes = [1], keepdims = 0> (h3)
            y = Concat <axis = 1> (mean, most)
        }""",
        {"w": (4, 5)},
        lambda n: {"x": (1, n, 4), "m": (1, n, 1)},
        1,
    ),
    # attention: products of sizes n by n, and a softmax over particles
    "attention": (
        """(float[N, n, 4] x) => (float[N, 3] y) {
            q = MatMul (x, wq)
            k = MatMul (x, wk)
            v = MatMul (x, wv)
            kt = Transpose <perm = [0, 2, 1]> (k)
            a = MatMul (q, kt)
            p = Softmax <axis = -1> (a)
            o = MatMul (p, v)
            y = ReduceSum <keepdims = 0> (o, one)
        }""",
        {"wq": (4, 6), "wk": (4, 6), "wv": (4, 3), "one": np.array([1])},
        lambda n: {"x": (1, n, 4)},
        1,
    ),
    # the three largest, of at least three particles, by indices of the event
    "leading": (
        """(float[N, n] x) => (float[N, 3] y) {
            three = Constant <value_ints = [3]> ()
            v, i = TopK <axis = 1> (x, three)
            z = Exp (x)
            y = GatherElements <axis = 1> (z, i)
        }""",
        {},
        lambda n: {"x": (1, n)},
        3,
    ),
    # arithmetic on the shape: a range, a table that is cut, the last particle
    "shapes": (
        """(float[N, n, 2] x) => (float[N, 2] y) {
            s = Shape (x)
            one = Constant <value_int = 1> ()
            zero = Constant <value_int = 0> ()
            n = Gather <axis = 0> (s, one)
            r = Range (zero, n, one)
            f = Cast <to = 1> (r)
            last = Constant <value_ints = [-1]> ()
            c = Unsqueeze (f, last)
            z = Add (x, c)
            n1 = Unsqueeze (n, zeros)
            t = Slice (table, zeros, n1)
            u = Mul (z, t)
            e = Slice (u, last, many, ones)
            e1 = ReduceSum <keepdims = 0> (e, ones)
            sum = ReduceSum <keepdims = 0> (u, ones)
            g = Cast <to = 1> (n)
            d = Div (sum, g)
            y = Add (d, e1)
        }""",
        {"table": (200, 2), "zeros": np.array([0]), "ones": np.array([1]), "many": np.array([2**31])},
        lambda n: {"x": (1, n, 2)},
        1,
    ),
    # an edge block: each particle with its three nearest ones
    "edge": (
        """(float[N, 4, n] x) => (float[N, 16] y) {
            xt = Transpose <perm = [0, 2, 1]> (x)
            flat = Reshape (xt, rows)
            d = MatMul (xt, x)
            v, i = TopK <axis = -1> (d, three)
            i1 = Reshape (i, one)
            g = Gather <axis = 0> (flat, i1)
            g4 = Reshape (g, fours)
            gt = Transpose <perm = [0, 3, 1, 2]> (g4)
            xu = Unsqueeze (x, last)
            xe = Expand (xu, each)
            diff = Sub (gt, xe)
            both = Concat <axis = 1> (xe, diff)
            c = Conv <kernel_shape = [1, 1]> (both, w)
            r = Relu (c)
            c2 = Conv <kernel_shape = [1, 1]> (r, w2)
            m = ReduceMean <axes = [3], keepdims = 0> (c2)
            y = ReduceMax <axes = [2], keepdims = 0> (m)
        }""",
        {
            "w": (16, 8, 1, 1),
            "w2": (16, 16, 1, 1),
            "rows": np.array([-1, 4]),
            "one": np.array([-1]),
            "three": np.array([3]),
            "fours": np.array([1, -1, 3, 4]),
            "last": np.array([3]),
            "each": np.array([1, 1, 1, 3]),
        },
        lambda n: {"x": (1, 4, n)},
        3,
    ),
    # a recurrent layer, and windows that are half as many
    "sequence": (
        """(float[n, N, 3] x) => (float[N, 5] y) {
            a, h = GRU <hidden_size = 5> (x, w, r)
            axes = Constant <value_ints = [0]> ()
            y = Squeeze (h, axes)
        }""",
        {"w": (1, 15, 3), "r": (1, 15, 5)},
        lambda n: {"x": (n, 1, 3)},
        1,
    ),
    "windows": (
        """(float[N, 3, n] x) => (float[N, 4] y) {
            c = Conv <kernel_shape = [3], pads = [1, 1], strides = [2]> (x, w)
            p = MaxPool <kernel_shape = [2], strides = [2], ceil_mode = 1> (c)
            q = AveragePool <kernel_shape = [3], pads = [1, 1]> (p)
            y = ReduceSum <keepdims = 0> (q, axes)
        }""",
        {"w": (4, 3, 3), "axes": np.array([2])},
        lambda n: {"x": (1, 3, n)},
        1,
    ),
}
SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 31, 32, 33, 40, 64, 65, 100]


@given(ROWS, ROWS, INTEGERS)
def test_sizes_count_as_integers_do_in_each_row(first, second, number):
    table = SizeTable(3, 1)
    a, b = table.size(first), table.size(second)
    pairs = [(a, b, first, second), (a, number, first, [number] * 3), (number, b, [number] * 3, second)]
    for x, y, xs, ys in pairs:
        for function in (lambda p, q: p + q, lambda p, q: p - q, lambda p, q: p * q, min, max):
            of_sizes = {min: least, max: greatest}.get(function, function)
            assert table.size([function(p, q) for p, q in zip(xs, ys, strict=True)]) == of_sizes(x, y)
        if all(ys):
            assert table.size([p // q for p, q in zip(xs, ys, strict=True)]) == x // y
            assert table.size([p % q for p, q in zip(xs, ys, strict=True)]) == x % y
    assert table.size([-x for x in first]) == -a
    assert (a == b) == (first == second)


def test_what_differs_from_size_to_size_is_not_decided():
    size = SizeTable(3, 1).size([1, 5, 9])
    assert isinstance(size, Size)
    assert size > 0
    assert size != 5
    assert size < 10
    for decide in (lambda: size > 5, lambda: size >= 5, lambda: int(size), lambda: range(size)):
        with pytest.raises(SizeDependentError, match="one code for all sizes"):
            decide()
    assert row_by_row(lambda n: n * n - n * n, size) == 0


@pytest.fixture
def model_of(parse_model):
    """Return a function that parses one of the models, with its random weights and its integers."""

    def make(kind):
        text, constants, *_ = MODELS[kind]
        model = parse_model("m " + text, **{n: v for n, v in constants.items() if isinstance(v, tuple)})
        for name, value in constants.items():
            if isinstance(value, np.ndarray):
                model.graph.initializer.append(numpy_helper.from_array(value, name))
        return model

    return make


@pytest.mark.parametrize("target", ["portable", "avx2", "avx512"])
@pytest.mark.parametrize("kind", MODELS)
def test_one_object_computes_every_size(kind, target, model_of):
    missing = set(find_target(target).needs) - set(host_facts().instruction_sets)
    if missing:
        pytest.skip(f"compiled for {target}, not run: this processor lacks {', '.join(sorted(missing))}")
    _, _, shapes, least_size = MODELS[kind]
    rng = np.random.default_rng(7)
    model = model_of(kind)
    events = [
        {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes(n).items()} for n in SIZES
    ]
    built = build_sizes(model.SerializeToString(), events, 10, target=find_target(target))
    kept = [n for n in SIZES if n >= least_size]
    assert len(built.sizes) == len(kept)
    rows = kind != "sequence"
    reference, kernels = Reference(model), open_kernels(built.sizes, batched=rows)
    for event, kernel in zip(events[len(SIZES) - len(kept) :], kernels, strict=True):
        (expected,) = reference(event).values()
        (found,) = kernel(list(event.values()))
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
        if rows:
            three = [np.concatenate([one, 2 * one, one]) for one in event.values()]
            np.testing.assert_array_equal(kernel(three)[0][[0, 2]], np.concatenate([found, found]))


def test_kernels_without_headers_give_the_same_bits(model_of):
    shapes, model = MODELS["pooled"][2], model_of("pooled")
    rng = np.random.default_rng(1)
    events = [
        {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes(n).items()}
        for n in (1, 6, 40)
    ]
    built = build_sizes(model.SerializeToString(), events, 1)
    pairs = zip(
        open_kernels(built.sizes), open_kernels(built.sizes, use_extension=False), events, strict=True
    )
    for one, other, event in pairs:
        np.testing.assert_array_equal(one(list(event.values()))[0], other(list(event.values()))[0])


def test_a_size_that_the_model_does_not_admit_is_not_compiled(model_of):
    shapes, model = MODELS["leading"][2], model_of("leading").SerializeToString()
    events = [{"x": np.zeros(shapes(n)["x"], np.float32)} for n in (1, 2, 3, 4)]
    assert [one.inputs for one in build_sizes(model, events, 0).sizes] == [((1, 3),), ((1, 4),)]


@pytest.mark.parametrize("kind", MODELS)
def test_sizes_between_are_as_if_they_had_been_evaluated(kind, model_of):
    shapes, model, sizes = MODELS[kind][2], model_of(kind), range(1, 61)
    events = [{name: np.zeros(shape, np.float32) for name, shape in shapes(n).items()} for n in sizes]
    free = np.array(sizes)[:, None]
    every, some = specialise_sizes(model, events, 30), specialise_sizes(model, events, 30, free)
    assert every.rows == some.rows
    for row in range(every.rows):
        for name in every.types:
            assert every.shape_in(row, name) == some.shape_in(row, name)
        for name in every.varying:
            np.testing.assert_array_equal(every.varying[name].values[row], some.varying[name].values[row])
    assert every.constants.keys() == some.constants.keys()


def test_a_number_that_is_no_polynomial_is_not_interpolated():
    x, every = np.array([1, 2, 3, 4, 5, 6, 7, 20, 40, 60, 99, 100]), np.arange(1, 101)
    column = x[:, None]
    assert polynomial(column, 3 * x * x - x, every[:, None]).tolist() == (3 * every * every - every).tolist()
    for y, between in (
        (x // 2, every // 2),
        ((2 * x + 5) // 3, (2 * every + 5) // 3),
        (np.minimum(x, 7), np.minimum(every, 7)),
    ):
        assert polynomial(column, y, every[:, None]).tolist() == between.tolist()
    for y in (np.where(x > 50, x + 1, x), np.maximum(x, 70), 2 ** x.clip(max=40)):
        assert polynomial(column, y, every[:, None]) is None


def test_polynomials_in_several_variables_are_exact():
    rng = np.random.default_rng(0)
    x, wanted = rng.integers(1, 129, (40, 2)), rng.integers(1, 1025, (100, 2))
    for function in (
        lambda a, b: a + b,
        lambda a, b: (a + b) * (a + b + 1) // 2,
        lambda a, b: 64 * a * b + 3,
        lambda a, b: a * a * b - 7 * b,
    ):
        assert polynomial(x, function(*x.T), wanted).tolist() == function(*wanted.T).tolist()
    assert polynomial(x, np.maximum(*x.T), wanted) is None


@pytest.mark.parametrize("kind", MODELS)
def test_parts_that_no_size_needs_are_not_computed(kind, model_of):
    """Sizes of which none leaves a rest: the code of the rest must not run, as it would write beyond the end of a row."""
    shapes, model = MODELS[kind][2], model_of(kind)
    rng = np.random.default_rng(9)
    events = [
        {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes(n).items()}
        for n in (72, 96, 192)
    ]
    reference, built = Reference(model), build_sizes(model.SerializeToString(), events, 0)
    for event, kernel in zip(events, open_kernels(built.sizes, batched=kind != "sequence"), strict=True):
        (expected,) = reference(event).values()
        np.testing.assert_allclose(kernel(list(event.values()))[0], expected, rtol=2e-5, atol=2e-5)


def test_an_edge_block_contracts_each_particle_once_and_is_stored_by_particles(model_of):
    shapes = MODELS["edge"][2]
    events = [{"x": np.zeros(shapes(n)["x"], np.float32)} for n in range(3, 30)]
    program = compile_sizes(model_of("edge"), events, 13).narrow
    contractions = [one for one in program.statements if isinstance(one, Contract)]
    assert [prod(typical(size) for size in one.positions) for one in contractions] == [16, 16, 48]
    assert all(one.out.strides[1] == 1 for one in contractions)
    gathers = [one for one in program.statements if isinstance(one, Pick)]
    assert [one.out.shape[1] for one in gathers] == [16]


@pytest.mark.parametrize("kind", MODELS)
def test_the_bits_of_an_event_do_not_depend_on_the_other_sizes(kind, model_of):
    shapes, model = MODELS[kind][2], model_of(kind).SerializeToString()
    rng = np.random.default_rng(11)
    every = {
        n: {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes(n).items()}
        for n in (5, 16, 30, 45, 180)
    }
    found = []
    for sizes in ((5, 16, 30), (5, 16, 30, 45), (5, 16, 30, 45, 180)):
        built = build_sizes(model, [every[n] for n in sizes], 0 if len(sizes) == 3 else len(sizes) - 1)
        kernels = open_kernels(built.sizes, batched=kind != "sequence")
        found.append([kernel(list(every[n].values()))[0] for n, kernel in zip(sizes, kernels, strict=True)])
    for one, other in itertools.pairwise(found):
        for a, b in zip(one, other, strict=False):
            np.testing.assert_array_equal(a.view(np.uint32), b.view(np.uint32))
