"""The client's channel against our server: concurrent calls, deadlines, and full send buffers on both sides."""

from __future__ import annotations

import time

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from tamis.serve.client.channel import CallError, Channel
from tamis.serve.client.inference import PATH
from tamis.serve.wire.grpc import Status


def request(array, model="double", request_id=""):
    message = pb.ModelInferRequest(model_name=model, id=request_id)
    message.inputs.add(name="x", datatype="FP32", shape=array.shape)
    message.raw_input_contents.append(array.tobytes())
    return message.SerializeToString()


def send(channel, array, **options):
    message = request(array, **options)
    return channel.begin(PATH, len(message), [message])


def doubled(channel, exchange, shape):
    answer = pb.ModelInferResponse.FromString(
        bytes(channel.answer(exchange, time.monotonic_ns() + 20_000_000_000))
    )
    return np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(shape), answer


@pytest.fixture
def channel(start_server):
    server = start_server()
    channel = Channel(server.address)
    yield channel
    channel.close()


def test_answers_are_matched_to_their_calls_in_any_order(channel):
    arrays = [np.full((1 + i % 5, 3 + i % 2), i, np.float32) for i in range(200)]
    calls = [send(channel, array, request_id=f"r{i}") for i, array in enumerate(arrays)]
    for index in reversed(range(200)):
        outputs, answer = doubled(channel, calls[index], arrays[index].shape)
        np.testing.assert_array_equal(outputs, arrays[index] * 2)
        assert answer.id == f"r{index}"
    assert channel.under_way == 0


def test_no_deadlock_when_both_send_buffers_are_full(channel):
    arrays = [np.full((2, 500_000), i, np.float32) for i in range(24)]
    # 96 MB in each direction before the first answer is read
    calls = [send(channel, array) for array in arrays]
    for array, call in zip(arrays, calls, strict=True):
        np.testing.assert_array_equal(doubled(channel, call, array.shape)[0], array * 2)


def test_error_ends_only_its_own_call(channel):
    wrong = send(channel, np.zeros((1, 2), np.float32), model="nothing")
    right = send(channel, np.ones((1, 2), np.float32))
    with pytest.raises(CallError, match="Request for unknown model: 'nothing'") as caught:
        channel.answer(wrong)
    assert caught.value.status == Status.NOT_FOUND
    np.testing.assert_array_equal(doubled(channel, right, (1, 2))[0], [[2, 2]])


def test_call_without_an_answer_in_time_is_cancelled(start_server):
    server = start_server()
    channel = Channel(server.address)
    server.loop.call_soon_threadsafe(time.sleep, 0.5)
    late = send(channel, np.ones((1, 2), np.float32))
    with pytest.raises(CallError) as caught:
        channel.answer(late, time.monotonic_ns() + 50_000_000)
    assert caught.value.status == Status.DEADLINE_EXCEEDED
    np.testing.assert_array_equal(
        doubled(channel, send(channel, np.ones((1, 2), np.float32)), (1, 2))[0], [[2, 2]]
    )
    channel.close()


def test_expired_request_is_not_computed(start_server):
    server = start_server()
    double = server.service.find("double")
    model, double.scheduler._inline_rows = double.model, 0  # it runs in a thread
    quick = model.instances[0]

    def slow(arrays):
        time.sleep(0.2)
        return quick(arrays)

    model.instances[0] = slow
    channel = Channel(server.address)
    first = send(channel, np.ones((3, 2), np.float32))
    while not server.service.find("double").scheduler.running:
        time.sleep(0.001)
    message = request(np.ones((5, 2), np.float32))
    late = channel.begin(PATH, len(message), [message], timeout_ns=20_000_000)
    np.testing.assert_array_equal(doubled(channel, first, (3, 2))[0], np.full((3, 2), 2))
    with pytest.raises(CallError, match="waited too long, and was not computed") as caught:
        channel.answer(late)
    assert caught.value.status == Status.DEADLINE_EXCEEDED
    assert server.batches == [3]
    channel.close()


def test_waiting_requests_are_batched_and_each_gets_its_rows(start_server):
    server = start_server()
    channel = Channel(server.address)
    server.loop.call_soon_threadsafe(time.sleep, 0.2)
    arrays = [np.full((1 + i % 3, 4), i, np.float32) for i in range(40)]
    calls = [send(channel, array) for array in arrays]
    for array, call in zip(arrays, calls, strict=True):
        np.testing.assert_array_equal(doubled(channel, call, array.shape)[0], array * 2)
    assert sum(server.batches) == sum(map(len, arrays))
    assert max(server.batches) > 30
    assert max(server.batches) <= 64
    channel.close()
