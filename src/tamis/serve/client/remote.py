"""The engine `remote`: a model on servers. A server that dies, hangs or answers nonsense costs time, never an event.

Each call goes to one server; what fails there is asked of the next, and at last of a local engine, where there is one. A server
that failed is left alone for a while, and has to reproduce the bundle's golden outputs before its answers count again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
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

# what another server would say as well: there is no use in asking it, but a local engine may know better
FINAL = frozenset({Status.INVALID_ARGUMENT, Status.UNIMPLEMENTED})
VERIFY_TIMEOUTS = 10  # times the usual: the first call of a model may take long


class RemoteEngine(Engine):
    """A server of the KServe v2 protocol over gRPC: this package's own, or NVIDIA Triton."""

    name = "remote"
    local = False

    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Refuse: a server knows its models by name."""
        del model, signature, options
        raise ModelError(
            "the engine remote takes a bundle, whose name the servers know; bare bytes it cannot send"
        )

    def open(self, bundle: Bundle, options: Options) -> Runner:
        """Prepare; servers are connected to when they are asked."""
        remote = options.remote
        if remote is None or not remote.servers:
            raise UsageError(
                "the engine remote needs servers: open(..., remote=Remote(('grpc://HOST:8001',)))"
            )
        return RemoteRunner(bundle, options, remote)


class RemoteRunner(Runner):
    """The same model on several servers, and the engine that stands in for all of them."""

    def __init__(self, bundle: Bundle, options: Options, remote: Remote) -> None:
        """Open the local engine, behind its own gate; the servers may come and go."""
        super().__init__(self._run)
        self._bundle, self._remote = bundle, remote
        self.in_flight = remote.in_flight
        self._codec = Codec.of(remote.names.get(bundle.name, bundle.name), "", bundle.manifest.signature)
        papers = [None if one is None else Path(one) for one in (remote.ca, remote.certificate, remote.key)]
        self._servers = ServerPool(
            remote.servers, Credentials(remote.token or os.environ.get(CREDENTIAL_VARIABLE), *papers)
        )
        self._timeout_ns = round(remote.timeout_s * 1e9)
        self._local: Session | None = None
        if remote.fallback is not None:
            plain = Options(threads=options.threads, chunk=options.chunk)
            self._local = Session(bundle, find_engine(remote.fallback), plain)
        self.answered_by: dict[str, int] = {}
        self._lock = threading.Lock()

    def _run(self, arrays: Arrays) -> Arrays:
        told: list[str] = []
        for server in self._servers.in_turn():
            try:
                outputs = self._ask(server, arrays)
            except CallError as error:
                told.append(f"{server.address}: {error}")
                if error.status in FINAL:
                    break
                server.failed(str(error))
            else:
                server.succeeded()
                self._count(server.address)
                return outputs
        if self._local is not None:
            self._count("fallback")
            return list(self._local.run(*arrays).values())
        told = told or [f"{one.address} failed and rests: {one.last_error}" for one in self._servers.all]
        raise ModelError(f"no server has answered for {self._bundle.name}: {'; '.join(told)}")

    def _ask(self, server: RemoteServer, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        if not server.verified:
            self._verify(server)
        return self._call(server, arrays, self._timeout_ns)

    def _call(self, server: RemoteServer, arrays: Sequence[np.ndarray], timeout_ns: int) -> list[np.ndarray]:
        with server.channel() as channel:
            outputs = channel.infer(self._codec, arrays, timeout_ns)
        if self._bundle.manifest.signature.rows != "none":
            rows = len(arrays[0])
            wrong = next((one for one in outputs if not one.ndim or len(one) != rows), None)
            if wrong is not None:
                raise CallError(Status.INTERNAL, f"the server answered {list(wrong.shape)} for {rows} events")
        return outputs

    def _verify(self, server: RemoteServer) -> None:
        """Let a server reproduce the golden outputs, as any engine has to."""
        signature, golden = self._bundle.manifest.signature, self._bundle.golden
        inputs = [golden.inputs[spec.name] for spec in signature.inputs]
        outputs = self._call(server, inputs, VERIFY_TIMEOUTS * self._timeout_ns)
        found = dict(zip([spec.name for spec in signature.outputs], outputs, strict=True))
        for spec in signature.outputs:
            difference = first_difference(found[spec.name], golden.outputs[spec.name], spec.tolerance)
            if difference:
                raise CallError(
                    Status.INTERNAL, f"it does not reproduce the golden output {spec.name!r}: {difference}"
                )
        server.verified = True

    def _count(self, who: str) -> None:
        with self._lock:
            self.answered_by[who] = self.answered_by.get(who, 0) + 1

    def close(self) -> None:
        """Close connections, and the local engine."""
        self._servers.close()
        if self._local is not None:
            self._local.close()
