"""The server: opens models and ports, and shuts down without losing requests."""

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
from tamis.serve.fronts.grpc_methods import GRPC_PROBES, grpc_methods
from tamis.serve.fronts.grpc_repository import model_control_forbidden
from tamis.serve.fronts.local import LocalConfig, LocalListener
from tamis.serve.fronts.metrics import metrics_handler
from tamis.serve.fronts.rest import is_probe, rest_handler
from tamis.serve.models.model import OpeningSettings
from tamis.serve.models.overrides import LoadOverride
from tamis.serve.models.report import check_dims
from tamis.serve.models.repository import Repository
from tamis.serve.models.triton_config import served_config
from tamis.serve.monitored import ServiceStream, StreamSettings
from tamis.serve.request_log import RequestLog
from tamis.serve.service import DEFAULT_SERVER_NAME, Service
from tamis.serve.shared_memory import SharedMemory
from tamis.serve.tls import HTTP1, HTTP2, Tokens, server_context
from tamis.serve.wire.grpc import GrpcConfig
from tamis.serve.wire.grpc_protocol import GrpcProtocol
from tamis.serve.wire.http1 import HttpConfig, HttpLimits
from tamis.serve.wire.http1_protocol import HttpProtocol

TCP_BACKLOG = 512
HANDSHAKE_S = 10.0
SPARE_DESCRIPTORS = 4096  # for model files, shared memory and the local socket


@dataclass(frozen=True)
class Endpoints:
    """Where the server listens: a port of 0 is any free port, None disables the interface."""

    host: str = "127.0.0.1"
    grpc: int | None = 8001
    http: int | None = 8000
    metrics: int | None = 8002
    local: Path | None = None  # a socket in the file system, for clients on the same machine


@dataclass(frozen=True)
class AccessSettings:
    """Who may connect, and the limits on what clients send."""

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    tokens: Path | None = None
    max_request_bytes: int = 1 << 26
    max_total_bytes: int = 1 << 30  # of all requests in the server
    may_load: bool = True  # whether clients may load and unload models
    max_connections: int = 1024  # of gRPC and HTTP together


@dataclass(frozen=True)
class ServerSettings:
    """The settings of a server."""

    models: Sequence[str | Path]
    endpoints: Endpoints = Endpoints()
    access: AccessSettings = AccessSettings()
    opening: OpeningSettings = field(default_factory=OpeningSettings)
    drain_s: float = 30.0
    log: Path | None = None  # a file with one line per request
    monitor: StreamSettings | None = None  # a folder with one row per second
    shares_ports: bool = False  # with other processes
    name: str = DEFAULT_SERVER_NAME  # in the server's metadata
    strict_readiness: bool = True  # ready only while all models are, except those that were unloaded


@dataclass
class MemoryBudget:
    """The bytes of all requests in the server."""

    limit: int
    used: int = 0

    def reserve(self, size: int) -> bool:
        """Reserve some bytes if there are enough left."""
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def release(self, size: int) -> None:
        """Release reserved bytes."""
        self.used -= size


@dataclass
class StartedServer:
    """The addresses and models of a server that has started."""

    addresses: Mapping[str, str]
    service: Service
    repository: Repository
    problems: Mapping[str, str] = field(default_factory=dict)  # error by model that could not be loaded


