"""The server of the live page: a thread beside the monitor that reads the journal, so that no client can slow the judging down."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tamis._base import EXPOSITION_TYPE, UsageError
from tamis.monitor.journal import Journal, JournalAlarm
from tamis.monitor.live.access import is_allowed
from tamis.monitor.live.feed import RAISED_MOST, JournalFeed, now, open_cursor
from tamis.monitor.live.metrics import monitor_exposition
from tamis.monitor.live.notes import note_of
from tamis.monitor.live.wire import (
    HEAD_MOST,
    HEAD_TIMEOUT_S,
    JSON_TYPE,
    LiveRequest,
    RefusedRequest,
    head_of,
    is_loopback,
    read_request,
    send_refusal,
    send_response,
)

REFRESH_S = 0.2  # between looks at the journal
BEAT_S = 10.0  # between signs of life to a client
SEND_TIMEOUT_S = 30.0  # after which a client that takes nothing is dropped
CONNECTIONS_MOST = 128
STREAMS_MOST = 64  # clients that wait for events
PAGE_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in ("alarms", "evidence", "journal", "page", "tiles", "trend", "words")},
    "/live.css": ("live.css", "text/css; charset=utf-8"),
}  # fmt: skip


@dataclass(frozen=True)
class LiveSettings:
    """Where the page is, and who may write."""

    port: int
    host: str = "127.0.0.1"
    token: str | None = None  # without one, the page is read-only
    stale_s: float | None = None  # default: two blocks


class LiveServer:
    """Serves the page of one journal from a thread of its own."""

    def __init__(self, folder: Path, settings: LiveSettings, dropped: Callable[[], int] = lambda: 0) -> None:
        """Open the journal, and begin to listen; raise UsageError where the address cannot be used."""
        journal = Journal(folder, create=True)
        if journal.fact("identity") is None:
            journal.remember("identity", secrets.token_hex(8))
        journal.close()
        self._folder, self._settings, self._dropped = folder, settings, dropped
        self._loopback = is_loopback(settings.host)
        self._pages = {
            path: (files("tamis.monitor.live").joinpath("page", name).read_bytes(), kind)
            for path, (name, kind) in PAGE_FILES.items()
        }
        self._waiting: dict[asyncio.Task[None], None] = {}  # that have not sent a request yet, by time
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams = 0
        self._raised: deque[JournalAlarm] = deque(maxlen=RAISED_MOST)  # that the server has not taken yet
        self._problem = ""
        self.address = ""
        self._failure: BaseException | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="live", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise UsageError(
                f"cannot listen at {settings.host}, port {settings.port}: {self._failure}; choose another with --live, or 0 for any free port"
            ) from self._failure

    def __enter__(self) -> Self:
        """Return the server."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server."""
        self.close()

    def take_alarm(self, alarm: JournalAlarm) -> None:
        """Show an alarm of a block that has no verdict yet; any thread may call this, and never waits."""
        self._raised.append(alarm)

    def close(self) -> None:
        """Close all connections, and end."""
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._ended, self._news = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        try:
            self._feed = JournalFeed(self._folder, self._settings.stale_s)
            listener = await asyncio.start_server(
                self._connected, self._settings.host, self._settings.port, limit=HEAD_MOST
            )
        except (OSError, sqlite3.Error) as error:
            self._failure = error
            self._started.set()
            return
        port = listener.sockets[0].getsockname()[1]
        name = self._settings.host
        self.address = f"http://{f'[{name}]' if ':' in name else name}:{port}/"
        self._started.set()
        refreshing = asyncio.create_task(self._refresh())
        await self._ended.wait()
        listener.close()
        for task in (refreshing, *self._tasks):
            task.cancel()
        await asyncio.gather(refreshing, *self._tasks, return_exceptions=True)
        await listener.wait_closed()
        self._feed.close()

    async def _refresh(self) -> None:
        """Look for what has come to the journal, and wake the clients that wait for it."""
        while True:
            raised = self._feed.take_alarms([self._raised.popleft() for _ in range(len(self._raised))])
            try:
                changed = self._feed.refresh() or raised
                self._problem = ""
            except (
                sqlite3.Error,
                ValueError,
            ) as error:  # a journal that is being moved, or a disk that is full
                changed, self._problem = raised, f"the journal cannot be read: {error}"
            if changed:
                news, self._news = self._news, asyncio.Event()
                news.set()
            await asyncio.sleep(REFRESH_S)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, whatever the client does."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs this as a task
        if len(self._tasks) >= CONNECTIONS_MOST:
            # The oldest client that has sent nothing makes room; if all are being answered, the new one has to.
            next(iter(self._waiting), task).cancel()
        self._tasks.add(task)
        self._waiting[task] = None
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                request = await read_request(reader, loopback=self._loopback)
            del self._waiting[task]
            await self._answer(request, writer)
        except RefusedRequest as error:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(HEAD_TIMEOUT_S):
                    await send_refusal(writer, error)
                    await _drained(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()  # the client has gone, is too slow, or the server ends
        except Exception as error:  # noqa: BLE001 - a client must never end the server
            with contextlib.suppress(OSError, TimeoutError):
                await send_refusal(writer, RefusedRequest(500, f"{type(error).__name__}: {error}"))
        finally:
            self._waiting.pop(task, None)
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, request: LiveRequest, writer: asyncio.StreamWriter) -> None:
        if request.path == "/api/events" and request.method == "GET":
            await self._stream(request, writer)
            return
        if request.method == "POST":
            kind, body = JSON_TYPE, await self._write(request)
        else:
            kind, body = self._read(request)
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await send_response(writer, 200, kind, body, only_head=request.method == "HEAD")

    def _read(self, request: LiveRequest) -> tuple[str, bytes]:
        """Return the type and the body of what a client may read."""
        path, query = request.path, request.query
        if path in self._pages:
            body, kind = self._pages[path]
            return kind, body
        if path == "/metrics":
            return EXPOSITION_TYPE, monitor_exposition(self._feed, self._dropped).encode()
        if path == "/api/state":
            return JSON_TYPE, self._feed.state(writable=self._settings.token is not None)
        if path == "/api/trend":
            if query.get("region") not in {one.region for one in self._feed.features}:
                raise RefusedRequest(404, "the stream does not have this region: add ?region=NAME")
            return JSON_TYPE, self._feed.trend(query["region"])
        if path == "/api/block":
            key = query.get("run", ""), query.get("block", "")
            if not all(one.isdecimal() and len(one) < 16 for one in key):
                raise RefusedRequest(400, "add ?run=NUMBER&block=NUMBER")
            found = self._feed.evidence((int(key[0]), int(key[1])))
            if found is None:
                raise RefusedRequest(404, f"the journal has no block {int(key[1])} of run {int(key[0])}")
            return JSON_TYPE, json.dumps(found).encode()
        if path == "/api/notes":
            return JSON_TYPE, json.dumps({"notes": self._feed.notes}).encode()
        raise RefusedRequest(404, "there is nothing here: the page is at /, the metrics are at /metrics")

    async def _write(self, request: LiveRequest) -> bytes:
        """Write a note of a client that has the token."""
        if request.path != "/api/notes":
            raise RefusedRequest(405, "only /api/notes takes a POST")
        if self._settings.token is None:
            raise RefusedRequest(403, "this page is read-only: start the monitor with --live-token FILE")
        if not is_allowed(self._settings.token, request.headers.get("authorization", "")):
            raise RefusedRequest(401, "the token is missing or wrong")
        note = note_of(request.body)

        def write() -> None:
            journal = Journal(self._folder)
            try:
                journal.annotate(note)
            finally:
                journal.close()

        try:
            await asyncio.to_thread(write)
        except UsageError as error:
            raise RefusedRequest(409, str(error)) from error
        except sqlite3.Error as error:
            raise RefusedRequest(503, f"the journal cannot be written: {error}") from error
        return json.dumps(vars(note)).encode()

    async def _stream(self, request: LiveRequest, writer: asyncio.StreamWriter) -> None:
        """Send what comes to the journal, beginning after what the client has."""
        if self._streams >= STREAMS_MOST:
            raise RefusedRequest(503, f"{STREAMS_MOST} clients wait for events already")
        self._streams += 1
        try:
            writer.write(head_of(200, "text/event-stream; charset=utf-8", None) + b"retry: 1000\n\n")
            text = request.headers.get("last-event-id") or request.query.get("cursor", "")
            identity = self._feed.identity
            done = open_cursor(text, identity)
            shown = None
            while True:
                news = self._news
                if done is None or identity != self._feed.identity or not self._reaches(done):
                    await _sent(writer, b"event: reset\ndata: {}\n\n")  # it loads the state again
                    return
                for event in [one for one in self._feed.events if one.number > done[one.kind]]:
                    done[event.kind] = event.number
                    place = f"{identity}.{done['block']}.{done['note']}"
                    await _sent(writer, f"id: {place}\nevent: {event.kind}\ndata: {event.text}\n\n".encode())
                # After the blocks: an alarm goes on in the verdict on its block. These have no cursor, as all are sent.
                if shown != (raised := [vars(one) for one in self._feed.raised.values()]):
                    await _sent(writer, f"event: raised\ndata: {json.dumps(raised)}\n\n".encode())
                    shown = raised
                await _sent(writer, f"event: beat\ndata: {json.dumps(self._beat())}\n\n".encode())
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), BEAT_S)
        finally:
            self._streams -= 1

    def _reaches(self, done: dict[str, int]) -> bool:
        """Return whether all that a client does not have is among the latest events."""
        for kind, last in self._feed.last.items():
            kept = sum(one.kind == kind and one.number > done[kind] for one in self._feed.events)
            if done[kind] > last or (done[kind] < last and kept < last - done[kind]):
                return False
        return True

    def _beat(self) -> dict[str, Any]:
        feed = self._feed
        return {"now": now(), "written": feed.written, "stale_s": feed.stale_s, "problem": self._problem}


async def _sent(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await writer.drain()


async def _drained(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read what a rejected client is still sending: closing at once would lose the answer on its way."""
    writer.write_eof()
    async with asyncio.timeout(1.0):
        for _ in range(64):
            if not await reader.read(HEAD_MOST):
                return
