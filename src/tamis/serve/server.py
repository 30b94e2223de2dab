"""The server: models from directories, doors for gRPC, HTTP and metrics, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tamis._base import UsageError
from tamis.serve.fronts.grpc_methods import methods
from tamis.serve.fronts.grpc_repository import forbidden
from tamis.serve.fronts.local import LocalConfig, LocalListener
from tamis.serve.fronts.metrics import metrics
from tamis.serve.fronts.rest import rest
from tamis.serve.models.opening import BundleSettings
from tamis.serve.models.repository import Repository
from tamis.serve.models.triton_config import config_of
from tamis.serve.request_log import RequestLog
from tamis.serve.service import Service
from tamis.serve.shared_memory import SharedMemory
from tamis.serve.tls import HTTP1, HTTP2, Tokens, server_context
from tamis.serve.wire.grpc import GrpcConfig
from tamis.serve.wire.grpc_protocol import GrpcProtocol
from tamis.serve.wire.http1 import HttpConfig, HttpLimits
from tamis.serve.wire.http1_protocol import HttpProtocol

TCP_BACKLOG = 512
HANDSHAKE_S = 10.0
DESCRIPTORS_SPARE = 4096  # for files of models, shared regions, the socket of this machine


@dataclass(frozen=True)
class Endpoints:
    """Where the server listens; a port of 0 is any that is free, None a door that stays shut."""

    host: str = "127.0.0.1"
    grpc: int | None = 8001
    http: int | None = 8000
    metrics: int | None = 8002
    local: Path | None = None  # a socket in the file system, for processes of this machine


@dataclass(frozen=True)
class AccessSettings:
    """Who may come in, and how much they may bring."""

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    tokens: Path | None = None
    request_bytes_most: int = 1 << 26
    bytes_most: int = 1 << 30  # of all requests that are in the server
    may_load: bool = True  # whether clients may load and unload models
    connections_most: int = 1024  # at a time, of gRPC and HTTP together


@dataclass(frozen=True)
class ServerSettings:
    """All that a server is told."""

    models: Sequence[str | Path]
    doors: Endpoints = Endpoints()
    guard: AccessSettings = AccessSettings()
    running: BundleSettings = field(default_factory=BundleSettings)
    drain_s: float = 30.0
    log: Path | None = None  # a file for a line per request
    shares_ports: bool = False  # with other processes


@dataclass
class Budget:
    """The bytes of requests that are in the server."""

    most: int
    taken: int = 0

    def reserve(self, size: int) -> bool:
        """Take some, or tell that there are none left."""
        if self.taken + size > self.most:
            return False
        self.taken += size
        return True

    def release(self, size: int) -> None:
        """Give them back."""
        self.taken -= size


@dataclass
class StartedServer:
    """What a server that has begun says of itself."""

    addresses: Mapping[str, str]
    service: Service
    repository: Repository
    problems: Mapping[str, str] = field(default_factory=dict)  # of models that could not be loaded


class Server:
    """A server in the loop that runs."""

    def __init__(self, settings: ServerSettings) -> None:
        """Look through the directories; nothing is opened yet."""
        self.settings = settings
        loop = asyncio.get_running_loop()
        log = RequestLog(settings.log, loop) if settings.log is not None else None
        self.service = Service(loop, log=log)
        self.repository = Repository(settings.models, self.service, settings.running)
        self._shared = SharedMemory()
        self._budget = Budget(settings.guard.bytes_most)
        self._grpc: set[GrpcProtocol] = set()
        self._http: set[HttpProtocol] = set()
        self._sockets: list[asyncio.Server] = []
        self._local: LocalListener | None = None

    async def start(self) -> StartedServer:
        """Open the doors, then the models: until all are ready, the server says that it is not."""
        guard = self.settings.guard
        tokens = Tokens.read(guard.tokens) if guard.tokens is not None else None
        admit: Callable[[str], str | None] = tokens.why_not if tokens is not None else lambda _: None
        http2, http1 = self._tls(HTTP2), self._tls(HTTP1)
        rules = GrpcConfig(
            methods(self.service, self._shared, self.repository, may_load=guard.may_load),
            guard.request_bytes_most,
            lambda asked: admit(asked.authorization),
            self._budget.reserve,
            self._budget.release,
        )
        limits = HttpLimits(body_bytes_most=guard.request_bytes_most)
        asked = HttpConfig(
            rest(
                self.service,
                RestModelControl(self.service, self.repository, may_load=guard.may_load),
                RestSharedRegions(self._shared),
            ),
            limits,
            lambda request: admit(request.header(b"authorization")),
            self._budget.reserve,
            self._budget.release,
        )
        told = HttpConfig(metrics(self.service), limits)
        addresses = {}
        doors = self.settings.doors
        for name, port, make, secure in (
            ("grpc", doors.grpc, lambda: GrpcProtocol(rules, self._grpc), http2),
            ("http", doors.http, lambda: HttpProtocol(asked, self._http), http1),
            ("metrics", doors.metrics, lambda: HttpProtocol(told, self._http), None),
        ):
            if port is not None:
                addresses[name] = await self._open(name, port, make, secure)
        if doors.local is not None:
            common = LocalConfig(self.service, self._budget.reserve, self._budget.release)
            self._local = LocalListener(doors.local, common)
            addresses["local"] = str(doors.local)
        await self.repository.load_all()
        self.service.ready = self.repository.is_ready
        problems = {one.name: one.reason for one in self.repository.index() if one.reason}
        return StartedServer(addresses, self.service, self.repository, problems)

    def _tls(self, protocol: str) -> ssl.SSLContext | None:
        guard = self.settings.guard
        if guard.certificate is None and guard.key is None:
            if guard.client_ca is not None:
                raise UsageError(
                    "certificates of clients are checked with TLS only: give --certificate and --key as well"
                )
            return None
        if guard.certificate is None or guard.key is None:
            raise UsageError("TLS takes a certificate and its key: give --certificate and --key")
        return server_context(guard.certificate, guard.key, guard.client_ca, protocol)

    async def _open(
        self, name: str, port: int, make: Callable[[], asyncio.BufferedProtocol], tls: ssl.SSLContext | None
    ) -> str:
        host = self.settings.doors.host
        most = self.settings.guard.connections_most

        def welcome() -> asyncio.BufferedProtocol:
            return make() if len(self._grpc) + len(self._http) < most else _TurnedAway()

        shares = (self.settings.shares_ports and name != "metrics") or None
        try:
            server = await self.service.loop.create_server(
                welcome,
                host,
                port,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_S if tls is not None else None,
                backlog=TCP_BACKLOG,
                reuse_port=shares,
            )
        except OSError as error:
            raise UsageError(
                f"cannot listen for {name} at {host}:{port}: {error.strerror or error}"
            ) from error
        self._sockets.append(server)
        bound = server.sockets[0].getsockname()
        return f"{bound[0]}:{bound[1]}"

    async def stop(self) -> int:
        """Take nothing new, finish what is under way, close; return how many requests were cut off after all."""
        self.service.ready = False
        for server in self._sockets:
            server.close()
        if self._local is not None:
            self._local.shut()
        for connection in list(self._grpc):
            connection.leave()
        for door in list(self._http):
            door.drain()
        until = self.service.loop.time() + self.settings.drain_s
        while self._under_way() and self.service.loop.time() < until:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)
        left = self._under_way()
        for connection in list(self._grpc):
            connection.close()
        for door in list(self._http):
            door.abort()
        if self._local is not None:
            self._local.close()
        await self.repository.close()
        self._shared.unregister()
        if self.service.log is not None:
            self.service.log.close()
        return left

    def _under_way(self) -> int:
        waiting = sum(one.scheduler.waiting + one.scheduler.running for one in self.service.every())
        return waiting + sum(connection.under_way for connection in self._grpc) + len(self._http)


class _TurnedAway(asyncio.BufferedProtocol):
    """A connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Cut it: who asks several servers goes to another one."""
        transport.abort()  # type: ignore[attr-defined] # a socket's

    def get_buffer(self, sizehint: int) -> bytearray:
        """Have a place for what is not read."""
        return bytearray(max(sizehint, 1))


class RestModelControl:
    """The repository as REST speaks of it."""

    def __init__(self, service: Service, repository: Repository, *, may_load: bool = True) -> None:
        """Keep both."""
        self._service, self._repository, self._may_load = service, repository, may_load

    def index(self) -> list[dict[str, str]]:
        """Return all models and their states."""
        return [
            {"name": one.name, "version": one.version, "state": str(one.state), "reason": one.reason}
            for one in self._repository.index()
        ]

    async def load(self, name: str, config: str | None) -> None:
        """Load a model."""
        if not self._may_load:
            raise forbidden()
        if config is not None:
            raise UsageError("a configuration cannot be sent along: change config.pbtxt in the repository")
        await self._repository.load(name)

    async def unload(self, name: str, dependents: bool) -> None:
        """Unload a model; no model depends on another here."""
        del dependents
        if not self._may_load:
            raise forbidden()
        await self._repository.unload(name)

    def config_of(self, name: str, version: str) -> Mapping[str, Any]:
        """Return a model's configuration."""
        from google.protobuf.json_format import MessageToDict

        model = self._service.find(name, version).model
        config = model.config if model.config is not None else config_of(model.spec, len(model.instances))
        found: dict[str, Any] = MessageToDict(config, preserving_proto_field_name=True)
        return found

    def labels_of(self, name: str, version: str) -> Mapping[str, Sequence[str]]:
        """Return what elements of outputs are called."""
        return {
            one.name: one.labels for one in self._service.find(name, version).model.spec.outputs if one.labels
        }


