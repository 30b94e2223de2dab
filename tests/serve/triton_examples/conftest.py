"""A server with the models that the Python examples of NVIDIA's client expect, as ONNX, and what these do and compare.

The examples that cannot pass ask for what the server does not have: sequences (`simple_*_sequence_*`), several answers to a
request (`simple_grpc_custom_repeat`), GPU memory (`*_cudashm_*`), ensembles (`ensemble_image_client`) and vLLM.
"""

from __future__ import annotations

import asyncio
import inspect

import numpy as np
import onnx
import pytest
import tritonclient.grpc as grpc
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http
import tritonclient.http.aio as http_aio
from tritonclient import utils

SIMPLE = """
max_batch_size: 8
input [ {{ name: "INPUT0" data_type: {0} dims: [ 16 ] }}, {{ name: "INPUT1" data_type: {0} dims: [ 16 ] }} ]
output [ {{ name: "OUTPUT0" data_type: {0} dims: [ 16 ] }}, {{ name: "OUTPUT1" data_type: {0} dims: [ 16 ] }} ]
"""
IDENTITY = """
max_batch_size: 8
input [ {{ name: "INPUT0" data_type: {0} dims: [ -1 ] }} ]
output [ {{ name: "OUTPUT0" data_type: {0} dims: [ -1 ] }} ]
"""
IMAGE = """
max_batch_size: 4
input [ { name: "image" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 4, 4 ] } ]
output [ { name: "scores" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" } ]
"""
ADD = """add ({0}[N, 16] INPUT0, {0}[N, 16] INPUT1) => ({0}[N, 16] OUTPUT0, {0}[N, 16] OUTPUT1) {{
    OUTPUT0 = Add (INPUT0, INPUT1)
    OUTPUT1 = Sub (INPUT0, INPUT1)
}}"""
ADD_AS_INT32 = """add ({0}[N, 16] INPUT0, {0}[N, 16] INPUT1) => ({0}[N, 16] OUTPUT0, {0}[N, 16] OUTPUT1) {{
    a = Cast <to = 6> (INPUT0)
    b = Cast <to = 6> (INPUT1)
    sum = Add (a, b)
    difference = Sub (a, b)
    OUTPUT0 = CastLike (sum, INPUT0)
    OUTPUT1 = CastLike (difference, INPUT0)
}}"""
PICTURE = """p (float[N, 3, 4, 4] image) => (float[N, 3] scores) {
    axes = Constant <value_ints = [2, 3]> ()
    scores = ReduceMean <axes = [2, 3], keepdims = 0> (image)
}"""
FIRST = np.arange(16, dtype=np.int32)[None]
SECOND = np.ones((1, 16), np.int32)


class ExampleServer:
    """The server's addresses by module of the client, and what the examples have in common."""

    def __init__(self, addresses):
        self.addresses = addresses
        self.grpc, self.http = addresses[grpc], addresses[http]

    def run(self, module, example):
        """Run an example with a client of the module; `ask` waits for an answer where the client is asynchronous."""

        async def ask(answer):
            return await answer if inspect.isawaitable(answer) else answer

        async def run():
            client = module.InferenceServerClient(self.addresses[module])
            try:
                await example(client, ask)
            finally:
                await ask(client.close())

        asyncio.run(run())

    @staticmethod
    def tensors(module, first, second, datatype="INT32", **options):
        inputs = []
        for name, array in (("INPUT0", first), ("INPUT1", second)):
            inputs.append(module.InferInput(name, array.shape, datatype))
            inputs[-1].set_data_from_numpy(array, **options)
        return inputs

    @staticmethod
    def requested(module, *names):
        return [module.InferRequestedOutput(name) for name in names]

    @staticmethod
    def check(result, first=FIRST, second=SECOND):
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0").astype(np.int32), first + second)
        np.testing.assert_array_equal(result.as_numpy("OUTPUT1").astype(np.int32), first - second)

    @staticmethod
    def field(answer, name):
        return answer[name] if isinstance(answer, dict) else getattr(answer, name)


@pytest.fixture(scope="module")
def server(start_for_all, tmp_path_factory, parse_model):
    """A server of the models of the examples, which calls itself triton."""
    repository = tmp_path_factory.mktemp("models")
    models = {
        "simple": (SIMPLE.format("TYPE_INT32"), ADD.format("int32")),
        "simple_int8": (SIMPLE.format("TYPE_INT8"), ADD_AS_INT32.format("int8")),
        "simple_string": (
            SIMPLE.format("TYPE_STRING")
            + 'model_warmup { name: "numbers" batch_size: 1 '
            + "".join(
                f'inputs {{ key: "{name}" value {{ data_type: TYPE_STRING dims: [ 16 ] input_data_file: "ones" }} }} '
                for name in ("INPUT0", "INPUT1")
            )
            + "}",
            ADD_AS_INT32.format("string"),
        ),
        "simple_identity": (
            IDENTITY.format("TYPE_STRING"),
            "i (string[N, K] INPUT0) => (string[N, K] OUTPUT0) { OUTPUT0 = Identity (INPUT0) }",
        ),
        "custom_identity_int32": (
            IDENTITY.format("TYPE_INT32"),
            "i (int32[N, K] INPUT0) => (int32[N, K] OUTPUT0) { OUTPUT0 = Identity (INPUT0) }",
        ),
        "densenet_onnx": (IMAGE, PICTURE),
    }
    for name, (config, graph) in models.items():
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text('backend: "onnxruntime"' + config)
        onnx.save(parse_model(graph), repository / name / "1" / "model.onnx")
    (repository / "simple_string" / "warmup").mkdir()
    ones = utils.serialize_byte_tensor(np.full(16, b"1", object)).item()
    (repository / "simple_string" / "warmup" / "ones").write_bytes(ones)
    (repository / "densenet_onnx" / "labels.txt").write_text("red\ngreen\nblue\n")
    started = start_for_all(repository, "--server-name", "triton")
    assert started.output[-1] == "ready", started.output
    addresses = (started.grpc, started.grpc, started.http, started.http)
    return ExampleServer(dict(zip((grpc, grpc_aio, http, http_aio), addresses, strict=True)))
