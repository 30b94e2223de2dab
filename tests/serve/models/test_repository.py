"""Served repositories as Triton's clients see them, while models are loaded and unloaded."""

from __future__ import annotations

import asyncio
import shutil
import threading

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from tamis._base import ChecksumError, ModelError, TamisError, UnsafeBundleError, UsageError
from tamis.engines import Session
from tamis.serve.export import export_triton
from tamis.serve.models.folders import find_models
from tamis.serve.models.model import OpeningSettings
from tamis.serve.models.opening import open_models


@pytest.fixture
def client_of():
    clients: list[triton.InferenceServerClient] = []

    def connect(server) -> triton.InferenceServerClient:
        clients.append(triton.InferenceServerClient(f"127.0.0.1:{server.port}"))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def infer(client, model, output, version="", **arrays):
    inputs = []
    for name, array in arrays.items():
        datatype = {"f": "FP32", "O": "BYTES", "i": "INT64"}[array.dtype.kind]
        inputs.append(triton.InferInput(name, array.shape, datatype))
        inputs[-1].set_data_from_numpy(array)
    return client.infer(model, inputs, model_version=version, client_timeout=20).as_numpy(output)


def opened(write, *, name="m"):
    """Open a model of a written repository."""
    return open_models(find_models([write.parent])[name], OpeningSettings())


def states(client):
    return {
        (one.name, one.version): (one.state, one.reason) for one in client.get_model_repository_index().models
    }


X = np.arange(6, dtype=np.float32).reshape(2, 3)
SCALE = """
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] } ]
dynamic_batching { }
"""


def test_particle_tagger_of_a_site_is_served_unchanged(particle_net, serve, client_of):
    server = serve()
    client = client_of(server)
    rng = np.random.default_rng(1)
    for particles in (8, 50, 8):
        arrays = {
            "pf_points": rng.normal(size=(1, 2, particles)).astype(np.float32),
            "pf_features": rng.normal(size=(1, 4, particles)).astype(np.float32),
            "pf_mask": np.ones((1, 1, particles), np.float32),
        }
        scores = infer(client, "particlenet", "softmax", **arrays)
        assert scores.shape == (1, 3)
        assert scores.sum() == pytest.approx(1)
    loaded = server.service.find("particlenet")
    assert len(loaded.model.instances) == 2
    assert loaded.model.spec.outputs[0].labels == ("QCD", "Top", "Higgs")
    assert loaded.model.spec.facts["verified"].startswith("yes")
    assert loaded.model.spec.facts["warm"] == "yes"
    assert "runs on the CPU here" in loaded.model.spec.facts["ignored"]
    config = client.get_model_config("particlenet").config
    assert [one.name for one in config.input] == ["pf_points", "pf_features", "pf_mask"]
    assert config.backend == "onnxruntime"


def test_file_with_a_wrong_checksum_is_rejected(particle_net):
    text = (particle_net / "config.pbtxt").read_text()
    model = particle_net / "1" / "model.onnx"
    model.write_bytes(model.read_bytes() + b"\n")
    with pytest.raises(ChecksumError, match=r"model\.onnx has the MD5 .*config\.pbtxt expects"):
        opened(particle_net, name="particlenet")
    (particle_net / "config.pbtxt").write_text(text.replace("MD5:1/", "MD5:../"))
    with pytest.raises(ModelError, match="has to stay within the model's folder"):
        opened(particle_net, name="particlenet")


def test_model_is_served_without_its_labels_file(particle_net):
    (particle_net / "particlenet_labels.txt").unlink()
    (model,) = opened(particle_net, name="particlenet")
    assert model.spec.outputs[0].labels == ()
    assert "its classes have no labels" in model.spec.facts["off"]


def test_links_may_lead_into_another_served_directory(write_model, scale_model, tmp_path):
    folder = write_model("m", SCALE, v1=scale_model())
    (tmp_path / "files").mkdir()
    (folder / "1" / "model.onnx").rename(tmp_path / "files" / "scale.onnx")
    (folder / "1" / "model.onnx").symlink_to(tmp_path / "files" / "scale.onnx")
    with pytest.raises(UnsafeBundleError, match="serve the directory of its target as well"):
        opened(folder)
    assert open_models(find_models([folder.parent, tmp_path / "files"])["m"], OpeningSettings())


