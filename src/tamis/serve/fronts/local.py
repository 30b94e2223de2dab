"""The door for processes of this machine: a socket in the file system for packets, and memory that both sides map.

Only who may open the socket, its owner, may come in. The region is the client's: what it changes while a model runs is its own
answer.
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
from tamis.serve.fronts.plans import Plan, Plans
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

BACKLOG = 128
HEADS_MOST = 512  # that a connection may number
# A client that asks again within so long is looked for without going to sleep, for so long in a turn of the loop.
LINGER_NS, TURN_NS = 50_000, 1_000_000
_DESCRIPTOR = array.array("i").itemsize


@dataclass
class LocalRules:
    """What all connections share."""

    service: Service
    reserve: Callable[[int], bool]
    release: Callable[[int], None]
    requests: RequestReader = field(default_factory=RequestReader)
    answers: ResponseWriter = field(default_factory=ResponseWriter)


class LocalDoor:
    """Listens at a path."""

    def __init__(self, path: Path, rules: LocalRules) -> None:
        """Listen, or raise UsageError."""
        self.path, self._rules = path, rules
        self.connections: set[LocalConnection] = set()
        self._listener = _listening(path)
        self._loop = rules.service.loop
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        with contextlib.suppress(
            OSError
        ):  # who gave up is not missed; who cannot be taken now is taken later
            connection, _ = self._listener.accept()
            self.connections.add(LocalConnection(connection, self._rules, self.connections))

    def shut(self) -> None:
        """Let nobody in any more."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of everybody."""
        for connection in list(self.connections):
            connection.close()


def _listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        if path.is_socket() and not _answers(path):
            path.unlink()  # what a server left that was killed
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen at {path}: {error.strerror or error}") from error
    finally:
        os.umask(before)
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as trial:
        try:
            trial.connect(str(path))
        except OSError:
            return False
        return True


@dataclass(slots=True)
class _Known:
    """A head that has a number: where its requests' tensors lie, as arrays, and its answers'."""

    encoded: bytes
    head: RequestHeader
    plan: Plan
    arrays: list[Any]
    end: int
    answers: dict[Any, tuple[bytes, list[np.ndarray]]] = field(default_factory=dict)


class _LocalTicket(Ticket):
    """A request that lies in the region."""

    __slots__ = ("connection", "known")

    def __init__(self, known: _Known, connection: LocalConnection, own_ns: int | None) -> None:
        super().__init__(known.plan.prepared, list(known.arrays), own_ns)
        self.known, self.connection = known, connection

    def is_cancelled(self) -> bool:
        """Tell whether the client is gone."""
        return self.connection.closed

    def answer(self, outputs: Sequence[np.ndarray]) -> None:
        """Lay the answer behind the request."""
        self.connection.answer(self.known, [outputs[i] for i in self.prepared.output_indices])

    def refuse(self, refusal: Refusal) -> None:
        """Tell why not."""
        self.connection.refuse(refusal)


