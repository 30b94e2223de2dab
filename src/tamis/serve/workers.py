"""Several server processes at the same ports: the system hands each connection to one of them.

The first process serves nothing itself: it starts the workers, starts anew what died, gathers their metrics, and passes on the
wish to end.
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
from tamis.serve.fronts.metrics import EXPOSITION_TYPE
from tamis.serve.server import ServerSettings, StartedServer, run_server
from tamis.serve.wire.http1 import HttpConfig, HttpLimits, HttpRequest
from tamis.serve.wire.http1_protocol import HttpProtocol

AGAIN_FIRST_S, AGAIN_MOST_S, LIVED_S = 0.1, 5.0, 10.0
DOUBLINGS_MOST = 10
METRICS_S = 2.0
_log = logging.getLogger(__name__)


class ServerReport(NamedTuple):
    """What a worker says when it has begun: what a command prints."""

    addresses: dict[str, str]
    models: list[tuple[str, str, str, str]]
    ready: bool


def server_report(listening: StartedServer) -> ServerReport:
    """Return what a server has to say."""
    index = [(one.name, one.version, str(one.state), one.reason) for one in listening.repository.index()]
    return ServerReport(dict(listening.addresses), index, listening.service.ready)


def _work(settings: ServerSettings, connection: Connection) -> None:
    end_with_parent()
    try:
        left = run_server(settings, lambda listening: connection.send(server_report(listening)))
    except TamisError as error:
        connection.send(error)
    else:
        connection.send(left)


@dataclass
class _Worker:
    """A process, and how often it had to be started anew lately."""

    settings: ServerSettings
    process: Any = None
    told: ServerReport | None = None
    left: int = 0
    failures: int = 0
    begun: threading.Event = field(default_factory=threading.Event)
    error: TamisError | None = None


class Workers:
    """All of them; a thread minds each."""

    def __init__(self, settings: ServerSettings, count: int) -> None:
        """Reserve the ports, so that all can have the same."""
        self._held, doors = [], settings.doors
        for name in ("grpc", "http"):
            port = getattr(doors, name)
            if port is not None:
                self._held.append(_held(name, doors.host, port))
                doors = replace(doors, **{name: self._held[-1].getsockname()[1]})
        self.metrics_port = doors.metrics
        doors = replace(doors, metrics=0)
        guard = replace(settings.guard, may_load=False)
        shared = replace(settings, doors=doors, guard=guard, shares_ports=True)
        first = shared
        others = replace(shared, doors=replace(doors, local=None), log=None)
        self._workers = [_Worker(first if number == 0 else others) for number in range(count)]
        self._ending = threading.Event()
        self._context = multiprocessing.get_context("spawn")
        self._threads = [threading.Thread(target=self._mind, args=(one,)) for one in self._workers]

    def start(self) -> ServerReport:
        """Start all; return what they say when they have begun."""
        for thread in self._threads:
            thread.start()
        for worker in self._workers:
            worker.begun.wait()
        error = next((one.error for one in self._workers if one.error is not None), None)
        if error is not None:
            self.end()
            raise error
        tolds = [one.told for one in self._workers if one.told is not None]
        ready = all(one.ready for one in tolds)
        return tolds[0]._replace(addresses=dict(tolds[0].addresses), ready=ready)

    def _mind(self, worker: _Worker) -> None:
        """Keep a worker running until the end."""
        while not self._ending.is_set():
            ours, theirs = self._context.Pipe()
            worker.process = self._context.Process(target=_work, args=(worker.settings, theirs))
            worker.process.start()
            theirs.close()
            since = time.monotonic()
            self._hear(worker, ours)
            worker.process.join()
            ours.close()
            if worker.error is not None or self._ending.is_set():
                break
            worker.failures = 0 if time.monotonic() - since > LIVED_S else worker.failures + 1
            if not self._ending.wait(
                min(AGAIN_MOST_S, AGAIN_FIRST_S * 2 ** min(worker.failures, DOUBLINGS_MOST))
            ):
                _log.warning("a worker has died (%s); another takes its place", worker.process.exitcode)
        worker.begun.set()

    def _hear(self, worker: _Worker, connection: Connection) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                said = connection.recv()
                if isinstance(said, ServerReport):
                    worker.told = said
                    worker.begun.set()
                elif isinstance(said, TamisError):
                    if not worker.begun.is_set():
                        worker.error = said
                    return
                else:
                    worker.left = said
                    return

    def end(self) -> int:
        """Let all finish what is under way; return how many requests were cut off."""
        self._ending.set()
        for worker in self._workers:
            if worker.process is not None and worker.process.is_alive():
                worker.process.terminate()
        for thread in self._threads:
            thread.join()
        for one in self._held:
            one.close()
        return sum(one.left for one in self._workers)

    def metrics(self) -> str:
        """Return the metrics of all, each with the number of its worker."""
        lines: dict[str, None] = {}
        for number, worker in enumerate(self._workers):
            text = _fetched(worker.told.addresses["metrics"]) if worker.told is not None else ""
            for line in text.splitlines():
                lines[line if line.startswith("#") else _with_worker(line, number)] = None
        return "\n".join(_sorted(lines)) + "\n"


def _held(name: str, host: str, port: int) -> socket.socket:
    """Bind a port without listening: it is ours, and workers listen at it."""
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise UsageError(f"cannot listen for {name} at {host}:{port}: {error.strerror or error}") from error
    return found


def _fetched(address: str) -> str:
    host, _, port = address.rpartition(":")
    connection = HTTPConnection(host, int(port), timeout=METRICS_S)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    except (OSError, HTTPException):
        return ""  # it is being started anew
    finally:
        connection.close()


def _with_worker(line: str, number: int) -> str:
    name, brace, rest = line.partition("{")
    if brace:
        return f'{name}{{worker="{number}",{rest}'
    name, _, value = line.partition(" ")
    return f'{name}{{worker="{number}"}} {value}'


def _sorted(lines: dict[str, None]) -> list[str]:
    """Put samples behind the head of their family, as the format wants it."""
    families: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("#"):
            families.setdefault(line.split(" ", 3)[2], []).append(line)
    for line in lines:
        if not line.startswith("#"):
            name = line.partition("{")[0]
            family = name if name in families else name.rsplit("_", 1)[0]
            families.setdefault(family, []).append(line)
    return [line for several in families.values() for line in several]


async def _gather(
    workers: Workers, host: str, port: int | None, begun: Callable[[ServerReport], None]
) -> None:
    """Answer for metrics, and wait for the end."""
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
    said = starting.result()
    connections: set[HttpProtocol] = set()
    tasks: set[asyncio.Task[None]] = set()

    def handle(request: HttpRequest) -> None:
        if request.target.partition("?")[0].rstrip("/") != "/metrics":
            request.fail(404, f"there is nothing at {request.target[:200]}; there is /metrics")
            return
        task = loop.create_task(answer(request))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def answer(request: HttpRequest) -> None:
        text = await loop.run_in_executor(None, workers.metrics)
        request.answer(200, (EXPOSITION_TYPE,), (text.encode(),))

    if port is not None:
        rules = HttpConfig(handle, HttpLimits())
        door = await loop.create_server(lambda: HttpProtocol(rules, connections), host, port)
        bound = door.sockets[0].getsockname()
        said.addresses["metrics"] = f"{bound[0]}:{bound[1]}"
    begun(said)
    await waiting


def run_workers(settings: ServerSettings, count: int, begun: Callable[[ServerReport], None]) -> int:
    """Serve with several processes until SIGTERM or SIGINT; return how many requests were cut off."""
    workers = Workers(settings, count)
    try:
        asyncio.run(_gather(workers, settings.doors.host, workers.metrics_port, begun))
    finally:
        left = workers.end()
    return left