def test_versions_are_served_side_by_side(write_model, scale_model, serve, client_of):
    write_model("scale", SCALE + "version_policy { all { } }", v1=scale_model(1.0), v2=scale_model(2.0))
    client = client_of(serve())
    assert infer(client, "scale", "y", "1", x=X).tolist() == X.tolist()
    assert infer(client, "scale", "y", x=X).tolist() == (2 * X).tolist()
    assert states(client) == {("scale", "1"): ("READY", ""), ("scale", "2"): ("READY", "")}


def test_missing_configuration_is_completed_from_the_graph(write_model, scale_model, serve, client_of):
    write_model("bare", None, v1=scale_model(3.0))
    client = client_of(serve())
    assert infer(client, "bare", "y", x=X).tolist() == (3 * X).tolist()
    config = client.get_model_config("bare").config
    assert config.max_batch_size == 4
    assert config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [3]


def test_graph_without_a_free_first_dimension_has_no_batch(write_model, parse_model, serve, client_of):
    write_model(
        "whole",
        "",
        v1=parse_model(
            "whole (float[2, 3] x) => (float[2] y) { a = Constant <value_ints = [1]> () y = ReduceSum <keepdims = 0> (x, a) }"
        ),
    )
    client = client_of(serve())
    assert client.get_model_config("whole").config.max_batch_size == 0
    assert infer(client, "whole", "y", x=X).tolist() == [3, 12]


def test_strings_round_trip(write_model, parse_model, serve, client_of):
    write_model(
        "echo", None, v1=parse_model("echo (string[N, 2] s) => (string[N, 2] t) { t = Identity (s) }")
    )
    client = client_of(serve())
    text = np.array([["Z→ττ", "jet"]], object)
    assert [item.decode() for item in infer(client, "echo", "t", s=text).ravel()] == ["Z→ττ", "jet"]
    with pytest.raises(InferenceServerException, match="is not UTF-8"):
        infer(client, "echo", "t", s=np.array([[b"\xff", b"a"]], object))


def test_reshape_adds_and_removes_a_dimension(write_model, parse_model, serve, client_of):
    config = """
max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } }
output { name: "y" data_type: TYPE_FP32 dims: [ 1, 1 ] reshape { shape: [ ] } }
"""
    write_model("flat", config, v1=parse_model("flat (float[N] x) => (float[N] y) { y = Neg (x) }"))
    client = client_of(serve())
    assert infer(client, "flat", "y", x=np.array([[1], [2]], np.float32)).tolist() == [[[-1]], [[-2]]]


def test_missing_optional_input_has_the_default_of_the_graph(write_model, parse_model, serve, client_of):
    model = parse_model("opt (float[N, 3] x, float[1, 3] b) => (float[N, 3] y) { y = Add (x, b) }", b=(1, 3))
    config = """
max_batch_size: 0
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 3 ] }, { name: "b" data_type: TYPE_FP32 dims: [ 1, 3 ] optional: true } ]
output { name: "y" data_type: TYPE_FP32 dims: [ -1, 3 ] }
"""
    write_model("opt", config, v1=model)
    client = client_of(serve())
    default = np.frombuffer(model.graph.initializer[0].raw_data, np.float32)
    np.testing.assert_allclose(infer(client, "opt", "y", x=X), X + default)
    np.testing.assert_allclose(infer(client, "opt", "y", x=X, b=np.ones((1, 3), np.float32)), X + 1)


