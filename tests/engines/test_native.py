"""The native engine: free dimensions compiled on demand, fixed batches, large batches, no Python headers."""

from __future__ import annotations

import numpy as np
import pytest

import tamis
from tamis._base import ModelError
from tamis.bundle import pack
from tamis.engines import Options, find_engine
from tamis.engines.native import MAX_COMPILED_SIZES
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


def test_free_dimensions_are_compiled_when_a_call_shows_their_sizes(free):
    rng = np.random.default_rng(0)
    with tamis.open(free, "native") as native, tamis.open(free, "onnxruntime") as other:
        for n in (5, 16, 1, 5):
            x = rng.normal(size=(9, n, 3)).astype(np.float32)
            np.testing.assert_allclose(native(x), other(x), rtol=1e-5, atol=1e-6)
            out = native.bind(x)()[0]
            np.testing.assert_array_equal(out, native(x))


def test_the_number_of_compiled_sizes_is_limited(free, monkeypatch):
    monkeypatch.setattr("tamis.engines.native.MAX_COMPILED_SIZES", 2)
    assert MAX_COMPILED_SIZES > 2
    with tamis.open(free, "native") as session:
        session(np.zeros((1, 5, 3), np.float32))
        with pytest.raises(
            ModelError, match="this session reached the limit of 2; pad events to fewer sizes"
        ):
            session(np.zeros((1, 6, 3), np.float32))
        session(np.zeros((1, 5, 3), np.float32))


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
