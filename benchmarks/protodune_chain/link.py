"""A TCP proxy that simulates a link with a given delay and bandwidth.

It forwards any number of connections, which share the bandwidth of each direction. It exits when its standard input is closed or after
`--seconds`, and prints the port that it listens on.

Usage: python benchmarks/protodune_chain/link.py HOST:PORT --delay-ms 5 --mbit-per-s 100 [--seconds 600]
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import socket
import sys
import threading
import time

PIECE = 1 << 16
IN_FLIGHT_BYTES = 1 << 22  # buffered per connection and direction; the sender waits beyond that


class Line:
    """One direction of the link: computes the arrival time of data."""

    def __init__(self, delay_s: float, bits_per_s: float) -> None:
        """Start with an idle line."""
        self._delay_s, self._per_byte_s = delay_s, 8.0 / bits_per_s
        self._free_at, self._lock = 0.0, threading.Lock()

    def arrival(self, size: int) -> float:
        """Return the arrival time of data that is sent now, on the clock time.perf_counter."""
        with self._lock:
            self._free_at = max(time.perf_counter(), self._free_at) + size * self._per_byte_s
            return self._free_at + self._delay_s


def carry(source: socket.socket, sink: socket.socket, line: Line) -> None:
    """Read data and let another thread forward it when it is due, including the end of the stream."""
    under_way: queue.Queue = queue.Queue(IN_FLIGHT_BYTES // PIECE)
    forwarding = threading.Thread(target=forward, args=(under_way, sink), daemon=True)
    forwarding.start()
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            under_way.put((line.arrival(len(piece)), piece))
    under_way.put((0.0, b""))
    forwarding.join()


def forward(under_way: queue.Queue, sink: socket.socket) -> None:
    """Forward each piece when it is due."""
    lost = False
    while True:
        due, piece = under_way.get()
        if not piece:
            break
        wait = due - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        if not lost:
            try:
                sink.sendall(piece)
            except OSError:
                lost = True  # keep reading, so that the sender is not blocked
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def join(near: socket.socket, target: tuple[str, int], there: Line, back: Line) -> None:
    """Forward one connection in both directions until both are closed."""
    try:
        far = socket.create_connection(target, 5)
    except OSError:
        near.close()
        return
    with near, far:
        far.settimeout(None)
        for one in (near, far):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = threading.Thread(target=carry, args=(far, near, back), daemon=True)
        answers.start()
        carry(near, far, there)
        answers.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target")
    parser.add_argument("--delay-ms", type=float, required=True, help="in each direction")
    parser.add_argument("--mbit-per-s", type=float, required=True, help="in each direction")
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args()
    host, _, port = options.target.rpartition(":")
    lines = [Line(options.delay_ms / 1e3, options.mbit_per_s * 1e6) for _ in range(2)]
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        threading.Thread(target=listen, args=(listener, (host, int(port)), lines), daemon=True).start()
        ended.wait(options.seconds)


def listen(listener: socket.socket, target: tuple[str, int], lines: list[Line]) -> None:
    """Accept connections until the listener is closed."""
    with contextlib.suppress(OSError):
        while True:
            near, _ = listener.accept()
            threading.Thread(target=join, args=(near, target, *lines), daemon=True).start()


if __name__ == "__main__":
    main()
