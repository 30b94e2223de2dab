"""Local clients: a socket in the file system for packets, and memory that server and client both map.

Only the owner of the socket can connect. The region belongs to the client: if it changes data while a model runs, the response
is its own affair.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import mmap
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns
from typing import Any

import numpy as np

from tamis._base import UsageError
from tamis.serve.fronts.plans import RequestPlan, RequestPlans
from tamis.serve.models.tickets import Ticket
from tamis.serve.protocol.infer import RequestHeader, RequestReader, ResponseWriter, sizes_of
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
    WELCOME,
    places_of,
)
from tamis.serve.protocol.messages import Fault, Refusal
from tamis.serve.service import Service

LOCAL_BACKLOG = 128
MAX_KNOWN_REQUESTS = 512  # per connection
# After a request that came within LINGER_NS of the last response, poll for the next one that long instead of sleeping,
# but at most TURN_NS in one turn of the event loop.
LINGER_NS, TURN_NS = 50_000, 1_000_000
_DESCRIPTOR_BYTES = array.array("i").itemsize


@dataclass
class LocalConfig:
    """What all local connections share."""

    service: Service
    reserve: Callable[[int], bool]
    release: Callable[[int], None]
    requests: RequestReader = field(default_factory=RequestReader)
    answers: ResponseWriter = field(default_factory=ResponseWriter)


class LocalListener:
    """Accepts connections at a path."""

    def __init__(self, path: Path, config: LocalConfig) -> None:
        """Listen, or raise UsageError."""
        self.path, self._config = path, config
        self.connections: set[LocalConnection] = set()
        self._listener = _listen(path)
        self._loop = config.service.loop
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone, or is accepted in a later turn of the loop
            connection, _ = self._listener.accept()
            self.connections.add(LocalConnection(connection, self._config, self.connections))

    def stop(self) -> None:
        """Accept no more connections."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close all connections."""
        for connection in list(self.connections):
            connection.close()


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as trial:
                is_served = trial.connect_ex(str(path)) == 0
            if not is_served:
                path.unlink()  # left behind by a server that was killed
        listener.bind(str(path))
        listener.listen(LOCAL_BACKLOG)
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen at {path}: {error.strerror or error}") from error
    finally:
        os.umask(before)
    return listener


@dataclass(slots=True)
class _KnownRequest:
    """A numbered request header, with arrays over its inputs in the region and, by shape, over its outputs."""

    encoded: bytes
    head: RequestHeader
    plan: RequestPlan
    arrays: list[Any]
    end: int  # of the inputs, in bytes from the start of the region
    answers: dict[Any, tuple[bytes, list[np.ndarray]]] = field(default_factory=dict)


class _LocalTicket(Ticket):
    """A request whose tensors are in the region."""

    __slots__ = ("connection", "known")

    def __init__(self, known: _KnownRequest, connection: LocalConnection, own_ns: int | None) -> None:
        super().__init__(known.plan.prepared, list(known.arrays), own_ns)
        self.known, self.connection = known, connection

    def is_cancelled(self) -> bool:
        """Whether the client has gone."""
        return self.connection.closed

    def answer(self, outputs: Sequence[np.ndarray]) -> None:
        """Write the outputs behind the inputs."""
        self.connection.respond(self.known, [outputs[i] for i in self.prepared.output_indices])

    def refuse(self, refusal: Refusal) -> None:
        """Send an error."""
        self.connection.refuse(refusal)


