"""Health, metadata, inference, strings and model control, as in the Python examples of NVIDIA's client."""

from __future__ import annotations

import queue

import numpy as np
import pytest
import tritonclient.grpc as grpc
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http
import tritonclient.http.aio as http_aio
from tritonclient.utils import InferenceServerException

FIRST = np.arange(16, dtype=np.int32)[None]
SECOND = np.ones((1, 16), np.int32)
WRONG = "wrong_model_name"

ALL = pytest.mark.parametrize(
    "module", [grpc, http, grpc_aio, http_aio], ids=["grpc", "http", "grpc-aio", "http-aio"]
)
BLOCKING = pytest.mark.parametrize("module", [grpc, http], ids=["grpc", "http"])


@ALL
def test_health_and_metadata(server, module):
    """simple_{grpc,http}{,_aio}_health_metadata.py."""

    async def example(client, ask):
        assert await ask(client.is_server_live(headers={"test": "1", "dummy": "2"}))
        assert await ask(client.is_server_ready())
        assert await ask(client.is_model_ready("simple"))
        assert server.field(await ask(client.get_server_metadata()), "name") == "triton"
        extra = (
            {"query_params": {"test_1": 1, "test_2": 2}}
            if module in (http, http_aio)
            else {"headers": {"test": "1"}}
        )
        assert server.field(await ask(client.get_model_metadata("simple", **extra)), "name") == "simple"
        with pytest.raises(InferenceServerException) as error:
            await ask(client.get_model_metadata(WRONG))
        assert "Request for unknown model" in error.value.message()
        config = await ask(client.get_model_config("simple"))
        assert server.field(getattr(config, "config", config), "name") == "simple"

    server.run(module, example)


@ALL
def test_inference(server, module):
    """simple_{grpc,http}{,_aio}_infer_client.py."""

    async def example(client, ask):
        outputs = server.requested(module, "OUTPUT0", "OUTPUT1")
        inputs = server.tensors(module, FIRST, SECOND)
        server.check(await ask(client.infer("simple", inputs, outputs=outputs, headers={"test": "1"})))
        statistics = await ask(client.get_inference_statistics("simple"))
        assert len(server.field(statistics, "model_stats")) == 1
        server.check(await ask(client.infer("simple", inputs)))
        with pytest.raises(InferenceServerException) as error:
            await ask(client.infer(WRONG, inputs))
        assert error.value.message().startswith("Request for unknown model")
        with pytest.raises(InferenceServerException) as error:
            await ask(client.infer("simple", inputs, model_version="7"))
        assert error.value.message().startswith("Request for unknown model: 'simple' version 7 is not found")

    server.run(module, example)


@pytest.mark.parametrize("algorithm", [None, "gzip", "deflate"])
@pytest.mark.parametrize("module", [http, http_aio], ids=["http", "http-aio"])
def test_json_and_binary_tensors_and_compression(server, module, algorithm):
    """simple_http_infer_client.py with its options."""

    async def example(client, ask):
        inputs = server.tensors(module, FIRST, SECOND, binary_data=False)
        inputs[1].set_data_from_numpy(SECOND, binary_data=True)
        outputs = [
            module.InferRequestedOutput("OUTPUT0", binary_data=True),
            module.InferRequestedOutput("OUTPUT1", binary_data=False),
        ]
        for some in (outputs, None):
            answer = client.infer(
                "simple",
                inputs,
                outputs=some,
                query_params={"test_1": 1, "test_2": 2},
                request_compression_algorithm=algorithm,
                response_compression_algorithm=algorithm,
            )
            server.check(await ask(answer))

    server.run(module, example)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression_of_grpc(server, algorithm):
    """simple_grpc_infer_client.py -C."""
    with grpc.InferenceServerClient(server.grpc) as client:
        server.check(
            client.infer("simple", server.tensors(grpc, FIRST, SECOND), compression_algorithm=algorithm)
        )


def test_asynchronous_inference(server):
    """simple_{grpc,http}_async_infer_client.py."""
    done = queue.Queue()
    with grpc.InferenceServerClient(server.grpc) as client:
        inputs = server.tensors(grpc, FIRST, SECOND)
        client.async_infer("simple", inputs, callback=lambda result, error: done.put(error or result))
        server.check(done.get(timeout=20))
    with http.InferenceServerClient(server.http, concurrency=4) as client:
        inputs = server.tensors(http, FIRST, SECOND)
        waiting = [client.async_infer("simple", inputs) for _ in range(4)]
        for one in waiting:
            server.check(one.get_result())


