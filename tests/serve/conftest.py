"""Servers on loopback, in threads of the test process or in processes of their own."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import signal
import subprocess
import sys
import threading
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tamis.bundle import pack
from tamis.serve.fronts.grpc_methods import grpc_methods
from tamis.serve.models.bundles import open_bundle
from tamis.serve.models.model import Batching, Model, ModelSpec, Spec
from tamis.serve.service import Service
from tamis.serve.shared_memory import SharedMemory
from tamis.serve.wire.grpc import GrpcConfig
from tamis.serve.wire.grpc_protocol import GrpcProtocol


class LocalServer:
    """A server in a thread, with a model `double` that doubles its input and notes its batch sizes in `batches`."""

    def __init__(self, *bundles: Path, port: int = 0) -> None:
        self.loop = asyncio.new_event_loop()
        self.service = Service(self.loop)
        self.shared = SharedMemory()
        self.connections: set[GrpcProtocol] = set()
        self.batches: list[int] = []
        self.failure: Exception | None = None
        spec = ModelSpec(
            "double", "1", "test", (Spec("x", "FP32", (-1,)),), (Spec("y", "FP32", (-1,)),), 64, Batching()
        )
        self.service.add(Model(spec, [self._double], quick=True))
        for path in bundles:
            self.service.add(open_bundle(path, "onnxruntime", 1, 1))
        self.service.accepts = True
        config = GrpcConfig(grpc_methods(self.service, self.shared), 1 << 26)
        started = threading.Event()

        async def serve() -> None:
            self.server = await self.loop.create_server(
                lambda: GrpcProtocol(config, self.connections), "127.0.0.1", port
            )
            self.port = self.server.sockets[0].getsockname()[1]
            started.set()

        def run() -> None:
            self.loop.run_until_complete(serve())
            self.loop.run_forever()
            self.loop.close()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert started.wait(10)
        self.address = f"127.0.0.1:{self.port}"

    def _double(self, arrays):
        self.batches.append(len(arrays[0]))
        if self.failure is not None:
            raise self.failure
        return [arrays[0] * np.float32(2)]

    def close(self) -> None:
        async def end() -> None:
            self.server.close()
            for connection in list(self.connections):
                connection.close()
            await asyncio.sleep(0.01)
            self.shared.unregister()
            self.loop.stop()

        if self.thread.is_alive():
            asyncio.run_coroutine_threadsafe(end(), self.loop)
            self.thread.join()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """An authority, certificates that it signed for a server and a client, and one that it did not sign."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    directory = tmp_path_factory.mktemp("certificates")
    now = dt.datetime.now(dt.UTC)

    def name(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def write(stem, key, certificate):
        (directory / f"{stem}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        for suffix, encryption in (
            ("key", serialization.NoEncryption()),
            ("locked", serialization.BestAvailableEncryption(b"secret")),
        ):
            raw = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
            (directory / f"{stem}.{suffix}").write_bytes(raw)

    def issue(stem, authority=None, *, is_authority=False):
        key = ec.generate_private_key(ec.SECP256R1())
        issuer, signing = authority or (name(stem), key)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(stem))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
            )
        )
        write(stem, key, builder.sign(signing, hashes.SHA256()))
        return name(stem), key

    authority = issue("authority", is_authority=True)
    issue("server", authority)
    issue("client", authority)
    issue("stranger", is_authority=True)
    (directory / "nonsense.pem").write_text("nothing")
    return directory


@pytest.fixture
def start_server():
    """A function that starts servers, which end with the test."""
    servers = []

    def start(*bundles, port=0):
        servers.append(LocalServer(*bundles, port=port))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def recurrent(tmp_path_factory):
    """A bundle with the states h and c: inputs x, outputs score (one value per row) and trend."""
    rng = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array((0.7 * rng.normal(size=shape)).astype(np.float32), name)
        for name, shape in (("w", (2, 3)), ("r", (3, 3)), ("o", (3, 1)), ("v", (2, 2)))
    ]
    weights.append(numpy_helper.from_array(np.array([1], np.int64), "last"))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("MatMul", ["h", "r"], ["hr"]),
        helper.make_node("Add", ["xw", "hr"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["next_h"]),
        helper.make_node("MatMul", ["next_h", "o"], ["column"]),
        helper.make_node("Squeeze", ["column", "last"], ["score"]),
        helper.make_node("MatMul", ["c", "v"], ["cv"]),
        helper.make_node("Add", ["cv", "x"], ["cx"]),
        helper.make_node("Sigmoid", ["cx"], ["next_c"]),
        helper.make_node("Mul", ["next_c", "x"], ["trend"]),
    ]

    def value(name, *columns):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *columns])

    inputs = [value("x", 2), value("h", 3), value("c", 2)]
    outputs = [value("score"), value("next_h", 3), value("trend", 2), value("next_c", 2)]
    graph = helper.make_graph(nodes, "recurrent", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return pack(model, tmp_path_factory.mktemp("bundles") / "recurrent.tamis", score="score").bundle


COMMAND = [sys.executable, "-m", "tamis", "serve", "--grpc", "0", "--http", "0", "--metrics", "0"]


class Process:
    """A server in a process of its own; `output` collects its lines on stderr."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen([*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, text=True)
        self.output: list[str] = []
        self.started = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        assert self.started.wait(60), self.output
        self.grpc, self.http = self._address("grpc"), self._address("http")

    def _address(self, interface: str) -> str:
        return next((m[1] for line in self.output if (m := re.match(rf"{interface}: \w+://(\S+)", line))), "")

    def _read(self) -> None:
        for line in self.process.stderr:
            self.output.append(line.strip())
            if line.startswith(("ready", "not ready", "tamis:")):
                self.started.set()
        self.started.set()

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(40)
        self.reader.join(10)
        self.process.stderr.close()
        return code


def _start():
    processes = []

    def begin(*arguments):
        processes.append(Process(*arguments))
        return processes[-1]

    yield begin
    for process in processes:
        process.end(signal.SIGKILL)


start = pytest.fixture(_start, name="start")  # its servers end with the test
start_for_all = pytest.fixture(
    _start, scope="module", name="start_for_all"
)  # its servers end with the module