def test_external_data_must_be_next_to_the_model(write_model, parse_model, tmp_path):
    import onnx

    model = parse_model("big (float[N, 3] x) => (float[N, 3] y) { y = MatMul (x, w) }", w=(3, 3))
    folder = write_model("m", None, v1=model)
    onnx.save(
        model, folder / "1" / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    assert opened(folder)[0].spec.facts["verified"].startswith("yes")
    (folder / "1" / "w.bin").rename(tmp_path / "w.bin")
    (folder / "1" / "w.bin").symlink_to(tmp_path / "w.bin")
    with pytest.raises(TamisError, match="stores the tensor 'w' in another file"):
        opened(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('name: "x"', 'name: "X"'), "has no input 'X'; did you mean 'x'"),
        (('name: "y"', 'name: "z"'), "has no output 'z'"),
        (("dims: [ 3 ]", "dims: [ 4 ]"), r"input 'x' has dims \[4\]; the graph has \[3\] after the batch"),
        (("TYPE_FP32", "TYPE_FP64"), "input 'x' has data_type FP64; the graph has FP32"),
        (("max_batch_size: 8", "max_batch_size: 0"), r"has dims \[3\]; the graph has \[-1, 3\]"),
        (
            ("max_batch_size: 8", 'max_batch_size: 8 name: "other"'),
            "field name is 'other', but the model is 'm'",
        ),
        (
            ("max_batch_size: 8", 'max_batch_size: 8 default_model_filename: "modle.onnx"'),
            "there is no .*modle.onnx; did you mean 'model.onnx'",
        ),
        (("dims: [ 3 ] } ]\noutput", "dims: [ 3 ] optional: true } ]\noutput"), "'x' is optional, but"),
        (
            (
                "dynamic_batching { }",
                'parameters { key: "intra_op_thread_count" value { string_value: "many" } }',
            ),
            "write an integer",
        ),
    ],
)
def test_configuration_that_contradicts_the_graph_is_rejected(write_model, scale_model, change, message):
    folder = write_model("m", SCALE.replace(*change, 1), v1=scale_model())
    with pytest.raises(ModelError, match=message):
        opened(folder)


def test_too_large_sizes_are_rejected_without_allocation(write_model, parse_model):
    config = SCALE.replace("dims: [ 3 ]", "dims: [ 1000000000000 ]")
    folder = write_model("m", config, v1=parse_model("n (float[N, K] x) => (float[N, K] y) { y = Neg (x) }"))
    with pytest.raises(ModelError, match="give it smaller dims"):
        opened(folder)


def test_fixed_first_dimension_is_not_a_batch(write_model, parse_model):
    folder = write_model("m", SCALE, v1=parse_model("one (float[1, 3] x) => (float[1, 3] y) { y = Neg (x) }"))
    with pytest.raises(ModelError, match="max_batch_size is 8, but the graph has the fixed shape"):
        opened(folder)


def test_model_whose_rows_depend_on_each_other_is_not_batched(write_model, parse_model):
    mixed = parse_model(
        "mix (float[N, 3] x) => (float[N, 3] y) { a = Constant <value_ints = [0]> () m = ReduceMean <axes = [0]> (x) y = Sub (x, m) }"
    )
    folder = write_model("m", SCALE, v1=mixed)
    (model,) = opened(folder)
    assert model.spec.batching is None
    assert "depend on the other rows" in model.spec.facts["off"]


def test_model_that_differs_from_the_reference_is_rejected(write_model, parse_model, monkeypatch):
    from tamis.serve.models import onnx_models

    folder = write_model("m", SCALE, v1=parse_model("s (float[N, 3] x) => (float[N, 3] y) { y = Neg (x) }"))
    wrong = parse_model("s (float[N, 3] x) => (float[N, 3] y) { y = Abs (x) }")
    original_open = onnx_models.open_session
    monkeypatch.setattr(
        onnx_models, "open_session", lambda data, threads: original_open(wrong.SerializeToString(), threads)
    )
    with pytest.raises(TamisError, match="output 'y' differs from the float64 reference by"):
        opened(folder)
    skip = 'parameters { key: "tamis_verify" value { string_value: "false" } }'
    (folder / "config.pbtxt").write_text(SCALE + skip)
    assert opened(folder)[0].spec.facts["verified"].startswith("no: disabled")


