"""The hand-written HTTP/2 and gRPC, against gRPC's own client."""

from __future__ import annotations

import asyncio
import threading
import time

import grpc
import pytest

from tamis.serve.wire.grpc import GrpcConfig, Method, Status
from tamis.serve.wire.grpc_protocol import GrpcProtocol

MOST = 1 << 23


class Server:
    """A server in a thread, on loopback; `seen` tells what its methods met."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.reserved = 0
        self.loop = asyncio.new_event_loop()
        self.connections: set[GrpcProtocol] = set()
        methods = {
            "/test/Echo": Method(lambda call, message: call.answer(len(message), [message])),
            "/test/Later": Method(self._later),
            "/test/Never": Method(self._never),
            "/test/Fail": Method(lambda call, _: call.fail(Status.NOT_FOUND, "no café, 100 % gone")),
            "/test/Stream": Method(
                lambda call, message: call.send(len(message), [message]), lambda call: call.finish()
            ),
            "/test/Deadline": Method(self._deadline),
        }
        rules = GrpcConfig(methods, MOST, self._admit, self._reserve, self._release)
        started = threading.Event()

        async def serve() -> None:
            self.server = await self.loop.create_server(
                lambda: GrpcProtocol(rules, self.connections), "127.0.0.1", 0
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

    def _admit(self, asked):
        return "no entry" if asked.authorization == "Bearer wrong" else None

    def _reserve(self, size):
        self.reserved += size
        return True

    def _release(self, size):
        self.reserved -= size

    def _later(self, call, message):
        def answer() -> None:
            call.answer(len(message), [message])
            call.connection.flush()

        self.loop.call_later(0.01, answer)

    def _never(self, call, message):
        self.seen.append(call)

    def _deadline(self, call, message):
        left = (
            b"none"
            if call.deadline_ns is None
            else b"%d" % round((call.deadline_ns - time.monotonic_ns()) / 1e9)
        )
        call.answer(len(left), [left])

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


@pytest.mark.parametrize("size", [0, 1, 5, 16_379, 16_380, 65_530, 262_139, 262_144, 1_000_003, MOST])
def test_messages_come_back_as_they_went(channel, size):
    message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    echo = channel.unary_unary("/test/Echo")
    assert echo(message, timeout=20) == message
    assert echo(message, timeout=20) == message


def test_many_calls_at_once_are_not_mixed_up(channel):
    later = channel.unary_unary("/test/Later")
    messages = [b"%d" % i * (1 + 997 * i) for i in range(60)]
    futures = [later.future(message, timeout=20) for message in messages]
    assert [future.result() for future in futures] == messages


def test_an_error_has_its_status_and_its_words(channel):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test/Fail")(b"")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "no café, 100 % gone"
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test/Nothing")(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_message_that_is_too_long_is_refused_and_its_memory_given_back(channel, server):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test/Echo")(bytes(MOST + 1), timeout=20)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(MOST) in caught.value.details()
    assert channel.unary_unary("/test/Echo")(b"again", timeout=20) == b"again"
    assert server.reserved == 0


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages_are_understood(channel, compression):
    message = b"abc" * 10_000
    assert channel.unary_unary("/test/Echo")(message, compression=compression) == message
    with pytest.raises(grpc.RpcError) as caught:  # a bomb
        channel.unary_unary("/test/Echo")(bytes(4 * MOST), compression=compression)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_streams_go_both_ways(channel):
    messages = [b"m%d" % i * 1000 for i in range(50)]
    assert list(channel.stream_stream("/test/Stream")(iter(messages), timeout=20)) == messages
    assert list(channel.stream_stream("/test/Stream")(iter([]), timeout=20)) == []


def test_deadlines_and_cancellation_arrive(channel, server):
    assert channel.unary_unary("/test/Deadline")(b"", timeout=1000) in {b"1000", b"999"}
    assert channel.unary_unary("/test/Deadline")(b"") == b"none"
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test/Never")(b"x", timeout=0.05)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    until = time.monotonic() + 10
    while not any(getattr(one, "cancelled", False) for one in server.seen) and time.monotonic() < until:
        time.sleep(0.01)
    assert any(getattr(one, "cancelled", False) for one in server.seen)
    assert server.reserved == 0


def test_who_is_not_let_in_is_told(channel):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test/Echo")(b"", metadata=[("authorization", "Bearer wrong")])
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert (
        channel.unary_unary("/test/Echo")(
            b"x", metadata=[("authorization", "Bearer right"), ("k", "v" * 300)]
        )
        == b"x"
    )


def test_headers_that_change_from_call_to_call_are_read_right(channel):
    for turn in range(200):
        metadata = [(f"key-{turn % 7}", f"value {turn % 11}"), ("once", str(turn))]
        left = channel.unary_unary("/test/Deadline")(b"", timeout=100 + turn, metadata=metadata)
        assert abs(int(left) - 100 - turn) <= 2  # gRPC rounds up
