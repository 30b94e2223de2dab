"""What is the native engine's own: sizes that are seen late, batches that a graph is fixed to, and where code is kept."""

from __future__ import annotations

import numpy as np
import pytest

import tamis
from tamis._base import ModelError
from tamis.bundle import pack
from tamis.engines import Options, find_engine
from tamis.engines.native import MOST_SIZES
from tamis.measure import verify


@pytest.fixture
def free(parse_model, tmp_path):
    """Pack a model whose events have any number of particles."""
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


def test_sizes_that_are_seen_late_are_compiled_for_then(free):
    rng = np.random.default_rng(0)
    with tamis.open(free, "native") as native, tamis.open(free, "onnxruntime") as other:
        for n in (5, 16, 1, 5):
            x = rng.normal(size=(9, n, 3)).astype(np.float32)
            np.testing.assert_allclose(native(x), other(x), rtol=1e-5, atol=1e-6)
            out = native.bind(x)()[0]
            np.testing.assert_array_equal(out, native(x))


def test_sizes_are_not_compiled_for_without_end(free, monkeypatch):
    monkeypatch.setattr("tamis.engines.native.MOST_SIZES", 2)
    assert MOST_SIZES > 2
    with tamis.open(free, "native") as session:
        session(np.zeros((1, 5, 3), np.float32))
        with pytest.raises(ModelError, match="this session has seen 2 of them; pad events to fewer sizes"):
            session(np.zeros((1, 6, 3), np.float32))
        session(np.zeros((1, 5, 3), np.float32))


def test_a_model_is_loaded_by_its_signature_alone(free, bundle_of, parse_model, tmp_path):
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


def test_a_graph_fixed_to_several_events_goes_through_in_such_batches(parse_model, tmp_path):
    model = parse_model(
        """four (float[4, 6] x) => (float[4, 2] score) { a = MatMul (x, w) score = Tanh (a) }""", w=(6, 2)
    )
    bundle = pack(model, tmp_path / "four.tamis").bundle
    assert bundle.manifest.signature.fixed_batch == 4
    assert verify(bundle, "native").passed
    x = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    with tamis.open(bundle, "native") as native, tamis.open(bundle, "onnxruntime") as other:
        np.testing.assert_allclose(native(x), other(x), rtol=1e-5, atol=1e-6)


def test_batches_come_whole(bundle_of):
    with tamis.open(bundle_of("conv1d"), "native") as native:
        assert native.chunk == 16_384
        x = np.random.default_rng(0).normal(size=(20_000, 3, 20)).astype(np.float32)
        found = native.run(x)["score"]
        np.testing.assert_array_equal(found[16_380:16_390], native.run(x[16_380:16_390])["score"])


def test_it_works_without_headers_of_python(bundle_of, monkeypatch):
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