class RestSharedRegions:
    """Shared memory as REST speaks of it."""

    def __init__(self, shared: SharedMemory) -> None:
        """Keep it."""
        self._shared = shared
        self.register, self.unregister = shared.register, shared.unregister
        self.read, self.write = shared.read, self._write

    def status(self, name: str) -> list[dict[str, Any]]:
        """Return what is registered."""
        return [
            {"name": one.name, "key": one.key, "offset": one.offset, "byte_size": one.byte_size}
            for one in self._shared.status(name)
        ]

    def _write(self, region: str, offset: int, size: int, raw: memoryview) -> None:
        self._shared.write(region, offset, size, raw)


async def serve(settings: ServerSettings, begun: Callable[[StartedServer], None]) -> int:
    """Serve until SIGTERM or SIGINT, then finish what is under way; return how many requests were cut off."""
    loop = asyncio.get_running_loop()
    server = Server(settings)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    try:
        starting = asyncio.ensure_future(server.start())
        waiting = asyncio.ensure_future(ended.wait())
        await asyncio.wait([starting, waiting], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            begun(starting.result())
            await waiting
        else:
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
    finally:
        left = await server.stop()
    return left


def _have_descriptors(needed: int) -> None:
    """Ask the system for as many descriptors as connections may take, up to what this user may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed and soft != resource.RLIM_INFINITY:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def run_server(settings: ServerSettings, begun: Callable[[StartedServer], None]) -> int:
    """Serve in this thread, on the fastest loop that is installed."""
    _have_descriptors(settings.guard.connections_most + DESCRIPTORS_SPARE)
    try:
        import uvloop
    except ImportError:
        return asyncio.run(serve(settings, begun))
    found: int = uvloop.run(serve(settings, begun))
    return found