class LocalConnection:
    """A client, with one region and one request at a time."""

    def __init__(self, connection: socket.socket, config: LocalConfig, others: set[LocalConnection]) -> None:
        """Wait for packets."""
        connection.setblocking(False)
        self._socket, self._config, self._others = connection, config, others
        self._loop = config.service.loop
        self._region: memoryview | None = None
        self._size = 0
        self._known: dict[int, _KnownRequest] = {}
        self._plans = RequestPlans(config.service)
        self.waits = self.closed = False  # waits: a request is being computed
        self._answered_ns = 0
        self._loop.add_reader(connection, self._read)

    def _read(self) -> None:
        """Handle a packet; poll for more from a client that sends requests in quick succession."""
        begin = monotonic_ns()
        in_succession = begin - self._answered_ns < LINGER_NS
        packet = self._next()
        while packet is not None:
            self._take(packet)
            packet = None
            if in_succession and len(self._others) == 1:  # only while no other client would wait
                until = min(monotonic_ns() + LINGER_NS, begin + TURN_NS)
                while packet is None and not (self.closed or self.waits) and monotonic_ns() < until:
                    os.sched_yield()
                    packet = self._next()

    def _next(self) -> bytes | None:
        """Return a packet, empty if the client has gone; None if none has arrived, or it was a new region."""
        try:
            return self._socket.recv(PACKET_MOST) if self._region is not None else self._hello()
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _take(self, packet: bytes) -> None:
        if not packet or self.waits:  # the client has gone, or sends a second request too early
            self.close()
            return
        try:
            if packet[:1] == ASKS and len(packet) >= ASK.size:
                self._request(packet)
            elif packet == HELLO[:1]:
                self._release_region()
                self._send(WELCOME)
            else:
                self.close()
        except Refusal as refusal:
            self._config.service.note_refused("", refusal)
            self.refuse(refusal)

    def _hello(self) -> bytes | None:
        """Receive the region and map it; return an empty packet if the client sends anything else."""
        packet, control, _, _ = self._socket.recvmsg(PACKET_MOST, socket.CMSG_SPACE(_DESCRIPTOR_BYTES))
        descriptors = array.array("i")
        for level, kind, data in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: len(data) - len(data) % _DESCRIPTOR_BYTES])
        try:
            if not packet or packet != HELLO or len(descriptors) != 1:
                return b""
            error = self._map_region(descriptors[0])
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._send(WELCOME if error is None else REFUSAL.pack(REFUSES, Fault.INVALID.grpc) + error.encode())
        return None

    def _map_region(self, descriptor: int) -> str | None:
        """Map the region; return an error message if it is not possible."""
        try:
            sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
        except OSError:
            sealed = 0
        if not sealed:
            return "the region must be memory that cannot shrink (a memfd with F_SEAL_SHRINK)"
        size = os.fstat(descriptor).st_size
        if size <= 0 or not self._config.reserve(size):
            return f"a region of {size} bytes is rejected: the server's memory for requests is full"
        try:
            self._region = memoryview(mmap.mmap(descriptor, size))
        except OSError as error:
            self._config.release(size)
            return f"the region cannot be mapped: {error.strerror}"
        self._size = size
        return None

    def _release_region(self) -> None:
        """Release the region, and the requests whose arrays are in it."""
        self._known.clear()
        self._region = None
        self._config.release(self._size)
        self._size = 0

    def _request(self, packet: bytes) -> None:
        _, number, timeout_us = ASK.unpack_from(packet)
        known = self._known.get(number)
        if len(packet) > ASK.size:
            known = self._learn(number, packet[ASK.size :])
        elif known is None:
            raise Refusal(Fault.INVALID, f"no request header has the number {number}")
        elif known.plan.generation != self._config.service.generation:
            known = self._learn(number, known.encoded)
        ticket = _LocalTicket(known, self, monotonic_ns() + 1000 * timeout_us if timeout_us else None)
        self.waits = True
        known.plan.scheduler.take_now(ticket)

    def _learn(self, number: int, encoded: bytes) -> _KnownRequest:
        region = self._region
        assert region is not None  # noqa: S101 - `_next` reads nothing but a hello before there is a region
        head, _, inline = self._config.requests.read(encoded)
        sizes = sizes_of(head)
        if sizes is None or inline:
            raise Refusal(
                Fault.INVALID, "local requests carry no strings and no data: write the inputs into the region"
            )
        places, end = places_of(size for _, _, size in sizes)
        if end > self._size:
            raise Refusal(
                Fault.INVALID, f"the request needs {end} bytes, but the region has only {self._size}"
            )
        raws = [region[begin:stop] for begin, stop in places]
        plan = self._plans.find(head, raws)
        if plan is None:
            raise Refusal(
                Fault.INVALID,
                "sequences, classification and registered regions need gRPC or HTTP, not a local socket",
            )
        inputs = [np.ndarray(shape, dtype, raw) for (dtype, shape, _), raw in zip(sizes, raws, strict=True)]
        arrays = [None if place is None else inputs[place] for place in plan.places]
        if len(self._known) >= MAX_KNOWN_REQUESTS and number not in self._known:
            self._known.clear()
        known = self._known[number] = _KnownRequest(encoded, head, plan, arrays, end)
        return known

    def respond(self, known: _KnownRequest, outputs: list[np.ndarray]) -> None:
        """Write outputs into the region and notify the client."""
        if self.closed:
            return
        key = tuple([(output.shape, output.dtype) for output in outputs])
        answer = known.answers.get(key) or self._place(known, key, outputs)
        if answer is None:
            return
        packet, views = answer
        for view, output in zip(views, outputs, strict=True):
            view[...] = output
        self.waits = False
        self._answered_ns = monotonic_ns()
        self._send(packet)

    def _place(
        self, known: _KnownRequest, key: Any, outputs: list[np.ndarray]
    ) -> tuple[bytes, list[np.ndarray]] | None:
        """Find space in the region for outputs like these, or tell the client what size the region needs."""
        if any(output.dtype.kind == "O" for output in outputs):
            self.refuse(
                Refusal(
                    Fault.INVALID, "the model returns strings, which need gRPC or HTTP, not a local socket"
                )
            )
            return None
        places, end = places_of([output.nbytes for output in outputs], known.end)
        if end > self._size:
            self.waits = False
            self._send(GROWTH.pack(GROWS, end))
            return None
        spec, region = known.plan.scheduler.spec, self._region
        _, pieces = self._config.answers.write_plain(spec.name, spec.version, known.plan.outputs, outputs, "")
        assert region is not None  # noqa: S101 - the request came through it
        views = [
            np.ndarray(output.shape, output.dtype, region[begin:stop])
            for output, (begin, stop) in zip(outputs, places, strict=True)
        ]
        answer = known.answers[key] = (ANSWERS + bytes(pieces[0]), views)
        return answer

    def refuse(self, refusal: Refusal) -> None:
        """Send an error."""
        self.waits = False
        self._send(REFUSAL.pack(REFUSES, refusal.fault.grpc) + str(refusal).encode()[: PACKET_MOST // 2])

    def _send(self, packet: bytes) -> None:
        if self.closed:
            return
        try:
            self._socket.send(packet)
        except OSError:  # the client does not read its responses, or has gone
            self.close()

    def close(self) -> None:
        """Close the connection and release its region."""
        if not self.closed:
            self.closed, self.waits = True, False
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._release_region()
            self._others.discard(self)
