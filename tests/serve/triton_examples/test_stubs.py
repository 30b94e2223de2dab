"""Requests made of protobuf messages, as in the Python examples of NVIDIA's client that use gRPC's own stubs."""

from __future__ import annotations

import grpc as grpcio
import numpy as np
import pytest
from tritonclient import utils
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

FIRST = np.arange(16, dtype=np.int32)[None]


@pytest.fixture
def stub(server):
    with grpcio.insecure_channel(server.grpc) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def explicit(model, datatype, contents, first, second):
    request = service_pb2.ModelInferRequest(model_name=model)
    for name, values in (("INPUT0", first), ("INPUT1", second)):
        tensor = request.inputs.add(name=name, datatype=datatype, shape=[1, 16])
        getattr(tensor.contents, contents)[:] = values
    for name in ("OUTPUT0", "OUTPUT1"):
        request.outputs.add(name=name)
    return request


def test_explicit_integers(stub):
    """grpc_explicit_int_content_client.py, grpc_explicit_int8_content_client.py."""
    for model, datatype, dtype in (("simple", "INT32", np.int32), ("simple_int8", "INT8", np.int8)):
        request = explicit(model, datatype, "int_contents", range(16), [1] * 16)
        response = stub.ModelInfer(request)
        for raw, expected in zip(response.raw_output_contents, (FIRST + 1, FIRST - 1), strict=True):
            np.testing.assert_array_equal(np.frombuffer(raw, dtype), expected[0])
    request.model_version = "wrong_specification"
    with pytest.raises(grpcio.RpcError) as error:
        stub.ModelInfer(request)
    expected = "failed to get model version from specified version string 'wrong_specification'"
    assert expected in str(error.value)
    request = explicit("simple", "INT32", "int_contents", range(8, 16), [1] * 16)
    half = explicit("simple", "INT32", "int_contents", range(16), [1] * 16)
    half.inputs[1].ClearField("contents")
    for mixed, raw in ((request, np.arange(8)), (half, np.arange(16))):
        mixed.raw_input_contents.append(raw.astype(np.int32).tobytes())
        with pytest.raises(grpcio.RpcError) as error:
            stub.ModelInfer(mixed)
        expected = "contents field must not be specified when using raw_input_contents for 'INPUT0' for model 'simple'"
        assert expected in str(error.value)


def test_explicit_strings(stub):
    """grpc_explicit_byte_content_client.py."""
    numbers = [str(number).encode() for number in range(16)]
    response = stub.ModelInfer(explicit("simple_string", "BYTES", "bytes_contents", numbers, [b"1"] * 16))
    for raw, expected in zip(response.raw_output_contents, (FIRST + 1, FIRST - 1), strict=True):
        np.testing.assert_array_equal(utils.deserialize_bytes_tensor(raw).astype(int), expected[0])


def test_images(stub):
    """grpc_image_client.py, image_client.py and grpc_client.py: plain, asynchronous and streamed, with classes."""
    metadata = stub.ModelMetadata(service_pb2.ModelMetadataRequest(name="densenet_onnx"))
    config = stub.ModelConfig(service_pb2.ModelConfigRequest(name="densenet_onnx")).config
    assert (len(metadata.inputs), len(metadata.outputs), len(config.input)) == (1, 1, 1)
    assert (metadata.outputs[0].datatype, list(metadata.inputs[0].shape)) == ("FP32", [-1, 3, 4, 4])
    assert config.input[0].format == model_config_pb2.ModelInput.FORMAT_NCHW
    assert config.max_batch_size == 4
    pictures = np.zeros((2, 3, 4, 4), np.float32)
    pictures[0, 1], pictures[1, 2] = 2.0, 3.0
    request = service_pb2.ModelInferRequest(model_name="densenet_onnx")
    request.inputs.add(name="image", datatype="FP32", shape=pictures.shape)
    request.outputs.add(name="scores").parameters["classification"].int64_param = 2
    request.raw_input_contents.append(pictures.tobytes())
    streamed = list(stub.ModelStreamInfer(iter([request, request])))
    assert [response.error_message for response in streamed] == ["", ""]
    responses = [
        stub.ModelInfer(request),
        stub.ModelInfer.future(request).result(),
        *[response.infer_response for response in streamed],
    ]
    for response in responses:
        (raw,) = response.raw_output_contents
        classes = utils.deserialize_bytes_tensor(raw).reshape(response.outputs[0].shape)
        assert classes.shape == (2, 2)
        assert [row[0].decode().split(":")[1:] for row in classes] == [["1", "green"], ["2", "blue"]]
