"""What our HTTP/1.1 costs against uvicorn and aiohttp: Triton's own inference requests to the same handler behind each.

The requests are those of `tritonclient.http` with binary tensors, sent by a client without overhead of its own (raw sockets, one
request in flight per connection) to a model that returns its input. Each server is checked with `tritonclient` before it is
timed. Takes about a minute and a half; needs `pip install -r benchmarks/protocol_requirements.txt`.

Usage: python benchmarks/http_front.py [--rounds 5] [--seconds 0.5] [--keep]
"""

from __future__ import annotations

import argparse
import asyncio
import select
import socket
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import numpy as np
import tritonclient.http as triton
import uvloop

from loopback import OURS, Case, Contender, compare, keep, running, show
from tamis.serve.fronts.rest import rest_handler
from tamis.serve.models.model import Batching, Model, ModelSpec, Spec
from tamis.serve.service import Service
from tamis.serve.wire.http1 import HttpConfig, HttpRequest
from tamis.serve.wire.http1_protocol import HttpProtocol

MODEL = "echo"
SIZES = {"64 B": 16, "4 KiB": 1 << 10, "64 KiB": 1 << 14, "1 MiB": 1 << 18}  # floats
CONNECTIONS = (1, 8)
MAX_BODY_BYTES = 1 << 26


def handler() -> Callable[[HttpRequest], None]:
    """Return the handler of REST requests, for a service with one model."""
    tensors = (Spec("x", "FP32", (-1,)),), (Spec("y", "FP32", (-1,)),)
    service = Service(asyncio.get_running_loop())
    spec = ModelSpec(MODEL, "1", "null", *tensors, 64, Batching())
    service.add(Model(spec, [lambda arrays: [arrays[0]]], quick=True))
    return rest_handler(service)


class Waiter:
    """Waits for the response to a request that does not come from our own connection."""

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None

    def request_started(self, request: HttpRequest) -> None: ...

    def request_received(self, request: HttpRequest) -> None: ...

    def request_answered(self, request: HttpRequest) -> None:
        del request
        if self._future is not None:
            self._future.set_result(None)

    async def response(self, request: HttpRequest) -> tuple[int, list, list]:
        if request.reply is None:
            self._future = asyncio.get_running_loop().create_future()
            await self._future
        return request.reply


def bound_socket() -> socket.socket:
    bound = socket.create_server(("127.0.0.1", 0), backlog=128)
    bound.setblocking(False)
    return bound


def serve_tamis(port: Connection) -> None:
    async def main() -> None:
        config, bound = HttpConfig(handler()), bound_socket()
        connections: set[HttpProtocol] = set()
        server = await asyncio.get_running_loop().create_server(
            lambda: HttpProtocol(config, connections), sock=bound
        )
        port.send(bound.getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


def serve_uvicorn(port: Connection) -> None:
    import uvicorn

    async def main() -> None:
        handle, bound = handler(), bound_socket()

        async def app(
            scope: dict, receive: Callable[[], Awaitable], send: Callable[[dict], Awaitable]
        ) -> None:
            message = await receive()
            body = message.get("body", b"")
            if message.get("more_body"):
                pieces = [body]
                while message.get("more_body"):
                    message = await receive()
                    pieces.append(message.get("body", b""))
                body = b"".join(pieces)
            waiter = Waiter()
            request = HttpRequest(waiter, scope["method"], scope["path"], dict(scope["headers"]))
            request.body = body
            handle(request)
            status, headers, chunks = await waiter.response(request)
            headers = [*headers, (b"content-length", b"%d" % sum(map(len, chunks)))]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"".join(chunks)})

        config = uvicorn.Config(
            app, http="httptools", lifespan="off", ws="none", access_log=False, log_level="error"
        )
        port.send(bound.getsockname()[1])
        await uvicorn.Server(config).serve(sockets=[bound])

    uvloop.run(main())