def test_stream(server):
    """As in simple_grpc_custom_repeat.py and its asynchronous form, of a model with one answer to a request."""
    done, inputs = queue.Queue(), server.tensors(grpc, FIRST, SECOND)
    with grpc.InferenceServerClient(server.grpc) as client:
        client.start_stream(callback=lambda result, error: done.put(error or result))
        client.async_stream_infer("simple", inputs, request_id="one", enable_empty_final_response=True)
        answer = done.get(timeout=20)
        server.check(answer)
        assert answer.get_response().id == "one"
        assert answer.get_response().parameters["triton_final_response"].bool_param
        client.async_stream_infer(WRONG, inputs)
        assert done.get(timeout=20).message().startswith("Request for unknown model")
        client.async_stream_infer("simple", inputs, sequence_id=3, sequence_start=True, sequence_end=True)
        answer = done.get(timeout=20)
        server.check(answer)
        assert not answer.get_response().parameters
        client.stop_stream()

    async def example(client, ask):
        async def requests():
            for number in range(3):
                yield {"model_name": "simple", "inputs": inputs, "request_id": str(number)}

        answers = [answer async for answer in client.stream_infer(requests())]
        assert [result.get_response().id for result, _ in answers] == ["0", "1", "2"]
        for result, error in answers:
            assert error is None
            server.check(result)

    server.run(grpc_aio, example)


@pytest.mark.parametrize("options", ["keepalive", "arguments"])
def test_keepalive_and_channel_arguments(server, options):
    """simple_grpc{,_aio}_keepalive_client.py, simple_grpc{,_aio}_custom_args_client.py."""
    keepalive = grpc.KeepAliveOptions(
        keepalive_time_ms=10,
        keepalive_timeout_ms=20000,
        keepalive_permit_without_calls=True,
        http2_max_pings_without_data=0,
    )
    arguments = [
        ("grpc.max_send_message_length", 1024 * 1024),
        ("grpc.max_receive_message_length", 1024 * 1024),
        ("grpc.keepalive_time_ms", 2**31 - 1),
        ("grpc.http2.max_pings_without_data", 2),
    ]
    chosen = {"keepalive_options": keepalive} if options == "keepalive" else {"channel_args": arguments}
    with grpc.InferenceServerClient(server.grpc, **chosen) as client:
        for _ in range(20):
            server.check(client.infer("simple", server.tensors(grpc, FIRST, SECOND)))


@ALL
def test_strings(server, module):
    """simple_{grpc,http}{,_aio}_string_infer_client.py."""

    def text(array):
        return np.array([str(value).encode() for value in array.ravel()], object).reshape(array.shape)

    async def example(client, ask):
        inputs = server.tensors(module, text(FIRST), text(SECOND), "BYTES")
        server.check(await ask(client.infer("simple_string", inputs)))
        null = np.array([b"he\x00llo"] * 16, object).reshape(1, 16)
        blob = np.array([b"\x00\x01\x02\x03"] * 16, np.bytes_).reshape(1, 16)
        is_http = module in (http, http_aio)
        for array in (null, blob):
            for binary in (True, False) if is_http else (True,):
                options = {"binary_data": binary} if is_http else {}
                tensor = module.InferInput("INPUT0", array.shape, "BYTES")
                tensor.set_data_from_numpy(array, **options)
                output = module.InferRequestedOutput("OUTPUT0", **options)
                answer = await ask(client.infer("simple_identity", [tensor], outputs=[output]))
                found = [
                    x if isinstance(x, bytes) else str(x).encode() for x in answer.as_numpy("OUTPUT0").ravel()
                ]
                assert found == array.ravel().tolist()

    server.run(module, example)


@BLOCKING
def test_many_clients_one_after_the_other(server, module):
    """memory_growth_test.py."""
    for _ in range(30):
        client = module.InferenceServerClient(server.addresses[module])
        tensor = module.InferInput("INPUT0", FIRST.shape, "INT32")
        tensor.set_data_from_numpy(FIRST)
        found = client.infer("custom_identity_int32", [tensor], outputs=server.requested(module, "OUTPUT0"))
        np.testing.assert_array_equal(found.as_numpy("OUTPUT0"), FIRST)
        client.close()


@ALL
def test_model_control(server, module):
    """simple_{grpc,http}{,_aio}_model_control.py."""

    async def example(client, ask):
        index = await ask(client.get_model_repository_index())
        assert len(getattr(index, "models", index)) == 6
        await ask(client.load_model("simple"))
        assert await ask(client.is_model_ready("simple"))
        with pytest.raises(InferenceServerException) as error:
            await ask(
                client.load_model("simple", config='"parameters": {"config": {{"max_batch_size": "16"}}}')
            )
        assert "failed to load" in error.value.message()
        await ask(client.load_model("simple", config='{"max_batch_size":"16"}'))
        config = await ask(client.get_model_config("simple"))
        assert server.field(getattr(config, "config", config), "max_batch_size") == 16
        await ask(client.unload_model("simple"))
        assert not await ask(client.is_model_ready("simple"))
        with pytest.raises(InferenceServerException) as error:
            await ask(client.load_model("simple", config="{}", files={"file:" + "A" * 256: b"a"}))
        assert "Invalid file path" in error.value.message()
        assert await ask(client.is_server_live())
        with pytest.raises(InferenceServerException) as error:
            await ask(client.load_model(WRONG))
        assert "failed to load" in error.value.message()
        await ask(client.load_model("simple"))
        assert await ask(client.is_server_ready())

    server.run(module, example)