def test_failing_warmup_sample_rejects_the_model(write_model, parse_model):
    gather = parse_model("g (int64[N, 1] x) => (float[N, 1, 3] y) { y = Gather <axis = 0> (t, x) }", t=(5, 3))
    config = """
max_batch_size: 4
input { name: "x" data_type: TYPE_INT64 dims: [ 1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 1, 3 ] }
model_warmup { name: "beyond" batch_size: 1 inputs { key: "x" value { data_type: TYPE_INT64 dims: [ 1 ] input_data_file: "nine" } } }
"""
    folder = write_model("m", config, v1=gather)
    (folder / "warmup").mkdir()
    (folder / "warmup" / "nine").write_bytes(np.array([9], np.int64).tobytes())
    with pytest.raises(ModelError, match="model_warmup 'beyond' fails"):
        opened(folder)
    (folder / "warmup" / "nine").write_bytes(np.array([4], np.int64).tobytes())
    assert opened(folder)[0].spec.facts["warm"] == "yes"


def test_invalid_request_does_not_fail_the_rest_of_its_batch(write_model, parse_model, serve, client_of):
    gather = parse_model("g (int64[N, 1] x) => (float[N, 1, 3] y) { y = Gather <axis = 0> (t, x) }", t=(5, 3))
    config = """
max_batch_size: 8
input { name: "x" data_type: TYPE_INT64 dims: [ 1 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 1, 3 ] }
dynamic_batching { max_queue_delay_microseconds: 200000 preferred_batch_size: [ 8 ] }
"""
    write_model("gather", config, v1=gather)
    client = client_of(serve())
    results: list[object] = []
    together = threading.Event()

    def collect(result, error):
        results.append(error or result)
        if len(results) == 8:
            together.set()

    for index in (0, 1, 2, 9, 3, 4, 0, 1):
        tensor = triton.InferInput("x", [1, 1], "INT64")
        tensor.set_data_from_numpy(np.array([[index]], np.int64))
        client.async_infer("gather", [tensor], collect)
    assert together.wait(20)
    errors = [one for one in results if isinstance(one, InferenceServerException)]
    assert len(errors) == 1
    assert "failed" in str(errors[0])


def test_statistics_count_requests_rows_and_batches(write_model, scale_model, serve, client_of):
    write_model("scale", SCALE, v1=scale_model())
    client = client_of(serve())
    for _ in range(3):
        infer(client, "scale", "y", x=X)
    (statistics,) = client.get_inference_statistics("scale").model_stats
    assert (statistics.inference_count, statistics.execution_count) == (6, 3)
    assert statistics.inference_stats.success.count == 3
    assert statistics.inference_stats.success.ns >= statistics.inference_stats.compute_infer.ns > 0
    assert [(one.batch_size, one.compute_infer.count) for one in statistics.batch_stats] == [(2, 3)]
    assert statistics.last_inference > 0
    assert len(client.get_inference_statistics().model_stats) == 1
    with pytest.raises(InferenceServerException, match="Request for unknown model: 'scael'"):
        client.get_inference_statistics("scael")


def test_other_models_are_loaded_when_one_fails(write_model, scale_model, serve, client_of):
    write_model("broken", SCALE, v1=b"no model at all")
    write_model("odd", SCALE.replace("dynamic_batching", "sequence_batching"), v1=scale_model())
    write_model("scale", SCALE, v1=scale_model())
    server = serve()
    client = client_of(server)
    index = states(client)
    assert index["scale", "1"] == ("READY", "")
    assert index["broken", ""][0] == "UNAVAILABLE"
    assert "is not an ONNX model" in index["broken", ""][1]
    assert "field sequence_batching" in index["odd", ""][1]
    assert not client.is_model_ready("broken")
    assert client.is_model_ready("scale")
    assert not server.repository.is_ready
    assert [one.name for one in server.repository.index(only_ready=True)] == ["scale"]


