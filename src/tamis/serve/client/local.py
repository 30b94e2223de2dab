"""A server on this machine, asked through memory that both sides map: `local:PATH`."""

from __future__ import annotations

import array
import contextlib
import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic_ns

import numpy as np

from tamis.serve.client.channel import CallError
from tamis.serve.client.inference import Codec
from tamis.serve.protocol.local import (
    ANSWERS,
    ASK,
    ASKS,
    GROWS,
    GROWTH,
    HELLO,
    PACKET_MOST,
    REFUSAL,
    REFUSES,
    SCHEME,
    WELCOME,
    places_of,
)
from tamis.serve.wire.grpc import Status

REGION_FIRST = 1 << 20
NUMBERS_MOST = 256  # heads that are remembered
_TIMEVAL = struct.Struct("@ll")
# An answer that came within so long is looked for at first without going to sleep, for so long.
QUICK_NS, SPIN_NS = 150_000, 60_000
CONNECT_S, SPARE = 2.0, 2  # how much larger than needed a new region is


@dataclass(slots=True)
class _Head:
    """Requests with the same shapes: where they are laid, and where their answers lie."""

    codec: Codec  # kept, since it is known by its place in memory
    number: int
    encoded: bytes
    views: list[np.ndarray]
    end: int
    told: bool = False  # whether the server knows the number
    answers: dict[bytes, list[np.ndarray]] = field(default_factory=dict)


class LocalChannel:
    """One region and one request at a time; one thread at a time uses it."""

    def __init__(self, address: str, *, connect_s: float = CONNECT_S) -> None:
        """Connect, or raise OSError."""
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._size = self._timeout_ns = 0
        self._heads: dict[tuple[int, tuple[tuple[int, ...], ...]], _Head] = {}
        self.closed = self._was_quick = False
        try:
            self._wait_at_most(round(connect_s * 1e9))
            self._socket.connect(address.removeprefix(SCHEME))
            self._hand_over(REGION_FIRST)
        except BaseException:
            self._socket.close()
            raise

    def is_stale(self) -> bool:
        """Tell whether the server has gone while nobody looked: it says nothing unless it is asked."""
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def infer(self, codec: Codec, arrays: Sequence[np.ndarray], timeout_ns: int) -> list[np.ndarray]:
        """Ask, and return copies of the answer's arrays; raise CallError where there is none in time."""
        for _ in range(2):
            head = self._head(codec, arrays)
            for view, one in zip(head.views, arrays, strict=True):
                view[...] = one
            packet = ASK.pack(ASKS, head.number, max(1, timeout_ns // 1000))
            answer = self._exchange(packet if head.told else packet + head.encoded, timeout_ns)
            if answer[:1] == ANSWERS:
                head.told = True
                views = head.answers.get(answer) or self._learn(codec, head, answer)
                return [view.copy() for view in views]
            if answer[:1] == GROWS and len(answer) == GROWTH.size:
                self._grow(GROWTH.unpack(answer)[1])
                continue
            break
        raise _failure(answer)

    def _exchange(self, packet: bytes, timeout_ns: int) -> bytes:
        """Send a packet and return the next one."""
        try:
            if timeout_ns != self._timeout_ns:
                self._wait_at_most(timeout_ns)
            begin = monotonic_ns()
            self._socket.send(packet)
            answer = self._soon() or self._socket.recv(PACKET_MOST)
            self._was_quick = monotonic_ns() - begin < QUICK_NS
        except BlockingIOError:
            self.close()  # or the answer would be taken for the next one's
            raise CallError(Status.DEADLINE_EXCEEDED, f"{self.address} did not answer in time") from None
        except OSError as error:
            self.close()
            raise CallError(Status.UNAVAILABLE, f"the connection to {self.address} broke: {error}") from error
        if not answer:
            self.close()
            raise CallError(Status.UNAVAILABLE, f"{self.address} has closed the connection")
        return answer

    def _soon(self) -> bytes | None:
        """Look for an answer that comes at once, where the last one did: to sleep and wake up takes longer than that."""
        begin = now = monotonic_ns()
        while self._was_quick and now - begin < SPIN_NS:
            with contextlib.suppress(BlockingIOError):
                return self._socket.recv(PACKET_MOST, socket.MSG_DONTWAIT)
            os.sched_yield()
            now = monotonic_ns()
        return None

    def _wait_at_most(self, timeout_ns: int) -> None:
        """Let the system end a wait: a time-out of Python's own would take two more calls of the system each time."""
        seconds, rest_ns = divmod(max(timeout_ns, 1000), 1_000_000_000)
        self._socket.setblocking(True)
        for way in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, way, _TIMEVAL.pack(seconds, rest_ns // 1000))
        self._timeout_ns = timeout_ns

    def _head(self, codec: Codec, arrays: Sequence[np.ndarray]) -> _Head:
        key = (id(codec), tuple([one.shape for one in arrays]))
        head = self._heads.get(key)
        return self._made(codec, key, arrays) if head is None else head

    def _made(
        self, codec: Codec, key: tuple[int, tuple[tuple[int, ...], ...]], arrays: Sequence[np.ndarray]
    ) -> _Head:
        places, end = places_of([one.nbytes for one in arrays])
        if end > self._size:
            self._grow(end)
        if len(self._heads) >= NUMBERS_MOST:
            self._heads.clear()
        views = [
            np.ndarray(one.shape, one.dtype, self._region[begin:stop])
            for one, (begin, stop) in zip(arrays, places, strict=True)
        ]
        head = self._heads[key] = _Head(codec, len(self._heads), codec.head(key[1]), views, end)
        return head

    def _learn(self, codec: Codec, head: _Head, answer: bytes) -> list[np.ndarray]:
        """Find the arrays of an answer of a kind that is new."""
        described = codec.described(answer[len(ANSWERS) :])
        places, end = places_of([one.nbytes for one in described], head.end)
        if end > self._size:
            raise CallError(Status.INTERNAL, "the server's answer does not fit where it says that it lies")
        views = [
            codec.row(np.ndarray(one.shape, one.dtype, self._region[begin:stop]), place)
            for place, (one, (begin, stop)) in enumerate(zip(described, places, strict=True))
        ]
        head.answers[answer] = views
        return views

    def _grow(self, needed: int) -> None:
        """Hand over a larger region; what lay in the old one is laid again."""
        try:
            self._exchange(HELLO[:1], round(CONNECT_S * 1e9))
            self._hand_over(SPARE * needed)
        except OSError as error:
            self.close()
            raise CallError(Status.UNAVAILABLE, f"no memory to share with {self.address}: {error}") from error

    def _hand_over(self, size: int) -> None:
        descriptor = os.memfd_create("tamis", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, size)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            self._region, self._size = memoryview(mmap.mmap(descriptor, size)), size
            self._heads.clear()
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
            self._socket.sendmsg([HELLO], ancillary)
            answer = self._socket.recv(PACKET_MOST)
        finally:
            os.close(descriptor)
        if answer != WELCOME:
            raise ConnectionError(str(_failure(answer)))

    def close(self) -> None:
        """Close the connection; the region goes with its last array."""
        self.closed = True
        self._heads.clear()
        self._socket.close()


def _failure(answer: bytes) -> CallError:
    if answer[:1] == REFUSES and len(answer) >= REFUSAL.size:
        _, status = REFUSAL.unpack_from(answer)
        known = status in {*Status}
        return CallError(
            Status(status) if known else Status.UNKNOWN, answer[REFUSAL.size :].decode(errors="replace")
        )
    return CallError(Status.INTERNAL, "the server's answer cannot be read")
