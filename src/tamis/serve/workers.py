"""Several server processes on the same ports; the kernel assigns each connection to one of them.

The parent process serves only the metrics: it starts the workers, restarts those that die, merges their metrics, and shuts
them down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from tamis._base import TamisError, UsageError, end_with_parent
from tamis.serve.fronts.metrics import EXPOSITION_FIELD
from tamis.serve.models.report import ModelReport
from tamis.serve.monitored import mark_last
from tamis.serve.server import ServerSettings, StartedServer, run_server
from tamis.serve.wire.http1 import HttpConfig, HttpLimits, HttpRequest
from tamis.serve.wire.http1_protocol import HttpProtocol

FIRST_RESTART_S, MAX_RESTART_S = 0.1, 5.0  # delay of a restart, doubled for every failure in a row
MAX_DOUBLINGS = 10
STABLE_S = 10.0  # a worker that lived this long starts the delays afresh
METRICS_TIMEOUT_S = 2.0
_log = logging.getLogger(__name__)


class ServerReport(NamedTuple):
    """What the command prints about a server that has started."""

    addresses: dict[str, str]
    models: list[ModelReport]
    ready: bool


def server_report(started: StartedServer) -> ServerReport:
    """Return the report of a server."""
    index = []
    for entry in started.repository.index():
        loaded = started.service.models.get(entry.name, {}).get(entry.version)
        facts = dict(loaded.model.spec.facts) if loaded is not None else {}
        index.append(ModelReport(entry.name, entry.version, entry.state, entry.reason, facts))
    return ServerReport(dict(started.addresses), index, started.service.ready)


def _work(settings: ServerSettings, connection: Connection) -> None:
    end_with_parent()
    try:
        cut_off = run_server(settings, lambda started: connection.send(server_report(started)))
    except TamisError as error:
        connection.send(error)
    else:
        connection.send(cut_off)


@dataclass
class _ServerWorker:
    """A worker process and its history."""

    settings: ServerSettings
    process: Any = None
    report: ServerReport | None = None
    cut_off: int = 0
    failures: int = 0  # in a row
    started: threading.Event = field(default_factory=threading.Event)
    error: TamisError | None = None


class Workers:
    """The worker processes, each supervised by a thread."""

    def __init__(self, settings: ServerSettings, count: int) -> None:
        """Reserve the ports, so that all workers get the same."""
        self._reserved, endpoints = [], settings.endpoints
        for name in ("grpc", "http"):
            port = getattr(endpoints, name)
            if port is not None:
                self._reserved.append(_reserve_port(name, endpoints.host, port))
                endpoints = replace(endpoints, **{name: self._reserved[-1].getsockname()[1]})
        self.metrics_port = endpoints.metrics
        endpoints = replace(endpoints, metrics=0)
        access = replace(settings.access, may_load=False)
        first = replace(settings, endpoints=endpoints, access=access, shares_ports=True)
        others = replace(first, endpoints=replace(endpoints, local=None), log=None)
        self._stream = settings.monitor.begun() if settings.monitor is not None else None
        self._workers = [
            _ServerWorker(
                replace(
                    others if number else first,
                    monitor=None if self._stream is None else replace(self._stream, worker=number),
                )
            )
            for number in range(count)
        ]
        self._ending = threading.Event()
        self._context = multiprocessing.get_context("spawn")
        self._threads = [threading.Thread(target=self._supervise, args=(worker,)) for worker in self._workers]

    def start(self) -> ServerReport:
        """Start all workers; return the first one's report, ready only if all are."""
        for thread in self._threads:
            thread.start()
        for worker in self._workers:
            worker.started.wait()
        error = next((worker.error for worker in self._workers if worker.error is not None), None)
        if error is not None:
            self.end()
            raise error
        reports = [worker.report for worker in self._workers if worker.report is not None]
        ready = all(report.ready for report in reports)
        return reports[0]._replace(addresses=dict(reports[0].addresses), ready=ready)

    def _supervise(self, worker: _ServerWorker) -> None:
        """Keep a worker running until `end`."""
        while not self._ending.is_set():
            ours, theirs = self._context.Pipe()
            worker.process = self._context.Process(target=_work, args=(worker.settings, theirs))
            worker.process.start()
            theirs.close()
            since = time.monotonic()
            self._receive(worker, ours)
            worker.process.join()
            ours.close()
            if worker.error is not None or self._ending.is_set():
                break
            worker.failures = 0 if time.monotonic() - since > STABLE_S else worker.failures + 1
            delay = min(MAX_RESTART_S, FIRST_RESTART_S * 2 ** min(worker.failures, MAX_DOUBLINGS))
            if not self._ending.wait(delay):
                _log.warning("a worker died with exit code %s and is restarted", worker.process.exitcode)
        worker.started.set()

    def _receive(self, worker: _ServerWorker, connection: Connection) -> None:
        """Receive a worker's messages until it ends."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                message = connection.recv()
                if isinstance(message, ServerReport):
                    worker.report = message
                    worker.started.set()
                elif isinstance(message, TamisError):
                    if not worker.started.is_set():
                        worker.error = message
                    return
                else:
                    worker.cut_off = message
                    return

    def end(self) -> int:
        """Let all workers finish their requests; return the number of requests that were cut off."""
        self._ending.set()
        for worker in self._workers:
            if worker.process is not None and worker.process.is_alive():
                worker.process.terminate()
        for thread in self._threads:
            thread.join()
        for reserved in self._reserved:
            reserved.close()
        if self._stream is not None:
            mark_last(self._stream.folder, self._stream.run)
        return sum(worker.cut_off for worker in self._workers)

    def metrics(self) -> str:
        """Return the metrics of all workers, with the label `worker`."""
        lines: dict[str, None] = {}
        for number, worker in enumerate(self._workers):
            text = _fetch_metrics(worker.report.addresses["metrics"]) if worker.report is not None else ""
            for line in text.splitlines():
                name, brace, rest = line.partition("{")
                if line.startswith("#"):
                    lines[line] = None
                elif brace:
                    lines[f'{name}{{worker="{number}",{rest}'] = None
                else:
                    name, _, rest = line.partition(" ")
                    lines[f'{name}{{worker="{number}"}} {rest}'] = None
        return "\n".join(_group_families(lines)) + "\n"


def _reserve_port(name: str, host: str, port: int) -> socket.socket:
    """Bind a port without listening, so that the workers can listen on it and nobody else takes it."""
    reserved = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        reserved.bind((host, port))
    except OSError as error:
        reserved.close()
        raise UsageError(f"cannot listen for {name} at {host}:{port}: {error.strerror or error}") from error
    return reserved


def _fetch_metrics(address: str) -> str:
    host, _, port = address.rpartition(":")
    connection = HTTPConnection(host, int(port), timeout=METRICS_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    except (OSError, HTTPException):
        return ""  # the worker is being restarted
    finally:
        connection.close()


def _group_families(lines: dict[str, None]) -> list[str]:
    """Sort samples behind the header of their metric family, as the text format requires."""
    families: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("#"):
            families.setdefault(line.split(" ", 3)[2], []).append(line)
    for line in lines:
        if not line.startswith("#"):
            name = line.partition("{")[0]
            family = name if name in families else name.rsplit("_", 1)[0]
            families.setdefault(family, []).append(line)
    return [line for family in families.values() for line in family]


async def _serve_workers(
    workers: Workers, host: str, metrics_port: int | None, on_start: Callable[[ServerReport], None]
) -> None:
    """Start the workers, serve their metrics, and wait for SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    starting: asyncio.Future[Any] = asyncio.ensure_future(asyncio.to_thread(workers.start))
    waiting: asyncio.Future[Any] = asyncio.ensure_future(ended.wait())
    await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        await asyncio.to_thread(workers.end)
        await asyncio.wait({starting})
        return
    report = starting.result()
    connections: set[HttpProtocol] = set()
    tasks: set[asyncio.Task[None]] = set()

    def handle(request: HttpRequest) -> None:
        if request.target.partition("?")[0].rstrip("/") != "/metrics":
            request.fail(404, f"there is nothing at {request.target[:200]}; the metrics are at /metrics")
            return
        task = loop.create_task(respond(request))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def respond(request: HttpRequest) -> None:
        text = await loop.run_in_executor(None, workers.metrics)
        request.respond(200, (EXPOSITION_FIELD,), (text.encode(),))

    if metrics_port is not None:
        config = HttpConfig(handle, HttpLimits())
        server = await loop.create_server(lambda: HttpProtocol(config, connections), host, metrics_port)
        address = server.sockets[0].getsockname()
        report.addresses["metrics"] = f"{address[0]}:{address[1]}"
    on_start(report)
    await waiting


def run_workers(settings: ServerSettings, count: int, on_start: Callable[[ServerReport], None]) -> int:
    """Serve with several processes until SIGTERM or SIGINT; return the number of requests that were cut off."""
    workers = Workers(settings, count)
    try:
        asyncio.run(_serve_workers(workers, settings.endpoints.host, workers.metrics_port, on_start))
    finally:
        cut_off = workers.end()
    return cut_off
