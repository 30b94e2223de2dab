"""The native engine: sizes of free dimensions, fixed batches, large batches, no Python headers."""

from __future__ import annotations

import numpy as np
import pytest

import tamis
from tamis._base import ModelError, UsageError
from tamis.bundle import pack
from tamis.engines import Options, find_engine
from tamis.measure import verify


@pytest.fixture
def free(parse_model, tmp_path):
    """Pack a model with a free number of particles per event."""
    model = parse_model(
        """free (float[N, n, 3] x) => (float[N, 1] score) {
            a = MatMul (x, w)
            b = Relu (a)
            axis = Constant <value_ints = [1]> ()
            score = ReduceSum <keepdims = 0> (b, axis)
        }""",
        w=(3, 1),
    )
    return pack(model, tmp_path / "free.tamis").bundle


def test_nothing_is_compiled_after_opening_and_every_size_is_answered(free, monkeypatch):
    rng = np.random.default_rng(0)
    with tamis.open(free, "native", dims={"n": [5, 200]}) as native, tamis.open(free, "onnxruntime") as other:
        monkeypatch.setattr("tamis.engines.native.build", None)
        monkeypatch.setattr("tamis.engines.native.build_sizes", None)
        for n in (5, 16, 1, 7, 128, 129, 200, 300, *range(20, 60)):
            x = rng.normal(size=(9, n, 3)).astype(np.float32)
            np.testing.assert_allclose(native(x), other(x), rtol=1e-5, atol=1e-5)
            out = native.bind(x)()[0]
            np.testing.assert_array_equal(out, native(x))
        many = rng.normal(size=(1000, 11, 3)).astype(np.float32)
        np.testing.assert_allclose(native(many), other(many), rtol=1e-5, atol=1e-5)
        assert "other sizes than n 1 to 128, 200 on onnxruntime" in native.explanation
        assert native.computed_by.startswith("native ")
        assert " and onnxruntime " in native.computed_by


def test_sizes_to_compile_are_checked(free, bundle_of):
    for bundle, dims, message in (
        (free, {"m": [5]}, "no free dimension 'm'; known: N, n"),
        (free, {"N": [5]}, "the number of events, which is free anyway"),
        (free, {"n": range(1, 2000)}, "1999 combinations of sizes; at most 1024"),
        (free, {"n": []}, "name integers of at least 1"),
        (free, {"n": [0]}, "name integers of at least 1"),
        (bundle_of("dense"), {"n": [5]}, "no free dimension 'n'"),
    ):
        with pytest.raises(UsageError, match=message):
            tamis.open(bundle, "native", dims=dims)


def test_a_model_is_loaded_without_a_bundle(free, bundle_of, parse_model, tmp_path):
    engine = find_engine("native")
    for bundle, shape in (
        (free, (7, 4, 3)),
        (bundle_of("dense"), (7, 12)),
        (bundle_of("fixed-batch"), (7, 6)),
    ):
        runner = engine.load(bundle.model_bytes, bundle.manifest.signature, Options())
        assert runner.run([np.zeros(shape, np.float32)])[0].shape[0] == 7
    model = parse_model("""m (double[N, 4] x) => (double[N, 4] y) { y = Relu (x) }""")
    bundle = pack(model, tmp_path / "double.tamis").bundle
    with pytest.raises(ModelError, match="float64"):
        engine.load(bundle.model_bytes, bundle.manifest.signature, Options())


def test_a_graph_with_a_fixed_batch_runs_in_such_batches(parse_model, tmp_path):
    model = parse_model(
        """four (float[4, 6] x) => (float[4, 2] score) { a = MatMul (x, w) score = Tanh (a) }""", w=(6, 2)
    )
    bundle = pack(model, tmp_path / "four.tamis").bundle
    assert bundle.manifest.signature.fixed_batch == 4
    assert verify(bundle, "native").passed
    x = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    with tamis.open(bundle, "native") as native, tamis.open(bundle, "onnxruntime") as other:
        np.testing.assert_allclose(native(x), other(x), rtol=1e-5, atol=1e-6)


def test_large_batches_are_split_at_16384_events(bundle_of):
    with tamis.open(bundle_of("conv1d"), "native") as native:
        assert native.chunk == 16_384
        x = np.random.default_rng(0).normal(size=(20_000, 3, 20)).astype(np.float32)
        scores = native.run(x)["score"]
        np.testing.assert_array_equal(scores[16_380:16_390], native.run(x[16_380:16_390])["score"])


def test_native_works_without_python_headers(bundle_of, monkeypatch):
    bundle = bundle_of("conv1d")
    with tamis.open(bundle, "native") as session:
        expected = session.run(**bundle.golden.inputs)
    monkeypatch.setattr("tamis.native.call.open.load_extension", lambda _compiler: None)
    with tamis.open(bundle, "native") as session:
        found = session.run(**bundle.golden.inputs)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["conv-vae", "graph-vae", "topology-both", "egamma", "facile", "em-trk-michel"]
)
def test_shipped_models_pass_the_gate(name):
    with tamis.open(name, "native") as session:
        assert session.verified


@pytest.fixture(scope="module")
def lists(tmp_path_factory, parse_model):
    """A model of two lists: the two largest elements of both together, and their mean."""
    model = parse_model(
        """lists (float[N, tracks] a, float[N, vertices] b) => (float[N, 2] most, float[N] mean) {
            x = Concat <axis = 1> (a, b)
            two = Constant <value_ints = [2]> ()
            most, places = TopK <axis = 1> (x, two)
            mean = ReduceMean <axes = [1], keepdims = 0> (x)
        }"""
    )
    folder = tmp_path_factory.mktemp("lists")
    return pack(model, folder / "lists.tamis", dims={"tracks": 5, "vertices": 3}).bundle


def test_several_free_dimensions_need_no_sizes(lists):
    rng = np.random.default_rng(0)
    with tamis.open(lists, "native") as native, tamis.open(lists, "onnxruntime") as other:
        assert "tracks 1 to 128 and vertices 1 to 128" in native.explanation
        for tracks, vertices in ((1, 1), (2, 1), (7, 31), (128, 128), (129, 1), (5, 3)):
            arrays = {
                "a": rng.normal(size=(4, tracks)).astype(np.float32),
                "b": rng.normal(size=(4, vertices)).astype(np.float32),
            }
            found, expected = native.run(**arrays), other.run(**arrays)
            np.testing.assert_array_equal(found["most"], expected["most"])
            np.testing.assert_allclose(found["mean"], expected["mean"], rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(native.bind(**arrays)()[1], found["mean"])


def test_named_sizes_of_several_dimensions_raise_the_bounds(lists):
    with tamis.open(lists, "native", dims={"vertices": [300]}) as session:
        assert "tracks 1 to 128 and vertices 1 to 300" in session.explanation