def test_models_are_unloaded_and_loaded(write_model, scale_model, serve, client_of):
    write_model("scale", SCALE, v1=scale_model(1.0))
    client = client_of(serve())
    client.unload_model("scale")
    assert states(client) == {("scale", "1"): ("UNAVAILABLE", "unloaded")}
    with pytest.raises(InferenceServerException, match="Request for unknown model: 'scale'"):
        infer(client, "scale", "y", x=X)
    client.load_model("scale")
    assert infer(client, "scale", "y", x=X).tolist() == X.tolist()
    write_model("later", SCALE, v1=scale_model(5.0))
    client.load_model("later")
    assert infer(client, "later", "y", x=X).tolist() == (5 * X).tolist()


def test_failed_reload_keeps_the_old_model(write_model, scale_model, serve, client_of):
    write_model("scale", SCALE, v1=scale_model(1.0))
    client = client_of(serve())
    write_model("scale", SCALE, v1=b"torn")
    with pytest.raises(InferenceServerException, match="is not an ONNX model"):
        client.load_model("scale")
    assert infer(client, "scale", "y", x=X).tolist() == X.tolist()
    state, reason = states(client)["scale", "1"]
    assert state == "READY"
    assert "the version loaded before remains" in reason


def test_reload_under_traffic_loses_no_request(write_model, scale_model, serve, client_of):
    write_model("scale", SCALE, v1=scale_model(1.0))
    server = serve()
    client, stop, factors = client_of(server), threading.Event(), []
    failed: list[Exception] = []

    def send_requests():
        other = client_of(server)
        while not stop.is_set():
            try:
                factors.append(infer(other, "scale", "y", x=X)[0, 1])
            except InferenceServerException as error:
                failed.append(error)

    threads = [threading.Thread(target=send_requests) for _ in range(3)]
    for thread in threads:
        thread.start()
    for factor in (2.0, 3.0, 4.0, 5.0):
        write_model("scale", SCALE, v1=scale_model(factor))
        client.load_model("scale")
        assert infer(client, "scale", "y", x=X)[0, 1] == factor  # no longer the old model
    stop.set()
    for thread in threads:
        thread.join(20)
    assert failed == []
    assert set(factors) <= {1, 2, 3, 4, 5}
    assert len(set(factors)) > 1


def test_index_can_be_limited_to_ready_models(write_model, scale_model, serve, client_of):
    write_model("broken", SCALE, v1=b"nothing")
    write_model("scale", SCALE, v1=scale_model())
    client = client_of(serve())
    stub = client._client_stub
    models = stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=True)).models
    assert [one.name for one in models] == ["scale"]
    with pytest.raises(grpc.RpcError, match="leave repository_name empty"):
        stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(repository_name="x"))


def test_replaced_and_unloaded_models_are_closed(write_model, scale_model, serve):
    write_model("scale", SCALE, v1=scale_model())
    server = serve()
    old, closed = server.service.find("scale"), threading.Event()
    old.model.close = closed.set
    server.call(server.repository.load("scale"))
    assert closed.wait(20)
    assert server.service.find("scale") is not old
    new, closed_too = server.service.find("scale"), threading.Event()
    new.model.close = closed_too.set
    server.call(server.repository.unload("scale"))
    assert closed_too.is_set()


def test_versions_of_an_exported_bundle_are_closed_if_a_later_one_fails(tmp_path, bundle_of, monkeypatch):
    folder = export_triton(bundle_of("dense"), tmp_path / "repository")
    shutil.copytree(folder / "1", folder / "2")
    (folder / "2" / "bundle" / "model.onnx").write_bytes(b"damaged")
    config = folder / "config.pbtxt"
    config.write_text(config.read_text().replace("num_versions: 1", "num_versions: 2"))
    closed, close = [], Session.close
    monkeypatch.setattr(Session, "close", lambda session: (closed.append(session), close(session)))
    with pytest.raises(ChecksumError):
        opened(folder, name=folder.name)
    assert len(closed) == 1


def test_sizes_that_only_the_graph_fixes_are_required_of_requests(write_model, scale_model, serve, client_of):
    write_model("scale", SCALE.replace("dims: [ 3 ]", "dims: [ -1 ]"), v1=scale_model())
    client = client_of(serve())
    assert infer(client, "scale", "y", x=X).tolist() == (2 * X).tolist()
    with pytest.raises(InferenceServerException, match=r"has the shape \[-1, 3\]; the request has \[2, 2\]"):
        infer(client, "scale", "y", x=X[:, :2].copy())


