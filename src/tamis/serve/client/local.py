"""The client of a server on this machine, through shared memory: `local:PATH`."""

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
    LOCAL_SCHEME,
    PACKET_MOST,
    REFUSAL,
    REFUSES,
    WELCOME,
    places_of,
)
from tamis.serve.wire.grpc import Status

FIRST_REGION_BYTES = 1 << 20
MAX_CACHED_REQUESTS = 256  # with their place in the region
_TIMEVAL = struct.Struct("@ll")
FAST_ANSWER_NS = 150_000  # after an answer within this time, the client polls for the next one,
ANSWER_SPIN_NS = 60_000  # for this time, before it sleeps
LOCAL_CONNECT_S = 2.0
SPARE = 2  # a new region is this much larger than needed


@dataclass(slots=True)
class _RequestSlot:
    """The place in the region of all requests with the same shapes, and of their answers."""

    codec: Codec  # keeps it alive: the cache has its id
    number: int
    encoded: bytes
    views: list[np.ndarray]
    end: int
    announced: bool = False  # whether the server knows the number
    answers: dict[bytes, list[np.ndarray]] = field(default_factory=dict)


class LocalChannel:
    """A connection with one region and one request at a time, used by one thread at a time."""

    def __init__(self, address: str, *, connect_s: float = LOCAL_CONNECT_S) -> None:
        """Connect; raise OSError if that fails."""
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._size = self._timeout_ns = 0
        self._slots: dict[tuple[int, tuple[tuple[int, ...], ...]], _RequestSlot] = {}
        self.closed = self._was_fast = False
        try:
            self._set_timeout(round(connect_s * 1e9))
            self._socket.connect(address.removeprefix(LOCAL_SCHEME))
            self._share_region(FIRST_REGION_BYTES)
        except BaseException:
            self._socket.close()
            raise

    def is_stale(self) -> bool:
        """Return whether the server has closed the connection: it never sends anything unasked."""
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def infer(self, codec: Codec, arrays: Sequence[np.ndarray], timeout_ns: int) -> list[np.ndarray]:
        """Return the outputs of a model, copied from the region; raise CallError if there is no answer in time."""
        for _ in range(2):
            slot = self._slot(codec, arrays)
            for view, one in zip(slot.views, arrays, strict=True):
                view[...] = one
            packet = ASK.pack(ASKS, slot.number, max(1, timeout_ns // 1000))
            answer = self._exchange(packet if slot.announced else packet + slot.encoded, timeout_ns)
            if answer[:1] == ANSWERS:
                slot.announced = True
                views = slot.answers.get(answer) or self._answer_views(codec, slot, answer)
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
                self._set_timeout(timeout_ns)
            begin = monotonic_ns()
            self._socket.send(packet)
            answer = self._poll() or self._socket.recv(PACKET_MOST)
            self._was_fast = monotonic_ns() - begin < FAST_ANSWER_NS
        except BlockingIOError:
            self.close()  # otherwise a late answer would be taken for that of the next request
            raise CallError(Status.DEADLINE_EXCEEDED, f"{self.address} did not answer in time") from None
        except OSError as error:
            self.close()
            raise CallError(
                Status.UNAVAILABLE, f"the connection to {self.address} failed: {error}"
            ) from error
        if not answer:
            self.close()
            raise CallError(Status.UNAVAILABLE, f"{self.address} has closed the connection")
        return answer

    def _poll(self) -> bytes | None:
        """Poll for an answer for a short time, if the last one was fast: sleeping and waking up would take longer."""
        begin = now = monotonic_ns()
        while self._was_fast and now - begin < ANSWER_SPIN_NS:
            with contextlib.suppress(BlockingIOError):
                return self._socket.recv(PACKET_MOST, socket.MSG_DONTWAIT)
            os.sched_yield()
            now = monotonic_ns()
        return None

    def _set_timeout(self, timeout_ns: int) -> None:
        """Set the socket's timeout in the kernel: Python's own takes two more system calls each time."""
        seconds, rest_ns = divmod(max(timeout_ns, 1000), 1_000_000_000)
        self._socket.setblocking(True)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(seconds, rest_ns // 1000))
        self._timeout_ns = timeout_ns

    def _slot(self, codec: Codec, arrays: Sequence[np.ndarray]) -> _RequestSlot:
        key = (id(codec), tuple([one.shape for one in arrays]))
        cached = self._slots.get(key)
        if cached is not None:
            return cached
        places, end = places_of([one.nbytes for one in arrays])
        if end > self._size:
            self._grow(end)
        if len(self._slots) >= MAX_CACHED_REQUESTS:
            self._slots.clear()
        views = [
            np.ndarray(one.shape, one.dtype, self._region[begin:stop])
            for one, (begin, stop) in zip(arrays, places, strict=True)
        ]
        slot = self._slots[key] = _RequestSlot(codec, len(self._slots), codec.head(key[1]), views, end)
        return slot

    def _answer_views(self, codec: Codec, slot: _RequestSlot, answer: bytes) -> list[np.ndarray]:
        """Return the arrays of an answer, as views of the region, and cache them by the answer's header."""
        described = codec.described(answer[len(ANSWERS) :])
        places, end = places_of([one.nbytes for one in described], slot.end)
        if end > self._size:
            raise CallError(Status.INTERNAL, "the server's answer does not fit into the shared memory")
        views = [
            codec.row(np.ndarray(one.shape, one.dtype, self._region[begin:stop]), index)
            for index, (one, (begin, stop)) in enumerate(zip(described, places, strict=True))
        ]
        slot.answers[answer] = views
        return views

    def _grow(self, needed: int) -> None:
        """Replace the region by a larger one."""
        try:
            self._exchange(HELLO[:1], round(LOCAL_CONNECT_S * 1e9))
            self._share_region(SPARE * needed)
        except OSError as error:
            self.close()
            raise CallError(
                Status.UNAVAILABLE, f"cannot share memory with {self.address}: {error}"
            ) from error

    def _share_region(self, size: int) -> None:
        descriptor = os.memfd_create("tamis", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, size)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            self._region, self._size = memoryview(mmap.mmap(descriptor, size)), size
            self._slots.clear()
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
            self._socket.sendmsg([HELLO], ancillary)
            answer = self._socket.recv(PACKET_MOST)
        finally:
            os.close(descriptor)
        if answer != WELCOME:
            raise ConnectionError(str(_failure(answer)))

    def close(self) -> None:
        """Close the connection; the region is freed with its last array."""
        self.closed = True
        self._slots.clear()
        self._socket.close()


def _failure(answer: bytes) -> CallError:
    if answer[:1] == REFUSES and len(answer) >= REFUSAL.size:
        _, status = REFUSAL.unpack_from(answer)
        known = status in {*Status}
        return CallError(
            Status(status) if known else Status.UNKNOWN, answer[REFUSAL.size :].decode(errors="replace")
        )
    return CallError(Status.INTERNAL, "the server's answer cannot be read")
