from __future__ import annotations

import hashlib
import json
import shutil
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import tamis
from tamis._base import BundleError, MissingExtraError, UsageError, VerificationError
from tamis.bundle import Bundle, Tolerance
from tamis.engines import Engine, Options, Runner, Session, find_engine, first_difference
from tamis.engines.chunking import choose_request
from tamis.measure import verify


@pytest.fixture
def tampered(bundle_of, tmp_path):
    """Return a function that edits a copy of the model and updates its checksum, as deliberate tampering would."""

    def change(edit):
        target = tmp_path / "tampered.tamis"
        shutil.copytree(bundle_of("dense").path, target)
        model = onnx.load(target / "model.onnx")
        edit(model)
        (target / "model.onnx").write_bytes(model.SerializeToString())
        manifest = json.loads((target / "manifest.json").read_text())
        data = (target / "model.onnx").read_bytes()
        manifest["files"]["model.onnx"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        (target / "manifest.json").write_text(json.dumps(manifest))
        return target

    return change


def test_a_model_that_does_not_reproduce_its_golden_outputs_is_rejected(tampered, engine_name):
    def edit(model):
        weights = numpy_helper.to_array(model.graph.initializer[0]).copy()
        weights += 0.01
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, model.graph.initializer[0].name))

    path = tampered(edit)
    message = rf"engine {engine_name} does not reproduce the output 'score' of the bundle dense: element \[\d+, 0\] is 0\.\d+, golden 0\.\d+, error \S+ >"
    with pytest.raises(VerificationError, match=message):
        tamis.open(path, engine_name)
    found = verify(path, engine_name)
    assert not found.passed
    assert "element [" in found.problem
    assert found.outputs[0].out_of_tolerance > 0


def test_a_graph_that_differs_from_the_manifest_is_rejected(tampered, engine_name):
    def edit(model):
        model.graph.input[0].name = "y"
        model.graph.node[0].input[0] = "y"

    with pytest.raises(BundleError, match=r"field signature.inputs: declares x \(float32\), the graph has y"):
        tamis.open(tampered(edit), engine_name)


def test_the_null_engine_measures_but_decides_nothing(bundle_of):
    bundle = bundle_of("dense")
    with tamis.open(bundle, "null") as session:
        assert not session.verified
        assert session(np.zeros((5, 12), np.float32)).shape == (5, 1)
    with pytest.raises(UsageError, match="computes nothing, so there is nothing to verify"):
        verify(bundle, "null")


def test_an_unknown_engine_is_reported_with_close_matches(bundle_of):
    with pytest.raises(UsageError, match="no engine is called 'onnxruntme'; did you mean 'onnxruntime'"):
        tamis.open(bundle_of("dense"), "onnxruntme")


def test_calling_a_bundle_without_a_score_suggests_run(bundle_of):
    with (
        tamis.open(bundle_of("conv1d")) as session,
        pytest.raises(UsageError, match=r"has no score; call session.run.*score, probabilities.*--score"),
    ):
        session(bundle_of("conv1d").golden.inputs["x"])


class NotThreadSafe(Engine):
    """An engine whose `run` must not be called concurrently."""

    name = "not-thread-safe"

    def load(self, model, signature, options):
        real = find_engine("onnxruntime").load(model, signature, options)
        running = []

        def run(arrays):
            assert not running
            running.append(True)
            scores = [real.run([row[None] for row in rows])[0] for rows in zip(*arrays, strict=True)]
            running.pop()
            return [np.concatenate(scores)]

        runner = Runner(run)
        runner.thread_safe = False
        return runner


def test_calls_of_an_engine_that_is_not_thread_safe_are_serialised(bundle_of):
    from concurrent.futures import ThreadPoolExecutor

    bundle = bundle_of("dense")
    x = bundle.golden.inputs["x"]
    with Session(bundle, NotThreadSafe(), Options()) as session, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(session, [x] * 16))
    np.testing.assert_allclose(found[0], bundle.golden.outputs["score"], rtol=1e-4, atol=1e-5)


class WithoutOutputs(NotThreadSafe):
    name = "without-outputs"

    def load(self, model, signature, options):
        return Runner(lambda _arrays: [])


def test_an_engine_that_omits_an_output_is_rejected(bundle_of):
    with pytest.raises(VerificationError, match="returns 0 outputs, the bundle dense declares 1"):
        Session(bundle_of("dense"), WithoutOutputs(), Options())


def test_a_missing_library_is_reported_with_its_pip_command(bundle_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tamis\[openvino\]'"):
        verify(bundle_of("dense"), "openvino")


def test_the_engine_remote_without_its_libraries_is_reported_with_its_pip_command(monkeypatch):
    for name in [name for name in sys.modules if name == "hpack" or name.startswith("tamis.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "hpack", None)
    with pytest.raises(MissingExtraError, match=r"hpack, .*the engine remote.*pip install 'tamis\[serve\]'"):
        find_engine("remote")


@pytest.mark.parametrize(
    ("value", "golden", "message"),
    [
        ([1.0, np.nan], [1.0, 2.0], r"element \[1\] is nan, golden 2"),
        ([1.0, np.inf], [1.0, np.inf], ""),
        ([np.nan, 1.0], [np.nan, 1.0], ""),
        ([np.inf, 1.0], [-np.inf, 1.0], r"element \[0\] is inf, golden -inf"),
        ([1.0, 2.2], [1.0, 2.0], r"element \[1\] is 2.2, golden 2, error 0.2.*1 of 2"),
        ([1.0], [1.0, 2.0], r"its shape is \(1,\), expected \(2,\)"),
    ],
)
def test_first_difference_names_the_worst_element(value, golden, message):
    import re

    found = first_difference(np.array(value), np.array(golden), Tolerance(absolute=0.01, relative=0.0))
    assert re.search(message, found) if message else found == ""


def test_integers_must_match_exactly():
    tolerance = Tolerance(absolute=10, relative=10)
    assert first_difference(np.array([1, 3]), np.array([1, 2]), tolerance)


def test_sessions_on_one_bundle_are_independent(bundle_of):
    path = bundle_of("dense").path
    first, second = tamis.open(path), tamis.open(Bundle.open(path))
    first.close()
    assert second(bundle_of("dense").golden.inputs["x"]).shape[1] == 1


def test_a_request_to_a_server_is_bounded_by_its_bytes_not_by_the_local_cache(bundle_of):
    signature = bundle_of("dense").manifest.signature
    row_bytes = sum(
        4 * int(np.prod([d if isinstance(d, int) else 1 for d in spec.shape[1:]]))
        for spec in (*signature.inputs, *signature.outputs)
    )
    assert choose_request(signature) == min(16_384, (1 << 23) // row_bytes)
