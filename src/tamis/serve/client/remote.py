"""The engine `remote`: a model on servers. A server that dies, hangs or answers wrongly costs time, but no event.

Each call goes to one server; if that fails, to the next, and finally to a local engine, if there is one. A server that failed is
not used for a while, and must reproduce the bundle's golden outputs before it is used again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tamis._base import ModelError, UsageError
from tamis.bundle import Bundle, Signature
from tamis.engines import Engine, Options, Remote, Runner, Session, find_engine, first_difference
from tamis.engines.engine import Arrays
from tamis.serve.client.channel import CallError
from tamis.serve.client.inference import Codec
from tamis.serve.client.servers import RemoteServer, ServerPool
from tamis.serve.tls import CREDENTIAL_VARIABLE, Credentials
from tamis.serve.wire.grpc import Status

# errors that every server would return: only the local engine is tried after them
FINAL_STATUSES = frozenset({Status.INVALID_ARGUMENT, Status.UNIMPLEMENTED})
VERIFY_TIMEOUTS = 10  # verification may take this many timeouts, as the first call of a model is slow


class RemoteEngine(Engine):
    """Runs a model on servers of the KServe v2 protocol: tamis serve, or NVIDIA Triton."""

    name = "remote"
    local = False

    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Raise ModelError: a server identifies its models by name."""
        del model, signature, options
        raise ModelError(
            "the engine remote needs a bundle, whose name identifies the model on the servers; it cannot send a bare model"
        )

    def open(self, bundle: Bundle, options: Options) -> Runner:
        """Return a runner; it connects to a server with the first call."""
        remote = options.remote
        if remote is None or not remote.servers:
            raise UsageError(
                "the engine remote needs servers: open(..., remote=Remote(('grpc://HOST:8001',)))"
            )
        return RemoteRunner(bundle, options, remote)


class RemoteRunner(Runner):
    """Runs a model on one of several servers, or on the local engine if none answers."""

    def __init__(self, bundle: Bundle, options: Options, remote: Remote) -> None:
        """Open the local engine, if any; no server needs to run yet."""
        super().__init__(self._run)
        self._bundle, self._remote = bundle, remote
        self.in_flight = remote.in_flight
        self._codec = Codec.of(remote.names.get(bundle.name, bundle.name), "", bundle.manifest.signature)
        files = [None if one is None else Path(one) for one in (remote.ca, remote.certificate, remote.key)]
        self._servers = ServerPool(
            remote.servers, Credentials(remote.token or os.environ.get(CREDENTIAL_VARIABLE), *files)
        )
        self._timeout_ns = round(remote.timeout_s * 1e9)
        self._local: Session | None = None
        if remote.fallback is not None:
            engine = find_engine(remote.fallback)
            if not (engine.local and engine.computes):
                raise UsageError(
                    f"the fallback {remote.fallback} computes nothing on this machine; name an engine that does, such as onnxruntime"
                )
            self._local = Session(bundle, engine, replace(options, remote=None))
        self.answered_by: dict[str, int] = {}
        self._lock = threading.Lock()

    def _run(self, arrays: Arrays) -> Arrays:
        errors: list[str] = []
        for server in self._servers.in_turn():
            try:
                if not server.verified:
                    self._verify(server)
                outputs = self._call(server, arrays, self._timeout_ns)
            except CallError as error:
                errors.append(f"{server.address}: {error}")
                if error.status in FINAL_STATUSES:
                    break
                server.failed(str(error))
            else:
                server.succeeded()
                self._count(server.address)
                return outputs
        if self._local is not None:
            self._count("fallback")
            return list(self._local.run(*arrays).values())
        errors = errors or [
            f"{one.address} failed before and is retried later: {one.last_error}" for one in self._servers.all
        ]
        raise ModelError(f"no server answered for {self._bundle.name}: {'; '.join(errors)}")

    def _call(self, server: RemoteServer, arrays: Sequence[np.ndarray], timeout_ns: int) -> list[np.ndarray]:
        with server.channel() as channel:
            outputs = channel.infer(self._codec, arrays, timeout_ns)
        if self._bundle.manifest.signature.rows != "none":
            rows = len(arrays[0])
            invalid = next((one for one in outputs if not one.ndim or len(one) != rows), None)
            if invalid is not None:
                raise CallError(
                    Status.INTERNAL, f"the server returned the shape {list(invalid.shape)} for {rows} events"
                )
        return outputs

    def _verify(self, server: RemoteServer) -> None:
        """Check that a server reproduces the golden outputs; raise CallError if it does not."""
        signature, golden = self._bundle.manifest.signature, self._bundle.golden
        inputs = [golden.inputs[spec.name] for spec in signature.inputs]
        outputs = self._call(server, inputs, VERIFY_TIMEOUTS * self._timeout_ns)
        results = dict(zip([spec.name for spec in signature.outputs], outputs, strict=True))
        for spec in signature.outputs:
            difference = first_difference(results[spec.name], golden.outputs[spec.name], spec.tolerance)
            if difference:
                raise CallError(
                    Status.INTERNAL,
                    f"the server does not reproduce the golden output {spec.name!r}: {difference}",
                )
        server.verified = True

    def _count(self, answerer: str) -> None:
        with self._lock:
            self.answered_by[answerer] = self.answered_by.get(answerer, 0) + 1

    def close(self) -> None:
        """Close connections, and the local engine."""
        self._servers.close()
        if self._local is not None:
            self._local.close()