class LocalConnection:
    """One client, with one region and one request at a time."""

    def __init__(self, connection: socket.socket, rules: LocalRules, others: set[LocalConnection]) -> None:
        """Wait for packets."""
        connection.setblocking(False)
        self._socket, self._rules, self._others = connection, rules, others
        self._loop = rules.service.loop
        self._region: memoryview | None = None
        self._size = 0
        self._known: dict[int, _Known] = {}
        self._plans = Plans(rules.service)
        self.waits = self.closed = False
        self._answered_ns = 0
        self._loop.add_reader(connection, self._read)

    def _read(self) -> None:
        """Take a packet; of a client that asks again at once, the next ones too, before the loop would go to sleep."""
        begin = monotonic_ns()
        asks_again = begin - self._answered_ns < LINGER_NS
        packet = self._next()
        while packet is not None:
            self._take(packet)
            packet = None
            if asks_again and len(self._others) == 1:  # nobody else is kept waiting
                until = min(monotonic_ns() + LINGER_NS, begin + TURN_NS)
                while packet is None and not (self.closed or self.waits) and monotonic_ns() < until:
                    os.sched_yield()
                    packet = self._next()

    def _next(self) -> bytes | None:
        """Return a packet, an empty one where the client is gone; None where there is none, or it was a region."""
        try:
            return self._socket.recv(PACKET_MOST) if self._region is not None else self._hello()
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _take(self, packet: bytes) -> None:
        if not packet or self.waits:  # gone, or it does not keep to one request at a time
            self.close()
            return
        try:
            if packet[:1] == ASKS and len(packet) >= ASK.size:
                self._ask(packet)
            elif packet == HELLO[:1]:
                self._leave_region()
                self._send(WELCOME)
            else:
                self.close()
        except Refusal as refusal:
            self._rules.service.note_refused("", refusal)
            self.refuse(refusal)

    def _hello(self) -> bytes | None:
        """Take the region; None when that is done."""
        packet, more, _, _ = self._socket.recvmsg(PACKET_MOST, socket.CMSG_SPACE(_DESCRIPTOR))
        descriptors = array.array("i")
        for level, kind, data in more:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: len(data) - len(data) % _DESCRIPTOR])
        try:
            if not packet or packet != HELLO or len(descriptors) != 1:
                return b""
            told = self._take_region(descriptors[0])
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._send(WELCOME if told is None else REFUSAL.pack(REFUSES, Fault.INVALID.grpc) + told.encode())
        return None

    def _take_region(self, descriptor: int) -> str | None:
        """Map it; return why not, if not."""
        try:
            sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
        except OSError:
            sealed = 0
        if not sealed:
            return "the region has to be memory that cannot shrink (a memfd with F_SEAL_SHRINK)"
        size = os.fstat(descriptor).st_size
        if size <= 0 or not self._rules.reserve(size):
            return f"a region of {size} bytes cannot be taken: requests in this server have too many bytes already"
        try:
            self._region = memoryview(mmap.mmap(descriptor, size))
        except OSError as error:
            self._rules.release(size)
            return f"the region cannot be mapped: {error.strerror}"
        self._size = size
        return None

    def _leave_region(self) -> None:
        """Let go of the region, for another one; what was known of it is of no use then."""
        self._known.clear()
        self._region = None
        self._rules.release(self._size)
        self._size = 0

    def _ask(self, packet: bytes) -> None:
        _, number, timeout_us = ASK.unpack_from(packet)
        known = self._known.get(number)
        if len(packet) > ASK.size:
            known = self._learn(number, packet[ASK.size :])
        elif known is None:
            raise Refusal(Fault.INVALID, f"no head has the number {number}")
        elif known.plan.generation != self._rules.service.generation:
            known = self._learn(number, known.encoded)
        ticket = _LocalTicket(known, self, monotonic_ns() + 1000 * timeout_us if timeout_us else None)
        self.waits = True
        known.plan.scheduler.take_now(ticket)

    def _learn(self, number: int, encoded: bytes) -> _Known:
        region = self._region
        assert region is not None  # noqa: S101 - or nothing but a hello would have been read
        head, _, inline = self._rules.requests.read(encoded)
        sizes = sizes_of(head)
        if sizes is None or inline:
            raise Refusal(Fault.INVALID, "through shared memory numbers travel as they are, and no strings")
        places, end = places_of(size for _, _, size in sizes)
        if end > self._size:
            raise Refusal(Fault.INVALID, f"the request takes {end} bytes of a region of {self._size}")
        raws = [region[begin:stop] for begin, stop in places]
        plan = self._plans.find(head, raws)
        if plan is None:
            raise Refusal(Fault.INVALID, "classes and registered regions travel through gRPC and HTTP only")
        given = [np.ndarray(shape, dtype, raw) for (dtype, shape, _), raw in zip(sizes, raws, strict=True)]
        arrays = [None if place is None else given[place] for place in plan.places]
        if len(self._known) >= HEADS_MOST and number not in self._known:
            self._known.clear()
        known = self._known[number] = _Known(encoded, head, plan, arrays, end)
        return known

    def answer(self, known: _Known, outputs: list[np.ndarray]) -> None:
        """Lay outputs into the region, and say so."""
        if self.closed:
            return
        key = tuple([(one.shape, one.dtype) for one in outputs])
        made = known.answers.get(key) or self._place(known, key, outputs)
        if made is None:
            return
        packet, views = made
        for view, output in zip(views, outputs, strict=True):
            view[...] = output
        self.waits = False
        self._answered_ns = monotonic_ns()
        self._send(packet)

    def _place(
        self, known: _Known, key: Any, outputs: list[np.ndarray]
    ) -> tuple[bytes, list[np.ndarray]] | None:
        """Find room for an answer like this, or tell how much it takes."""
        if any(output.dtype.kind == "O" for output in outputs):
            self.refuse(Refusal(Fault.INVALID, "strings do not travel through shared memory; ask by gRPC"))
            return None
        places, end = places_of([output.nbytes for output in outputs], known.end)
        if end > self._size:
            self.waits = False
            self._send(GROWTH.pack(GROWS, end))
            return None
        spec, region = known.plan.scheduler.spec, self._region
        _, pieces = self._rules.answers.write_plain(spec.name, spec.version, known.plan.outputs, outputs, "")
        assert region is not None  # noqa: S101 - a request came through it
        views = [
            np.ndarray(output.shape, output.dtype, region[begin:stop])
            for output, (begin, stop) in zip(outputs, places, strict=True)
        ]
        made = known.answers[key] = (ANSWERS + bytes(pieces[0]), views)
        return made

    def refuse(self, refusal: Refusal) -> None:
        """Tell why there is no answer."""
        self.waits = False
        self._send(REFUSAL.pack(REFUSES, refusal.fault.grpc) + str(refusal).encode()[: PACKET_MOST // 2])

    def _send(self, packet: bytes) -> None:
        if self.closed:
            return
        try:
            self._socket.send(packet)
        except OSError:  # it does not read what it asked for, or is gone
            self.close()

    def close(self) -> None:
        """Let go of the client."""
        if not self.closed:
            self.closed, self.waits = True, False
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._leave_region()
            self._others.discard(self)
