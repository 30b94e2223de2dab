"""What our HTTP/2 and gRPC framing costs against grpcio and h2: unary calls of the size of ModelInfer, echoed.

The servers do nothing but return the message, so that the framing is all that differs. The load comes from our own client, one
call in flight per connection; a second table compares that client with grpcio's, against our server. Every server is checked with
grpcio's client before it is timed. Takes about a minute and a half; needs
`pip install -r benchmarks/protocol_requirements.txt`.

Usage: python benchmarks/grpc_framing.py [--rounds 5] [--seconds 0.4] [--keep]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import select
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import grpc
import uvloop

from loopback import OURS, Case, Contender, compare, keep, running, show
from tamis.serve.wire import Buffer
from tamis.serve.wire.grpc import GrpcConfig, Method
from tamis.serve.wire.grpc_protocol import GrpcProtocol
from tamis.serve.wire.http2 import Http2Connection
from tamis.serve.wire.messages import MessageStream, message_prefix

SERVICE, PATH = "benchmark.Echo", "/benchmark.Echo/Echo"
SIZES = {"128 B": 128, "4 KiB": 1 << 12, "64 KiB": 1 << 16, "1 MiB": 1 << 20}
CONNECTIONS = (1, 8)
MAX_MESSAGE_BYTES, MAX_FRAME_BYTES = 1 << 24, (1 << 24) - 1
GRPCIO_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


def serve_tamis(port: Connection) -> None:
    async def main() -> None:
        config = GrpcConfig(
            {PATH: Method(lambda call, message: call.respond(len(message), [message]))}, MAX_MESSAGE_BYTES
        )
        connections: set[GrpcProtocol] = set()
        server = await asyncio.get_running_loop().create_server(
            lambda: GrpcProtocol(config, connections), "127.0.0.1", 0
        )
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


def serve_grpcio_aio(port: Connection) -> None:
    async def echo(message: bytes, context: Any) -> bytes:
        del context
        return message

    async def main() -> None:
        server = grpc.aio.server(options=GRPCIO_OPTIONS)
        server.add_generic_rpc_handlers([_grpcio_handler(echo)])
        number = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        port.send(number)
        await server.wait_for_termination()

    asyncio.run(main())  # grpcio recommends asyncio's own loop


def serve_grpcio_threads(port: Connection) -> None:
    server = grpc.server(ThreadPoolExecutor(8), options=GRPCIO_OPTIONS)
    server.add_generic_rpc_handlers([_grpcio_handler(lambda message, _: message)])
    number = server.add_insecure_port("127.0.0.1:0")
    server.start()
    port.send(number)
    server.wait_for_termination()


def _grpcio_handler(echo: Any) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(SERVICE, {"Echo": grpc.unary_unary_rpc_method_handler(echo)})


def serve_h2(port: Connection) -> None:  # noqa: C901 - with the protocol class, since h2 is imported here
    import h2.config
    import h2.connection
    import h2.events
    import h2.settings

    large = (1 << 31) - 1
    headers = [(b":status", b"200"), (b"content-type", b"application/grpc")]
    trailers = [(b"grpc-status", b"0")]

    class EchoProtocol(asyncio.Protocol):
        """The least that a gRPC server on h2 needs for unary calls."""

        def connection_made(self, transport: Any) -> None:
            self.transport, self.pieces, self.pending = transport, {}, {}
            config = h2.config.H2Configuration(
                client_side=False, header_encoding=None, validate_inbound_headers=False
            )
            self.connection = h2.connection.H2Connection(config)
            self.connection.local_settings = h2.settings.Settings(
                client=False,
                initial_values={
                    h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: large,
                    h2.settings.SettingCodes.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
                },
            )
            # h2 learns its own limit when the client acknowledges the settings, unless they were there from the start
            self.connection.max_inbound_frame_size = MAX_FRAME_BYTES
            self.connection.incoming_buffer.max_frame_size = MAX_FRAME_BYTES
            self.connection.initiate_connection()
            self.connection.increment_flow_control_window(large - 65_535)
            transport.write(self.connection.data_to_send())

        def data_received(self, data: bytes) -> None:
            connection = self.connection
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self.pieces[event.stream_id] = []
                elif isinstance(event, h2.events.DataReceived):
                    self.pieces[event.stream_id].append(event.data)
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    self.connection.send_headers(event.stream_id, headers)
                    self.pending[event.stream_id] = b"".join(self.pieces.pop(event.stream_id))
                    self.send(event.stream_id)
                elif isinstance(event, h2.events.WindowUpdated):
                    for stream_id in list(self.pending):
                        self.send(stream_id)
            self.transport.write(connection.data_to_send())

        def send(self, stream_id: int) -> None:
            """Send as much of a message as the client's windows allow."""
            connection, message = self.connection, self.pending[stream_id]
            while message:
                window = connection.local_flow_control_window(stream_id)
                size = min(len(message), window, connection.max_outbound_frame_size)
                if not size:
                    self.pending[stream_id] = message
                    return
                connection.send_data(stream_id, message[:size])
                message = message[size:]
            del self.pending[stream_id]
            connection.send_headers(stream_id, trailers, end_stream=True)

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(EchoProtocol, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


class EchoCall(MessageStream):
    """A call of our client; `done` once its response is complete."""

    __slots__ = ("done", "response")

    def __init__(self, connection: Any, stream_id: int) -> None:
        super().__init__(connection, stream_id)
        self.done, self.response = False, b""

    def on_message(self, message: Buffer, compressed: bool) -> None:
        del compressed
        self.response = message

    def on_end(self) -> None:
        self.connection.discard(self)
        self.done = True


class Client:
    """One connection of our client."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = Http2Connection(self._send)
        self.connection.flush()

    def _send(self, chunks: list[Buffer]) -> None:
        if sum(map(len, chunks)) < 1 << 14:
            chunks = [b"".join(chunks)]
        for chunk in chunks:
            self.socket.sendall(chunk)

    def begin(self, message: bytes) -> EchoCall:
        """Send a call."""
        connection = self.connection
        block = connection.encode_headers(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", PATH),
                (":authority", "127.0.0.1"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
            ]
        )
        call = connection.open_stream(EchoCall, block)
        connection.send_data(call, (message_prefix(len(message)), message), ends=True)
        connection.flush()
        return call

    def receive(self) -> None:
        """Handle received bytes; wait for some."""
        size = self.socket.recv_into(self.connection.get_buffer())
        if not size:
            raise SystemExit("a server has closed the connection")
        self.connection.buffer_updated(size)


def drive(contender: Contender, case: Case, seconds: float) -> int:
    """Keep one call in flight on every connection of our client; return the number of responses."""
    clients = {}
    for _ in range(case.connections):
        client = Client(contender.port)
        clients[client.socket.fileno()] = client
    poll, answered = select.poll(), 0
    until = time.perf_counter() + seconds
    calls = {}
    for descriptor, client in clients.items():
        poll.register(descriptor, select.POLLIN)
        calls[descriptor] = client.begin(case.request)
    while calls:
        for descriptor, _ in poll.poll():
            clients[descriptor].receive()
            call = calls[descriptor]
            if not call.done:
                continue
            if len(call.response) != len(case.request):
                raise SystemExit(f"{contender.name} returned {len(call.response)} bytes")
            answered += 1
            if time.perf_counter() < until:
                calls[descriptor] = clients[descriptor].begin(case.request)
            else:
                poll.unregister(descriptor)
                del calls[descriptor]
    for client in clients.values():
        client.socket.close()
    return answered


def drive_client(client: Contender, case: Case, seconds: float) -> int:
    """Send one call after the other with the client of that name; return the number of responses."""
    if client.name == OURS:
        return drive(client, case, seconds)
    with grpc.insecure_channel(f"127.0.0.1:{client.port}", options=GRPCIO_OPTIONS) as channel:
        echo = channel.unary_unary(PATH)
        until, answered = time.perf_counter() + seconds, 0
        while time.perf_counter() < until:
            echo(case.request)
            answered += 1
    return answered


def check(contender: Contender) -> None:
    """Compare a server's responses with the requests, with grpcio's client."""
    with grpc.insecure_channel(f"127.0.0.1:{contender.port}", options=GRPCIO_OPTIONS) as channel:
        for size in SIZES.values():
            message = os.urandom(size)
            if channel.unary_unary(PATH)(message, timeout=20) != message:
                raise SystemExit(f"{contender.name} does not echo {size} bytes")


def main() -> None:
    """Check, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="per server, case and round")
    parser.add_argument("--keep", action="store_true", help="write records into benchmarks/records")
    options = parser.parse_args()
    cases = [
        Case(label, connections, bytes(size)) for label, size in SIZES.items() for connections in CONNECTIONS
    ]
    servers = {
        OURS: serve_tamis,
        "grpcio (asyncio)": serve_grpcio_aio,
        "grpcio (threads)": serve_grpcio_threads,
        "h2": serve_h2,
    }
    with running(servers) as contenders:
        for contender in contenders:
            check(contender)
        rows = compare(contenders, cases, drive, options.rounds, options.seconds)
        port = contenders[0].port
        clients = [Contender(name, port, os.getpid()) for name in (OURS, "grpcio")]
        single = [case for case in cases if case.connections == 1]
        client_rows = compare(clients, single, drive_client, options.rounds, options.seconds)
    print("Servers, under our client; CPU time is the server's")
    show(rows)
    print("\nClients, of our server; CPU time is the client's")
    show(client_rows)
    if options.keep:
        chosen = {"rounds": options.rounds, "seconds": options.seconds}
        for kind, table in (("grpc-framing", rows), ("grpc-clients", client_rows)):
            print(keep(kind, chosen, table, ["grpcio", "h2", "hpack", "uvloop"]))


if __name__ == "__main__":
    main()