def serve_aiohttp(port: Connection) -> None:
    from aiohttp import web

    async def main() -> None:
        handle, bound = handler(), bound_socket()
        loop = asyncio.get_running_loop()

        async def respond(incoming: web.BaseRequest) -> web.Response:
            waiter = Waiter()
            headers = {name.lower(): value for name, value in incoming.raw_headers}
            request = HttpRequest(waiter, incoming.method, incoming.path, headers)
            request.body = await incoming.read()
            handle(request)
            status, fields, chunks = await waiter.response(request)
            return web.Response(
                status=status,
                headers={name.decode(): value.decode() for name, value in fields},
                body=b"".join(chunks),
            )

        def make_request(message, payload, protocol, writer, task) -> web.BaseRequest:
            return web.BaseRequest(
                message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES
            )

        server = web.Server(
            respond, request_factory=make_request, access_log=None
        )  # without the router of `web.Application`
        listening = await loop.create_server(server, sock=bound)
        port.send(bound.getsockname()[1])
        await listening.serve_forever()

    uvloop.run(main())


def infer_request(floats: int) -> bytes:
    """Return the bytes that `tritonclient.http` sends for a tensor."""
    tensor = triton.InferInput("x", [1, floats], "FP32")
    tensor.set_data_from_numpy(np.ones((1, floats), np.float32), binary_data=True)
    output = triton.InferRequestedOutput("y", binary_data=True)
    body, json_bytes = triton.InferenceServerClient.generate_request_body([tensor], outputs=[output])
    head = (
        f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: geventhttpclient/2\r\n"
        f"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: {json_bytes}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def check(contender: Contender) -> None:
    """Compare a server's outputs with the inputs, with Triton's own client."""
    with triton.InferenceServerClient(f"127.0.0.1:{contender.port}") as client:
        for floats in SIZES.values():
            x = np.random.default_rng(floats).normal(size=(1, floats)).astype(np.float32)
            tensor = triton.InferInput("x", x.shape, "FP32")
            tensor.set_data_from_numpy(x)
            np.testing.assert_array_equal(client.infer(MODEL, [tensor]).as_numpy("y"), x)


def drive(contender: Contender, case: Case, seconds: float) -> int:
    """Keep one request in flight on every connection; return the number of responses."""
    sockets = {}
    for _ in range(case.connections):
        client = socket.create_connection(("127.0.0.1", contender.port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[client.fileno()] = client
    try:
        first = next(iter(sockets.values()))
        first.sendall(case.request)
        head = b""
        while b"\r\n\r\n" not in head:
            head += first.recv(1 << 16)
        head, _, body = head.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{contender.name} answers {head!r}")
        length = int(head.lower().split(b"\r\ncontent-length:")[1].split(b"\r\n")[0])
        size = len(head) + 4 + length  # of every response
        remaining = length - len(body)
        while remaining:
            remaining -= len(first.recv(remaining))
        return _closed_loop(sockets, case.request, size, seconds)
    finally:
        for client in sockets.values():
            client.close()


def _closed_loop(sockets: dict[int, socket.socket], request: bytes, size: int, seconds: float) -> int:
    poll, buffer = select.poll(), bytearray(1 << 20)
    due = dict.fromkeys(sockets, size)
    for descriptor, client in sockets.items():
        poll.register(descriptor, select.POLLIN)
        client.sendall(request)
    answered, open_connections = 0, len(sockets)
    until = time.perf_counter() + seconds
    while open_connections:
        for descriptor, _ in poll.poll():
            due[descriptor] -= sockets[descriptor].recv_into(buffer, min(due[descriptor], len(buffer)))
            if due[descriptor]:
                continue
            answered += 1
            if time.perf_counter() < until:
                due[descriptor] = size
                sockets[descriptor].sendall(request)
            else:
                poll.unregister(descriptor)
                open_connections -= 1
    return answered


def main() -> None:
    """Check, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="per server, case and round")
    parser.add_argument("--keep", action="store_true", help="write a record into benchmarks/records")
    options = parser.parse_args()
    cases = [
        Case(label, connections, infer_request(floats))
        for label, floats in SIZES.items()
        for connections in CONNECTIONS
    ]
    servers = {OURS: serve_tamis, "uvicorn": serve_uvicorn, "aiohttp": serve_aiohttp}
    with running(servers) as contenders:
        for contender in contenders:
            check(contender)
        rows = compare(contenders, cases, drive, options.rounds, options.seconds)
    show(rows)
    if options.keep:
        chosen = {"rounds": options.rounds, "seconds": options.seconds}
        print(keep("http-front", chosen, rows, ["uvicorn", "aiohttp", "httptools", "uvloop"]))


if __name__ == "__main__":
    main()
