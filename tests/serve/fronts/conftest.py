"""A server on loopback in a thread of its own, with trivial models."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from types import SimpleNamespace

import numpy as np
import pytest

from tamis.serve.fronts.metrics import metrics_handler
from tamis.serve.fronts.rest import rest_handler
from tamis.serve.models.bundles import open_bundle
from tamis.serve.models.model import Batching, Model, ModelSpec, Spec
from tamis.serve.protocol.messages import Fault, Refusal
from tamis.serve.protocol.tensors import DATATYPES
from tamis.serve.service import Service
from tamis.serve.wire.http1 import HttpConfig, HttpLimits
from tamis.serve.wire.http1_protocol import HttpProtocol, drain_connections


def echo(name: str, datatype: str, shape: tuple[int, ...] = (-1,), max_batch: int = 1 << 16) -> Model:
    """Return a model whose output is its input."""
    spec = ModelSpec(
        name,
        "1",
        "null",
        (Spec("x", datatype, shape),),
        (Spec("y", datatype, shape),),
        max_batch,
        Batching() if max_batch else None,
    )
    return Model(spec, [lambda arrays: [arrays[0]]], quick=True)


def slow(name: str, gate: threading.Event) -> Model:
    """Return a model that runs one request at a time and waits for a gate to open."""
    model = echo(name, "FP32")

    def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
        gate.wait(20)
        return [arrays[0]]

    return Model(replace(model.spec, batching=None), [run])


def broken(name: str) -> Model:
    """Return a model that raises an error."""

    def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
        raise ValueError("it fell over")

    return Model(echo(name, "FP32").spec, [run], quick=True)


def strange(name: str) -> Model:
    """Return a model with an output type that the protocol does not have."""
    return Model(echo(name, "FP32").spec, [lambda arrays: [arrays[0].astype(complex)]], quick=True)


class FakeRepository:
    """A repository in memory."""

    def __init__(self) -> None:
        self.loaded: dict[str, str | None] = {}

    def index(self):
        known = [{"name": "other", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}]
        return [
            {"name": name, "version": "1", "state": "READY", "reason": ""} for name in self.loaded
        ] + known

    async def load(self, name, sent):
        await asyncio.sleep(0)
        if name == "absent":
            raise Refusal(Fault.NOT_FOUND, "there is no model 'absent' in the repository")
        if name == "wrong":
            raise KeyError("an internal error")
        self.loaded[name] = sent

    async def unload(self, name, dependents):
        await asyncio.sleep(0)
        del self.loaded[name]

    def config_of(self, name, version):
        return {"name": name, "platform": "null", "max_batch_size": 8}

    def labels_of(self, name, version):
        return {"y": ["cat", "dog"]}


class FakeRegions:
    """Regions of shared memory in the memory of the test."""

    def __init__(self) -> None:
        self.buffers: dict[str, tuple[str, int, bytearray]] = {}

    def _region(self, name):
        if name not in self.buffers:
            raise Refusal(Fault.NOT_FOUND, f"there is no region {name!r}")
        return self.buffers[name]

    def status(self, name):
        names = [name] if name else list(self.buffers)
        return [
            {"name": one, "key": key, "offset": offset, "byte_size": len(raw)}
            for one in names
            for key, offset, raw in [self._region(one)]
        ]

    def register(self, name, key, offset, byte_size):
        if name in self.buffers:
            raise Refusal(Fault.EXISTS, f"the region {name!r} is there already")
        self.buffers[name] = (key, offset, bytearray(byte_size))

    def unregister(self, name):
        if name:
            self.buffers.pop(name, None)
        else:
            self.buffers.clear()

    def read(self, region, offset, size):
        return memoryview(self._region(region)[2])[offset : offset + size]

    def write(self, region, offset, size, raw):
        self._region(region)[2][offset : offset + size] = raw


class ServedVersion:
    """A running server: its ports, its service, and the memory that its requests have reserved."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.repository, self.regions = FakeRepository(), FakeRegions()
        self.connections: set[HttpProtocol] = set()
        self.reserved = self.reserved_most = 0
        self.budget = 1 << 30
        self.errors: list[dict] = []
        self.port = self.metrics_port = 0
        self.service: Service
        self.loop: asyncio.AbstractEventLoop

    def reserve(self, size: int) -> bool:
        if self.reserved + size > self.budget:
            return False
        self.reserved += size
        self.reserved_most = max(self.reserved, self.reserved_most)
        return True

    def release(self, size: int) -> None:
        self.reserved -= size

    def call(self, act: Callable[[], object]) -> object:
        """Run a function in the server's thread."""

        async def run() -> object:
            return act()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(20)

    def drain(self, seconds: float):
        return asyncio.run_coroutine_threadsafe(drain_connections(self.connections, seconds), self.loop)

    def request(self, method: str, path: str, body=None, headers=None) -> SimpleNamespace:
        """Send one request on a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            if isinstance(body, dict):
                body = json.dumps(body).encode()
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            raw = response.read()
            kind = response.headers.get("content-type", "")
            content = (
                json.loads(raw)
                if raw and kind == "application/json" and "content-encoding" not in response.headers
                else None
            )
            return SimpleNamespace(status=response.status, headers=response.headers, raw=raw, json=content)
        finally:
            connection.close()

    def talk(self, raw: bytes, *, ends: bool = False, seconds: float = 10) -> bytes:
        """Send bytes as they are; return everything received until the server closes the connection."""
        with self.socket(seconds) as client:
            try:
                client.sendall(raw)
                if ends:
                    client.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass
            return receive_all(client)

    def socket(self, seconds: float = 10) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=seconds)


def receive_all(client: socket.socket) -> bytes:
    """Receive until the server closes the connection."""
    pieces = []
    try:
        while piece := client.recv(1 << 16):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def models(gate: threading.Event, bundles=()) -> list[Model]:
    echoes = [echo(f"echo-{datatype.lower()}", datatype) for datatype in DATATYPES]
    return [
        *echoes,
        echo("null", "FP32"),
        echo("square", "FP32", (2, 2)),
        echo("plain", "FP32", (-1,), 0),
        slow("slow", gate),
        broken("broken"),
        strange("strange"),
        *[open_bundle(path, "onnxruntime", 1, 1) for path in bundles],
    ]


@contextmanager
def serving(*, limits=HttpLimits(), authorize=lambda _: None, bundles=(), tls=None, uvloop=False, bare=False):  # noqa: B008
    """Run a server."""
    served, ready = ServedVersion(), threading.Event()
    stop: list[Callable[[], None]] = []

    async def main() -> None:
        loop = served.loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: served.errors.append(context))
        service = served.service = Service(loop)
        for model in models(served.gate, bundles):
            service.add(model)
        service.accepts = True
        ended = asyncio.Event()
        stop.append(lambda: loop.call_soon_threadsafe(ended.set))
        config = HttpConfig(
            rest_handler(service) if bare else rest_handler(service, served.repository, served.regions),
            limits,
            authorize,
            served.reserve,
            served.release,
        )
        metrics_config = HttpConfig(metrics_handler(service), limits)
        server = await loop.create_server(
            lambda: HttpProtocol(config, served.connections), "127.0.0.1", 0, ssl=tls
        )
        metrics_server = await loop.create_server(
            lambda: HttpProtocol(metrics_config, served.connections), "127.0.0.1", 0
        )
        served.port = server.sockets[0].getsockname()[1]
        served.metrics_port = metrics_server.sockets[0].getsockname()[1]
        ready.set()
        await ended.wait()
        server.close()
        metrics_server.close()
        await drain_connections(served.connections, 1)
        for loaded in service.every():
            loaded.scheduler.end()

    def run() -> None:
        if uvloop:
            import uvloop as loops

            loops.run(main())
        else:
            asyncio.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(30)
        yield served
    finally:
        served.gate.set()
        stop[0]()
        thread.join(30)
        assert not thread.is_alive()


def example(datatype: str) -> np.ndarray:
    """Return two rows of three values over the whole range of a data type."""
    rng = np.random.default_rng(1)
    dtype = DATATYPES[datatype]
    if datatype == "BYTES":
        return np.array([[b"", b"a", "µ".encode()], [b"\0\0", b"longer than most", b"{}"]], object)
    if datatype == "BOOL":
        return np.array([[True, False, True], [False, False, True]])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.array([[limits.min, limits.max, 0], [1, 2, limits.max - 1]], dtype)
    return rng.normal(size=(2, 3)).astype(dtype)


@pytest.fixture(scope="session")
def served() -> Iterator[ServedVersion]:
    """A server shared by all tests, which leave it unchanged."""
    with serving() as server:
        yield server
        assert server.errors == []
        assert server.reserved == 0


@pytest.fixture(scope="session")
def serve():
    """The context manager that runs a server of the test's own."""
    return serving


@pytest.fixture
def values():
    """The function that returns two rows of three values of a data type."""
    return example


@pytest.fixture
def receive_rest():
    """The function that receives until the server closes the connection."""
    return receive_all
