"""HTTP/2 byte by byte: how the bytes are split does not matter, and invalid bytes close at most their connection."""

from __future__ import annotations

import struct

import pytest
from hpack import Decoder, Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.serve.wire.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PREFACE,
    PRIORITY,
    ErrorCode,
    FrameFlag,
    FrameType,
    SettingId,
    frame,
)
from tamis.serve.wire.grpc import GrpcConfig, Method, ServerCall, parse_call_headers
from tamis.serve.wire.http2 import Http2Connection

REQUEST_HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/test/Echo"),
    (":authority", "here"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


class Peer:
    """The server side of a connection without a socket; `frames` returns what it sent."""

    def __init__(self, max_message_bytes: int = 1 << 20) -> None:
        self.messages: list[bytes] = []
        self.out = bytearray()
        self.reserved = 0
        config = GrpcConfig(
            {"/test/Echo": Method(self._echo)},
            max_message_bytes,
            lambda _: None,
            self._reserve,
            self._release,
        )
        self.connection = Http2Connection(
            self._write,
            lambda connection, stream: ServerCall(connection, stream, config),
            parse_headers=parse_call_headers,
        )

    def _write(self, chunks):
        self.out += b"".join(chunks)

    def _echo(self, call, message):
        self.messages.append(bytes(message))
        call.respond(len(message), [bytes(message)])

    def _reserve(self, size):
        self.reserved += size
        return True

    def _release(self, size):
        self.reserved -= size

    def receive(self, data: bytes) -> None:
        self.connection.receive(data)

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        frames, position = [], 0
        while position < len(self.out):
            size = int.from_bytes(self.out[position : position + 3], "big")
            kind, flags, stream = struct.unpack_from(">BBI", self.out, position + 3)
            frames.append((kind, flags, stream, bytes(self.out[position + 9 : position + 9 + size])))
            position += 9 + size
        return frames

    def kinds(self) -> list[int]:
        return [kind for kind, *_ in self.frames()]


def calls(*messages: bytes, frame_bytes: int = 16_384) -> bytes:
    """Return the bytes that a client sends for some calls, one after the other."""
    encoder, sent = Encoder(), bytearray(PREFACE + frame(FrameType.SETTINGS, 0, 0))
    for number, message in enumerate(messages):
        stream = 2 * number + 1
        sent += frame(HEADERS, END_HEADERS, stream, encoder.encode(REQUEST_HEADERS))
        body = b"\0" + len(message).to_bytes(4, "big") + message
        pieces = [body[i : i + frame_bytes] for i in range(0, len(body), frame_bytes)]
        for piece in pieces[:-1]:
            sent += frame(DATA, 0, stream, piece)
        sent += frame(DATA, END_STREAM, stream, pieces[-1])
    return bytes(sent)


@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=5),
    st.integers(1, 40),
    st.lists(st.integers(1, 400), min_size=1, max_size=20),
)
@settings(max_examples=150, deadline=None)
def test_messages_do_not_depend_on_how_the_bytes_are_split(messages, frame_bytes, sizes):
    sent, peer, position, turn = calls(*messages, frame_bytes=frame_bytes), Peer(), 0, 0
    while position < len(sent):
        step = sizes[turn % len(sizes)]
        peer.receive(sent[position : position + step])
        position, turn = position + step, turn + 1
    assert peer.messages == messages
    assert peer.reserved == 0
    assert not peer.connection.streams


def test_large_messages_do_not_depend_on_how_the_bytes_are_split():
    messages = [bytes(range(256)) * 3000, b"", b"x" * 700_001]
    for step in (1000, 16_393, 65_536, 262_144, 1 << 20):
        sent, peer = calls(*messages, frame_bytes=300_000), Peer()
        for position in range(0, len(sent), step):
            peer.receive(sent[position : position + step])
        assert peer.messages == messages, step


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_random_bytes_close_the_connection_at_most(data):
    peer = Peer(max_message_bytes=1000)
    peer.receive(PREFACE + data)
    peer.connection.lost()
    assert peer.reserved == 0


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_calls_with_a_few_wrong_bytes_close_the_connection_at_most(data):
    sent = bytearray(calls(b"one", b"two" * 50, b"three", frame_bytes=60))
    for _ in range(data.draw(st.integers(1, 6))):
        sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
    peer = Peer(max_message_bytes=1000)
    peer.receive(bytes(sent))
    peer.connection.lost()
    assert peer.reserved == 0


def connection_error(*frames: bytes) -> int | None:
    """Return the error code of the GOAWAY frame that answers these frames, or None."""
    peer = Peer()
    peer.receive(PREFACE + frame(FrameType.SETTINGS, 0, 0) + b"".join(frames))
    last = [payload for kind, _, _, payload in peer.frames() if kind == FrameType.GOAWAY]
    return int.from_bytes(last[0][4:8], "big") if last else None


