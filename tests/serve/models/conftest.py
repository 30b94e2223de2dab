"""Small models of a Triton repository, and a server for them."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from tamis.serve.fronts.grpc_methods import grpc_methods
from tamis.serve.models.repository import Repository
from tamis.serve.service import Service
from tamis.serve.shared_memory import SharedMemory
from tamis.serve.wire.grpc import GrpcConfig
from tamis.serve.wire.grpc_protocol import GrpcProtocol

SCALE = """scale (float[N, 3] x) => (float[N, 3] y) {{
    factor = Constant <value_float = {0}> ()
    y = Mul (x, factor)
}}"""
SCALE_CONFIG = """
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] } ]
dynamic_batching { }
"""
# The nearest neighbours of each particle, as in ParticleNet: it needs at least as many particles as neighbours.
PARTICLE_NET = """pn (float[N, 2, P] pf_points, float[N, 4, P] pf_features, float[N, 1, P] pf_mask) => (float[N, 3] softmax) {
    t = Transpose <perm = [0, 2, 1]> (pf_points)
    d = MatMul (t, pf_points)
    k = Constant <value_ints = [7]> ()
    near, index = TopK <axis = 2> (d, k)
    last = Constant <value_ints = [2]> ()
    s = ReduceSum <keepdims = 0> (near, last)
    middle = Constant <value_ints = [1]> ()
    u = Unsqueeze (s, middle)
    m = Mul (pf_features, pf_mask)
    c = Conv <kernel_shape = [1]> (m, w1)
    r = Add (c, u)
    a = Relu (r)
    p = ReduceMean <axes = [2], keepdims = 0> (a)
    l = MatMul (p, w2)
    softmax = Softmax <axis = 1> (l)
}"""
PARTICLE_NET_CONFIG = """
name: "particlenet"
platform: "onnxruntime_onnx"
max_batch_size: 1
input [
  {
    name: "pf_points"
    data_type: TYPE_FP32
    dims: [ 2, -1 ]
  },
  {
    name: "pf_features"
    data_type: TYPE_FP32
    dims: [ 4, -1 ]
  },
  {
    name: "pf_mask"
    data_type: TYPE_FP32
    dims: [ 1, -1 ]
  }
]
output [
  {
    name: "softmax"
    data_type: TYPE_FP32
    dims: [ 3 ]
    label_filename: "particlenet_labels.txt"
  }
]
version_policy: { latest: { num_versions: 1 } }
dynamic_batching {
  preferred_batch_size: [ 1 ]
}
optimization {
  graph {
    level: -1
  }
}
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
instance_group [ { kind: KIND_GPU count: 2 } ]
model_repository_agents {
  agents [{
    name: "checksum"
    parameters {
      key: "MD5:1/model.onnx"
      value: "MD5SUM"
    }
  }]
}
"""


@pytest.fixture
def scale_model(parse_model) -> Callable[..., bytes]:
    """Return a model that multiplies three values by a factor."""
    return lambda factor=2.0: parse_model(SCALE.format(factor)).SerializeToString()


@pytest.fixture
def write_model(tmp_path) -> Callable[..., Path]:
    """Write a model into a repository: its configuration, and a file for each version."""

    def write(
        name: str, config: str | None, file: str = "model.onnx", **versions: bytes | onnx.ModelProto
    ) -> Path:
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        if config is not None:
            (folder / "config.pbtxt").write_text(config)
        for version, data in versions.items():
            (folder / version.strip("v")).mkdir(exist_ok=True)
            whole = data if isinstance(data, bytes) else data.SerializeToString()
            (folder / version.strip("v") / file).write_bytes(whole)
        return folder

    return write


@pytest.fixture
def particle_net(write_model, parse_model) -> Path:
    """Write a model of three inputs with a free number of particles; return its folder."""
    model = parse_model(PARTICLE_NET, w1=(5, 4, 1), w2=(5, 3))
    md5 = hashlib.md5(model.SerializeToString(), usedforsecurity=False).hexdigest()
    folder = write_model("particlenet", PARTICLE_NET_CONFIG.replace("MD5SUM", md5), v1=model)
    (folder / "particlenet_labels.txt").write_text("QCD\nTop\nHiggs\n")
    return folder


@pytest.fixture
def serve(tmp_path):
    """Serve directories in a thread; the result has port, service, repository and a method to run coroutines."""
    running: list[SimpleNamespace] = []

    def start(*sources) -> SimpleNamespace:
        server = SimpleNamespace(loop=asyncio.new_event_loop())
        server.thread = threading.Thread(target=server.loop.run_forever, daemon=True)
        server.thread.start()
        server.call = lambda act: asyncio.run_coroutine_threadsafe(act, server.loop).result(60)

        async def begin() -> None:
            server.service = Service(server.loop)
            server.repository = Repository(sources or [tmp_path / "models"], server.service)
            await server.repository.load_all()
            rules = GrpcConfig(grpc_methods(server.service, SharedMemory(), server.repository), 1 << 26)
            server.connections = set()
            server.server = await server.loop.create_server(
                lambda: GrpcProtocol(rules, server.connections), "127.0.0.1", 0
            )
            server.port = server.server.sockets[0].getsockname()[1]

        running.append(server)
        server.call(begin())
        return server

    yield start
    for server in running:

        async def end(server=server) -> None:
            server.server.close()
            for connection in list(server.connections):
                connection._transport.close()
            await server.repository.close()

        server.call(end())
        server.loop.call_soon_threadsafe(server.loop.stop)
        server.thread.join(10)
        server.loop.close()
