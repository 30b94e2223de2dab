"""The gRPC server, used by gRPC's own client."""

from __future__ import annotations

import asyncio
import threading
import time

import grpc
import pytest

from tamis.serve.wire.grpc import GrpcConfig, Method, Status
from tamis.serve.wire.grpc_protocol import GrpcProtocol

MAX_MESSAGE_BYTES = 1 << 23


class Server:
    """A server in a thread, on loopback; `unanswered` collects the calls of /test/Never."""

    def __init__(self) -> None:
        self.unanswered: list[object] = []
        self.reserved = 0
        self.loop = asyncio.new_event_loop()
        self.connections: set[GrpcProtocol] = set()
        methods = {
            "/test/Echo": Method(lambda call, message: call.respond(len(message), [message])),
            "/test/Later": Method(self._later),
            "/test/Never": Method(self._never),
            "/test/Fail": Method(lambda call, _: call.fail(Status.NOT_FOUND, "no café, 100 % gone")),
            "/test/Stream": Method(
                lambda call, message: call.send_message(len(message), [message]), lambda call: call.finish()
            ),
            "/test/Deadline": Method(self._deadline),
        }
        config = GrpcConfig(methods, MAX_MESSAGE_BYTES, self._authorize, self._reserve, self._release)
        started = threading.Event()

        async def serve() -> None:
            self.server = await self.loop.create_server(
                lambda: GrpcProtocol(config, self.connections), "127.0.0.1", 0
            )
            self.port = self.server.sockets[0].getsockname()[1]
            started.set()

        def run() -> None:
            self.loop.run_until_complete(serve())
            self.loop.run_forever()
            self.loop.close()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        started.wait(10)

    def _authorize(self, headers):
        return "wrong token" if headers.authorization == "Bearer wrong" else None

    def _reserve(self, size):
        self.reserved += size
        return True

    def _release(self, size):
        self.reserved -= size

    def _later(self, call, message):
        def answer() -> None:
            call.respond(len(message), [message])
            call.connection.flush()

        self.loop.call_later(0.01, answer)

    def _never(self, call, message):
        self.unanswered.append(call)

    def _deadline(self, call, message):
        remaining = (
            b"none"
            if call.deadline_ns is None
            else b"%d" % round((call.deadline_ns - time.monotonic_ns()) / 1e9)
        )
        call.respond(len(remaining), [remaining])

    def close(self) -> None:
        async def end() -> None:
            self.server.close()
            for connection in list(self.connections):
                connection.close()
            await asyncio.sleep(0)
            self.loop.stop()

        asyncio.run_coroutine_threadsafe(end(), self.loop)
        self.thread.join()


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def channel(server):
    limits = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", options=limits) as channel:
        yield channel


@pytest.mark.parametrize(
    "size", [0, 1, 5, 16_379, 16_380, 65_530, 262_139, 262_144, 1_000_003, MAX_MESSAGE_BYTES]
)
def test_messages_of_any_size_are_echoed(channel, size):
    message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    echo = channel.unary_unary("/test/Echo")
    assert echo(message, timeout=20) == message
    assert echo(message, timeout=20) == message


def test_concurrent_calls_get_their_own_responses(channel):
    later = channel.unary_unary("/test/Later")
    messages = [b"%d" % i * (1 + 997 * i) for i in range(60)]
    futures = [later.future(message, timeout=20) for message in messages]
    assert [future.result() for future in futures] == messages


def test_error_has_status_and_message(channel):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test/Fail")(b"")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "no café, 100 % gone"
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test/Nothing")(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_message_that_is_too_long_is_rejected_and_its_memory_released(channel, server):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test/Echo")(bytes(MAX_MESSAGE_BYTES + 1), timeout=20)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(MAX_MESSAGE_BYTES) in caught.value.details()
    assert channel.unary_unary("/test/Echo")(b"again", timeout=20) == b"again"
    assert server.reserved == 0


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages_are_decompressed(channel, compression):
    message = b"abc" * 10_000
    assert channel.unary_unary("/test/Echo")(message, compression=compression) == message
    with pytest.raises(grpc.RpcError) as caught:  # a decompression bomb
        channel.unary_unary("/test/Echo")(bytes(4 * MAX_MESSAGE_BYTES), compression=compression)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_bidirectional_streams(channel):
    messages = [b"m%d" % i * 1000 for i in range(50)]
    assert list(channel.stream_stream("/test/Stream")(iter(messages), timeout=20)) == messages
    assert list(channel.stream_stream("/test/Stream")(iter([]), timeout=20)) == []


def test_deadlines_and_cancellation_reach_the_server(channel, server):
    assert channel.unary_unary("/test/Deadline")(b"", timeout=1000) in {b"1000", b"999"}
    assert channel.unary_unary("/test/Deadline")(b"") == b"none"
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test/Never")(b"x", timeout=0.05)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    until = time.monotonic() + 10
    while server.reserved and time.monotonic() < until:
        time.sleep(0.01)
    assert any(call.cancelled for call in server.unanswered)
    assert server.reserved == 0


def test_unauthorized_call_is_rejected(channel):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test/Echo")(b"", metadata=[("authorization", "Bearer wrong")])
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert (
        channel.unary_unary("/test/Echo")(
            b"x", metadata=[("authorization", "Bearer right"), ("k", "v" * 300)]
        )
        == b"x"
    )


def test_headers_that_change_between_calls_are_decoded_correctly(channel):
    for number in range(200):
        metadata = [(f"key-{number % 7}", f"value {number % 11}"), ("once", str(number))]
        remaining = channel.unary_unary("/test/Deadline")(b"", timeout=100 + number, metadata=metadata)
        assert abs(int(remaining) - 100 - number) <= 2  # gRPC rounds up
