"""A stream that comes over a socket or the standard input: frames with a length before each, which hold Arrow record batches.

A frame is the number of its bytes as four bytes, the lowest first, and an Arrow IPC stream. The schema may have `end_of_block` in its
metadata, such as `480001:318`: its sender has no more rows of this block.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

import awkward as ak
import pyarrow as pa
from pyarrow import ipc

from tamis._base import DataError, TamisError, UsageError
from tamis.events import Events
from tamis.monitor.stream import OpenBlocks
from tamis.monitor.sums import BlockKey, BlockSums, block_sums, columns_of
from tamis.monitor.watch import Watch

FRAME_MOST = 8 << 20  # bytes
FRAMES_WAITING = 8  # senders wait when the monitor is behind
SENDERS_MOST = 64
GRACE_S = 10.0  # that a block stays open after one sender has gone on, for the others
WAIT_S = 0.2
END_KEY = b"end_of_block"


class FeedReader:
    """Hands out the blocks that senders have completed, once each."""

    poll_s = 0.0  # it waits for frames by itself

    def __init__(self, watch: Watch, *, listen: str | None = None, file: BinaryIO | None = None) -> None:
        """Read from a file to its end, or from everybody who connects to HOST:PORT."""
        self._watch, self._blocks = watch, OpenBlocks()
        self._frames: queue.Queue[tuple[str, bytes | str | None]] = queue.Queue(FRAMES_WAITING)
        self._at: dict[
            str, BlockKey
        ] = {}  # the last block of each sender; it has no more rows of earlier ones
        self._gone_on: dict[BlockKey, float] = {}  # when the first sender had no more rows of a block
        self.broken: dict[str, str] = {}  # senders that were cut off, and why
        self.address = ""
        self.ended = False
        self._server: socket.socket | None = None
        if file is not None:
            self._start(lambda: self._receive("stdin", file.read))
        else:
            self._listen(str(listen))

    def new_blocks(self, *, last: bool) -> Iterator[tuple[BlockSums, str]]:
        """Yield the blocks that are complete, and the sender of each; waits a moment for frames."""
        wait = 0.0 if last else WAIT_S
        for _ in range(FRAMES_WAITING):
            try:
                sender, frame = self._frames.get(timeout=wait) if wait else self._frames.get_nowait()
            except queue.Empty:
                break
            wait = 0.0
            self._take(sender, frame)
        yield from self._blocks.close(key for key in self._blocks.waiting() if last or self._is_complete(key))

    def changed(self) -> list[BlockSums]:
        """Return the blocks that are not complete and have new rows, each as far as it has come."""
        return self._blocks.changed()

    def finished(self) -> list[str]:
        """Return nothing: what a sender has sent cannot be read again."""
        return []

    def close(self) -> None:
        """Accept no more senders."""
        if self._server is not None:
            self._server.close()

    def _take(self, sender: str, frame: bytes | str | None) -> None:
        """Add the rows of a frame; a text says why a sender was cut off, nothing that it has ended."""
        if frame is None or isinstance(frame, str):
            if frame:
                self.broken[sender] = frame
            self._at.pop(sender, None)
            self.ended = self._server is None
            return
        if sender in self.broken:
            return
        try:
            table, ended = _table_of(frame)
            if table.num_rows:
                rows = Events(ak.from_arrow(table))
                columns_of(self._watch, set(rows.array.fields))
                for part in block_sums(rows, self._watch):
                    self._blocks.add(part, sender)
                    self._reach(sender, part.key)
            if ended is not None:
                self._reach(sender, (ended[0], ended[1] + 1))
        except (TamisError, pa.ArrowException, ValueError, TypeError) as error:
            self.broken[sender] = f"{sender} sent a frame that cannot be used: {error}"
            self._at.pop(sender, None)

    def _reach(self, sender: str, key: BlockKey) -> None:
        self._at[sender] = max(self._at.get(sender, key), key)
        for block in self._blocks.waiting():
            if block < self._at[sender]:
                self._gone_on.setdefault(block, time.monotonic())

    def _is_complete(self, key: BlockKey) -> bool:
        """Return whether all senders have gone on, or one has long since."""
        since = self._gone_on.get(key)
        if since is None:
            return False
        complete = all(at > key for at in self._at.values()) or time.monotonic() - since > GRACE_S
        if complete:
            del self._gone_on[key]
        return complete

    def _listen(self, where: str) -> None:
        host, _, port = where.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise UsageError(
                f"tcp://{where} is not an address to listen on: write tcp://HOST:PORT, such as tcp://127.0.0.1:9000"
            )
        try:
            self._server = socket.create_server((host, int(port)))
        except OSError as error:
            raise UsageError(f"the monitor cannot listen on tcp://{where}: {error}") from error
        self.address = "tcp://{}:{}".format(*self._server.getsockname()[:2])
        self._start(self._accept)

    def _accept(self) -> None:
        server, active = self._server, threading.Semaphore(SENDERS_MOST)
        while server is not None:
            active.acquire()
            try:
                connection, (host, port, *_) = server.accept()
            except OSError:
                return

            def serve(connection: socket.socket = connection, name: str = f"{host}:{port}") -> None:
                try:
                    with connection, connection.makefile("rb") as file:
                        self._receive(name, file.read)
                finally:
                    active.release()

            self._start(serve)

    def _receive(self, sender: str, read: Callable[[int], bytes]) -> None:
        """Put the frames of a sender into the queue, which waits when it is full."""
        end: str | None = None
        try:
            while head := read(4):
                (size,) = struct.unpack("<I", head) if len(head) == 4 else (FRAME_MOST + 1,)
                if size > FRAME_MOST:
                    end = f"{sender} sent a frame of {size} bytes: a frame begins with its length in four bytes, at most {FRAME_MOST}"
                    break
                frame = read(size)
                if len(frame) < size:
                    end = f"{sender} broke off within a frame: {len(frame)} of {size} bytes came"
                    break
                self._frames.put((sender, frame))
        except OSError as error:
            end = f"{sender} broke off: {error}"
        self._frames.put((sender, end))

    @staticmethod
    def _start(work: Callable[[], None]) -> None:
        threading.Thread(target=work, name="feed", daemon=True).start()


def _table_of(frame: bytes) -> tuple[pa.Table, BlockKey | None]:
    """Return the rows of a frame, and the block that has ended."""
    with ipc.open_stream(frame) as reader:
        table = reader.read_all()
    table.validate(full=True)
    text = (table.schema.metadata or {}).get(END_KEY, b"").decode()
    run, _, block = text.partition(":")
    if text and not (run.isdecimal() and block.isdecimal()):
        raise DataError(f"end_of_block is {text!r}: it is RUN:BLOCK, such as 480001:318")
    return table, (int(run), int(block)) if text else None


def feed_frame(table: pa.Table, end_of_block: BlockKey | None = None) -> bytes:
    """Return the frame of some rows, with the mark that a block has ended."""
    if end_of_block is not None:
        table = table.replace_schema_metadata({END_KEY: "{}:{}".format(*end_of_block)})
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content = sink.getvalue().to_pybytes()
    return struct.pack("<I", len(content)) + content