class Server:
    """A server in the running event loop."""

    def __init__(self, settings: ServerSettings) -> None:
        """Find the models; `start` opens them."""
        self.settings = settings
        loop = asyncio.get_running_loop()
        log = RequestLog(settings.log, loop) if settings.log is not None else None
        stream = ServiceStream(settings.monitor) if settings.monitor is not None else None
        self.service = Service(loop, name=settings.name, log=log, stream=stream)
        self.repository = Repository(settings.models, self.service, settings.opening)
        self.service.problem_of = self.repository.problem_of
        if settings.strict_readiness:
            self.service.models_ready = lambda: self.repository.is_ready
        self._shared = SharedMemory()
        self._budget = MemoryBudget(settings.access.max_total_bytes)
        self._grpc: set[GrpcProtocol] = set()
        self._http: set[HttpProtocol] = set()
        self._servers: list[asyncio.Server] = []
        self._local: LocalListener | None = None

    async def start(self) -> StartedServer:
        """Open the ports, then the models; the server reports that it is not ready until all are open."""
        access = self.settings.access
        tokens = Tokens.read(access.tokens) if access.tokens is not None else None
        reject_reason: Callable[[str], str | None] = (
            tokens.reject_reason if tokens is not None else lambda _: None
        )
        http2, http1 = self._tls(HTTP2), self._tls(HTTP1)
        grpc_config = GrpcConfig(
            grpc_methods(self.service, self._shared, self.repository, may_load=access.may_load),
            access.max_request_bytes,
            lambda headers: None if headers.path in GRPC_PROBES else reject_reason(headers.authorization),
            self._budget.reserve,
            self._budget.release,
        )
        limits = HttpLimits(max_body_bytes=access.max_request_bytes)
        rest_config = HttpConfig(
            rest_handler(
                self.service,
                RestModelControl(self.service, self.repository, may_load=access.may_load),
                RestSharedRegions(self._shared),
            ),
            limits,
            lambda request: (
                None if is_probe(request.target) else reject_reason(request.header(b"authorization"))
            ),
            self._budget.reserve,
            self._budget.release,
        )
        metrics_config = HttpConfig(metrics_handler(self.service), limits)
        addresses = {}
        endpoints = self.settings.endpoints
        for name, port, make, tls in (
            ("grpc", endpoints.grpc, lambda: GrpcProtocol(grpc_config, self._grpc), http2),
            ("http", endpoints.http, lambda: HttpProtocol(rest_config, self._http), http1),
            ("metrics", endpoints.metrics, lambda: HttpProtocol(metrics_config, self._http), None),
        ):
            if port is not None:
                addresses[name] = await self._listen(name, port, make, tls)
        if endpoints.local is not None:
            local_config = LocalConfig(self.service, self._budget.reserve, self._budget.release)
            self._local = LocalListener(endpoints.local, local_config)
            addresses["local"] = str(endpoints.local)
        await self.repository.load_all()
        if self.settings.shares_ports:
            self._check_states()
        if self.repository.is_ready:
            every = self.service.every()
            check_dims(self.settings.opening, {name for loaded in every for name in loaded.model.free_dims})
        if self.service.stream is not None:
            self.service.stream.start(self.service.loop)
        self.service.accepts = True
        problems = {entry.name: entry.reason for entry in self.repository.index() if entry.reason}
        return StartedServer(addresses, self.service, self.repository, problems)

    def _check_states(self) -> None:
        """Raise UsageError for a model with states: a connection may lead to a process that does not have them."""
        for loaded in self.service.every():
            if loaded.model.spec.sequences is not None:
                raise UsageError(
                    f"{loaded.model.spec.name} keeps states of sequences, which several --workers cannot share: serve it with "
                    "--workers 1, or with --max-sequences 0, which leaves its states to the clients"
                )

    def _tls(self, protocol: str) -> ssl.SSLContext | None:
        access = self.settings.access
        if access.certificate is None and access.key is None:
            if access.client_ca is not None:
                raise UsageError("--client-ca needs TLS: pass --certificate and --key as well")
            return None
        if access.certificate is None or access.key is None:
            raise UsageError("TLS needs a certificate and its key: pass both --certificate and --key")
        return server_context(access.certificate, access.key, access.client_ca, protocol)

    async def _listen(
        self, name: str, port: int, make: Callable[[], asyncio.BufferedProtocol], tls: ssl.SSLContext | None
    ) -> str:
        host = self.settings.endpoints.host
        limit = self.settings.access.max_connections

        def accept() -> asyncio.BufferedProtocol:
            return make() if len(self._grpc) + len(self._http) < limit else _RejectedConnection()

        shares = (self.settings.shares_ports and name != "metrics") or None
        try:
            server = await self.service.loop.create_server(
                accept,
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
        self._servers.append(server)
        address = server.sockets[0].getsockname()
        return f"{address[0]}:{address[1]}"

    async def stop(self) -> int:
        """Accept no new requests, finish those in flight, close; return the number of requests that were cut off."""
        self.service.accepts = False
        for server in self._servers:
            server.close()
        if self._local is not None:
            self._local.stop()
        for grpc in list(self._grpc):
            grpc.go_away()
        for http in list(self._http):
            http.drain()
        until = self.service.loop.time() + self.settings.drain_s
        while self._in_flight() and self.service.loop.time() < until:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)
        cut_off = self._in_flight()
        for grpc in list(self._grpc):
            grpc.close()
        for http in list(self._http):
            http.abort()
        if self._local is not None:
            self._local.close()
        await self.repository.close()
        self._shared.unregister()
        if self.service.stream is not None:
            await self.service.stream.close()
        if self.service.log is not None:
            self.service.log.close()
        return cut_off

    def _in_flight(self) -> int:
        queued = sum(loaded.scheduler.waiting + loaded.scheduler.running for loaded in self.service.every())
        return queued + sum(connection.in_flight for connection in self._grpc) + len(self._http)