@pytest.mark.parametrize("name", ["../secret", "a/b", "..", "/etc", ".hidden", "", "a\\b", "x" * 300, "a\0b"])
def test_model_name_is_never_used_as_a_path(write_model, scale_model, serve, client_of, name):
    write_model("scale", SCALE, v1=scale_model())
    client = client_of(serve())
    for method in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="is not a valid model name"):
            method(name)


def test_links_out_of_the_repository_are_rejected(write_model, scale_model, tmp_path, serve, client_of):
    folder = write_model("away", SCALE, v1=scale_model())
    folder.rename(tmp_path / "elsewhere")
    write_model("scale", SCALE, v1=scale_model())
    (tmp_path / "models" / "away").symlink_to(tmp_path / "elsewhere")
    for inner in ("1", "1/model.onnx", "config.pbtxt"):
        name = f"file-{inner.replace('/', '-')}"
        copy = write_model(name, SCALE, v1=scale_model())
        (copy / inner).rename(tmp_path / name)
        (copy / inner).symlink_to(tmp_path / name)
    (tmp_path / "models" / "alias").symlink_to(tmp_path / "models" / "scale")
    client = client_of(serve())
    index = states(client)
    assert index.pop(("scale", "1"))[0] == "READY"
    assert index.pop(("alias", "1"))[0] == "READY"
    assert len(index) == 4
    for state, reason in index.values():
        assert state == "UNAVAILABLE"
        assert "leads out of" in reason


def test_models_with_the_same_name_are_not_served(write_model, scale_model, tmp_path, serve, client_of):
    first = write_model("scale", SCALE, v1=scale_model())
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "scale").mkdir()
    (tmp_path / "more" / "scale" / "config.pbtxt").write_text("")
    client = client_of(serve(first.parent, tmp_path / "more"))
    state, reason = states(client)["scale", ""]
    assert state == "UNAVAILABLE"
    assert "rename one" in reason


def test_bundles_are_served_beside_triton_models(bundle_of, write_model, scale_model, serve, client_of):
    write_model("scale", SCALE, v1=scale_model())
    dense = bundle_of("dense")
    server = serve(dense.path, write_model("scale", SCALE).parent)
    client = client_of(server)
    assert {name for name, _ in states(client)} == {dense.name, "scale"}
    signature = dense.manifest.signature
    arrays = {spec.name: dense.golden.inputs[spec.name][:2] for spec in signature.inputs}
    found = infer(client, dense.name, signature.outputs[0].name, **arrays)
    np.testing.assert_allclose(
        found, dense.golden.outputs[signature.outputs[0].name][:2], rtol=1e-4, atol=1e-5
    )
    assert client.get_model_config(dense.name).config.max_batch_size > 0


def test_folder_of_bundles_is_found(bundle_of, tmp_path):
    parent = bundle_of("dense").path.parent
    assert bundle_of("dense").name in find_models([parent])


def test_single_model_is_not_a_repository(write_model, scale_model):
    with pytest.raises(UsageError, match="give the folder that contains it"):
        find_models([write_model("scale", SCALE, v1=scale_model())])


def test_loading_does_not_block_the_event_loop(write_model, scale_model, serve, client_of, monkeypatch):
    from tamis.serve.models import overrides

    write_model("scale", SCALE, v1=scale_model(1.0))
    server = serve()
    client, other = client_of(server), client_of(server)
    released, entered, original_open = threading.Event(), threading.Event(), overrides.open_models

    def slow(place, settings, config):
        entered.set()
        assert released.wait(20)
        return original_open(place, settings, config)

    monkeypatch.setattr(overrides, "open_models", slow)
    loading = asyncio.run_coroutine_threadsafe(server.repository.load("scale"), server.loop)
    assert entered.wait(20)
    assert infer(client, "scale", "y", x=X).tolist() == X.tolist()
    assert other.is_server_live()
    released.set()
    loading.result(20)