def headers(stream: int = 1, flags: int = END_HEADERS, block: bytes | None = None) -> bytes:
    return frame(HEADERS, flags, stream, Encoder().encode(REQUEST_HEADERS) if block is None else block)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([frame(FrameType.PING, 0, 0, b"12345678")], None),
        ([frame(77, 0, 0, b"an unknown type")], None),
        ([frame(FrameType.PING, 0, 0, b"short")], ErrorCode.FRAME_SIZE_ERROR),
        ([frame(FrameType.SETTINGS, 0, 0, b"12345")], ErrorCode.FRAME_SIZE_ERROR),
        (
            [frame(FrameType.SETTINGS, 0, 0, struct.pack(">HI", SettingId.INITIAL_WINDOW_SIZE, 1 << 31))],
            ErrorCode.FLOW_CONTROL_ERROR,
        ),
        (
            [frame(FrameType.SETTINGS, 0, 0, struct.pack(">HI", SettingId.MAX_FRAME_SIZE, 5))],
            ErrorCode.PROTOCOL_ERROR,
        ),
        ([frame(FrameType.WINDOW_UPDATE, 0, 0, bytes(4))], ErrorCode.FLOW_CONTROL_ERROR),
        ([frame(FrameType.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff")], ErrorCode.FLOW_CONTROL_ERROR),
        ([frame(DATA, 0, 1, b"x")], ErrorCode.PROTOCOL_ERROR),
        ([frame(DATA, 0, 0, b"x")], ErrorCode.PROTOCOL_ERROR),
        ([headers(2)], ErrorCode.PROTOCOL_ERROR),
        ([headers(0)], ErrorCode.PROTOCOL_ERROR),
        ([headers(1, 0), frame(FrameType.PING, 0, 0, bytes(8))], ErrorCode.PROTOCOL_ERROR),
        ([frame(FrameType.CONTINUATION, END_HEADERS, 1, b"")], ErrorCode.PROTOCOL_ERROR),
        ([headers(block=b"\xff\xff\xff\xff\xff\xff\xff\xff")], ErrorCode.COMPRESSION_ERROR),
        (
            [headers(1, 0), *[frame(FrameType.CONTINUATION, 0, 1, bytes(16_000))] * 5],
            ErrorCode.ENHANCE_YOUR_CALM,
        ),
        ([frame(HEADERS, END_HEADERS, 1, bytes(70_000))], ErrorCode.FRAME_SIZE_ERROR),
        ([headers(), frame(DATA, PADDED, 1, b"\x09123")], ErrorCode.PROTOCOL_ERROR),
        ([frame(FrameType.PUSH_PROMISE, END_HEADERS, 1, bytes(4))], ErrorCode.PROTOCOL_ERROR),
        (
            [
                f
                for i in range(1001)
                for f in (headers(2 * i + 1), frame(FrameType.RST_STREAM, 0, 2 * i + 1, bytes(4)))
            ],
            ErrorCode.ENHANCE_YOUR_CALM,
        ),
    ],
)
def test_protocol_errors_are_reported_with_their_code(frames, code):
    assert connection_error(*frames) == code


def test_padding_priorities_and_split_headers_are_accepted():
    block = Encoder().encode(REQUEST_HEADERS)
    peer = Peer()
    peer.receive(
        PREFACE
        + frame(FrameType.SETTINGS, 0, 0)
        + frame(HEADERS, PADDED | PRIORITY, 1, b"\x02" + bytes(5) + block[:4] + bytes(2))
        + frame(FrameType.CONTINUATION, 0, 1, block[4:9])
        + frame(FrameType.CONTINUATION, END_HEADERS, 1, block[9:])
        + frame(DATA, PADDED, 1, b"\x03" + b"\0\0\0\0\x02a" + bytes(3))
        + frame(DATA, PADDED | END_STREAM, 1, b"\x01" + b"b" + bytes(1))
    )
    assert peer.messages == [b"ab"]


def test_responses_wait_for_the_window_and_continue_in_order():
    message = bytes(range(256)) * 400
    peer = Peer()
    small = struct.pack(">HI", SettingId.INITIAL_WINDOW_SIZE, 1000)
    peer.receive(PREFACE + frame(FrameType.SETTINGS, 0, 0, small) + calls(message)[len(PREFACE) + 9 :])

    def data() -> bytes:
        return b"".join(payload for kind, _, _, payload in peer.frames() if kind == DATA)

    assert len(data()) == 1000
    while peer.connection.streams:
        peer.receive(
            frame(FrameType.WINDOW_UPDATE, 0, 1, struct.pack(">I", 7000))
            + frame(FrameType.WINDOW_UPDATE, 0, 0, struct.pack(">I", 7000))
        )
    assert data()[5:] == message
    last = peer.frames()[-1]
    assert last[0] == HEADERS
    assert last[1] & END_STREAM
    assert dict(Decoder().decode(last[3]))["grpc-status"] == "0"


def test_settings_are_acknowledged_and_pings_answered():
    peer = Peer()
    peer.receive(PREFACE + frame(FrameType.SETTINGS, 0, 0) + frame(FrameType.PING, 0, 0, b"12345678"))
    assert (FrameType.SETTINGS, FrameFlag.ACK, 0, b"") in peer.frames()
    assert (FrameType.PING, FrameFlag.ACK, 0, b"12345678") in peer.frames()