class _RejectedConnection(asyncio.BufferedProtocol):
    """A connection beyond the limit."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it at once, so that a client of several servers uses another one."""
        transport.abort()  # type: ignore[attr-defined] # a socket's

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return memory for bytes that are ignored."""
        return bytearray(max(sizehint, 1))


class RestModelControl:
    """The model repository, with REST's types."""

    def __init__(self, service: Service, repository: Repository, *, may_load: bool = True) -> None:
        """Wrap a repository; `may_load` says whether clients may change the models."""
        self._service, self._repository, self._may_load = service, repository, may_load

    def index(self) -> list[dict[str, str]]:
        """Return name, version, state and reason of every model."""
        return [
            {
                "name": entry.name,
                "version": entry.version,
                "state": str(entry.state),
                "reason": entry.reason,
            }
            for entry in self._repository.index()
        ]

    async def load(self, name: str, sent: LoadOverride | None) -> None:
        """Load a model."""
        if not self._may_load:
            raise model_control_forbidden()
        await self._repository.load(name, sent)

    async def unload(self, name: str, dependents: bool) -> None:
        """Unload a model; models here have no dependents."""
        del dependents
        if not self._may_load:
            raise model_control_forbidden()
        await self._repository.unload(name)

    def config_of(self, name: str, version: str) -> Mapping[str, Any]:
        """Return a model's configuration."""
        from google.protobuf.json_format import MessageToDict

        model = self._service.find(name, version).model
        config: dict[str, Any] = MessageToDict(served_config(model), preserving_proto_field_name=True)
        return config

    def labels_of(self, name: str, version: str) -> Mapping[str, Sequence[str]]:
        """Return the class labels of the outputs that have some."""
        outputs = self._service.find(name, version).model.spec.outputs
        return {output.name: output.labels for output in outputs if output.labels}


class RestSharedRegions:
    """Shared memory, with REST's types."""

    def __init__(self, shared: SharedMemory) -> None:
        """Wrap the regions of a server."""
        self._shared = shared
        self.register, self.unregister = shared.register, shared.unregister
        self.read = shared.read

    def status(self, name: str) -> list[dict[str, Any]]:
        """Return a region, or all if the name is empty."""
        return [
            {
                "name": region.name,
                "key": region.key,
                "offset": region.offset,
                "byte_size": region.byte_size,
            }
            for region in self._shared.status(name)
        ]

    def write(self, region: str, offset: int, size: int, raw: memoryview) -> None:
        """Write a part of a region."""
        self._shared.write(region, offset, size, raw)


async def serve(settings: ServerSettings, on_start: Callable[[StartedServer], None]) -> int:
    """Serve until SIGTERM or SIGINT, then finish requests in flight; return the number that were cut off."""
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
            on_start(starting.result())
            await waiting
        else:
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
    finally:
        cut_off = await server.stop()
    return cut_off


def run_server(settings: ServerSettings, on_start: Callable[[StartedServer], None]) -> int:
    """Run `serve` in this thread, with uvloop if it is installed."""
    needed = settings.access.max_connections + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed and soft != resource.RLIM_INFINITY:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    try:
        import uvloop
    except ImportError:
        return asyncio.run(serve(settings, on_start))
    cut_off: int = uvloop.run(serve(settings, on_start))
    return cut_off
