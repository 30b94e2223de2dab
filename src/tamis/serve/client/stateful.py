"""Stateful sessions on a server: it keeps the state of each stream, by Triton's sequence batching.

A step is sent once. If it may have been computed and its answer did not arrive, nobody knows the state of the stream any more:
it is lost until `reset`, so that no step is ever counted twice.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns
from types import TracebackType
from typing import Self

import numpy as np

from tamis._base import ModelError, UsageError, VerificationError
from tamis.bundle import Bundle
from tamis.engines import (
    NEXT,
    Options,
    Remote,
    Session,
    StatefulSession,
    check_step,
    find_engine,
    first_difference,
    states_of,
)
from tamis.serve.client.channel import CallError, ClientCall, reach
from tamis.serve.client.inference import PATH, Codec, InferChannel
from tamis.serve.protocol.local import LOCAL_SCHEME
from tamis.serve.protocol.tensors import datatype_of
from tamis.serve.tls import CREDENTIAL_VARIABLE, Credentials
from tamis.serve.wire.grpc import Status

STEPS_IN_FLIGHT = 64  # of different streams, on one connection
VERIFIED_STEPS = 4
ID_BITS = 63  # of random ids, which fit into the integer of NVIDIA's clients
# With these answers the server says that it did not compute the step.
NOT_COMPUTED = frozenset(
    {
        Status.INVALID_ARGUMENT,
        Status.NOT_FOUND,
        Status.UNIMPLEMENTED,
        Status.UNAUTHENTICATED,
        Status.PERMISSION_DENIED,
    }
)
START_MISSING = "must specify the START flag"  # in the answer for a sequence that the server does not have


@dataclass(slots=True)
class _Stream:
    """A stream: its id on the server, and what happened to it."""

    sequence_id: int
    started: bool = False
    lost: str = ""  # why its state is not known


class RemoteStatefulSession:
    """Runs a model step by step on one server, which keeps the state of each stream; a state begins with zeros.

    The counterpart of `StatefulSession`, with the same outputs on the same engine. It serves one thread.
    """

    def __init__(self, bundle: Bundle | str | Path, remote: Remote) -> None:
        """Connect to the only server of `remote`, and check that it computes the first golden steps as the reference does."""
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        signature = self.bundle.manifest.signature
        self.states = states_of(signature)
        if not self.states:
            raise UsageError(
                f"the bundle {self.bundle.name} has no state: for an input h, an output {NEXT}h is expected; "
                "open it with tamis.open(..., 'remote')"
            )
        if len(remote.servers) != 1 or remote.fallback is not None:
            raise UsageError(
                f"states are kept by one server, but there are {len(remote.servers)} and the fallback is {remote.fallback}: name one "
                "server and no fallback"
            )
        if remote.servers[0].startswith(LOCAL_SCHEME):
            raise UsageError(f"{remote.servers[0]} has no sequences: write grpc://HOST:PORT")
        self._inputs = [spec for spec in signature.inputs if spec.name not in self.states]
        self._outputs = [spec for spec in signature.outputs if spec.name not in self.states.values()]
        self._codec = Codec(
            remote.names.get(self.bundle.name, self.bundle.name),
            "",
            [(spec.name, datatype_of(np.dtype(spec.dtype))) for spec in self._inputs],
            [(spec.name, np.dtype(spec.dtype), len(spec.shape)) for spec in self._outputs],
            has_rows=True,
        )
        files = [None if one is None else Path(one) for one in (remote.ca, remote.certificate, remote.key)]
        credentials = Credentials(remote.token or os.environ.get(CREDENTIAL_VARIABLE), *files)
        self.address, self._tls = reach(remote.servers[0], credentials)
        self._token, self._timeout_ns = credentials.token, round(remote.timeout_s * 1e9)
        self._connection: InferChannel | None = None
        self._streams: dict[Hashable, _Stream] = {}
        try:
            self._verify()
        except BaseException:
            self.close()
            raise

    def run(self, streams: Sequence[Hashable], **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Take one step of each stream, a row each, and return the outputs.

        If the step of one stream fails, the outputs of the others are lost with it, and so are these streams.
        """
        if len(set(streams)) < len(streams) or not streams:
            raise UsageError(
                "a call needs at least one stream, and each stream once: it takes one step of each"
            )
        arrays = self._checked(streams, inputs, len(streams))
        rows: list[list[np.ndarray]] = []
        with self._lost_if_interrupted(streams):
            for first in range(0, len(streams), STEPS_IN_FLIGHT):
                part = range(first, min(first + STEPS_IN_FLIGHT, len(streams)))
                answers, failed = self._exchange(
                    [(streams[row], [array[row : row + 1] for array in arrays]) for row in part]
                )
                rows += answers
                if failed is not None:
                    taken = [stream for stream, answer in zip(streams, rows, strict=False) if answer]
                    self._lose(taken, "its step was taken in a call that failed, and the outputs are lost")
                    if taken:
                        raise ModelError(
                            f"{failed}; the steps of {len(taken)} other streams were taken, and these streams are lost with the call"
                        ) from failed
                    raise failed
            outputs = [np.concatenate(values) for values in zip(*rows, strict=True)]
        return dict(zip([spec.name for spec in self._outputs], outputs, strict=True))

    def steps(self, stream: Hashable, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Take some steps of one stream, a row each, and return the outputs of each; as `run` for one row after the other.

        If a step fails after others were taken, the outputs of these are lost, and so is the stream.
        """
        count = len(next(iter(inputs.values()), ()))
        arrays = self._checked([stream], inputs, count)
        rows: list[list[np.ndarray]] = []
        with self._lost_if_interrupted([stream]):
            for row in range(count):
                (answer,), failed = self._exchange([(stream, [array[row : row + 1] for array in arrays])])
                if failed is not None:
                    if row:
                        self._lose([stream], f"{row} of its steps were taken in a call that failed then")
                        raise ModelError(
                            f"{failed}; {row} steps before it were taken, and their outputs are lost: begin again with reset({stream!r})"
                        ) from failed
                    raise failed
                rows.append(answer)
        if not rows:
            return {
                spec.name: np.empty((0, *(int(size) for size in spec.shape[1:])), spec.dtype)
                for spec in self._outputs
            }
        outputs = [np.concatenate(values) for values in zip(*rows, strict=True)]
        return dict(zip([spec.name for spec in self._outputs], outputs, strict=True))

    def reset(self, stream: Hashable) -> None:
        """Let a stream begin again, with zeros, as a new sequence; the old one ends, or is dropped by the server when idle."""
        self._end([stream])

    @property
    def streams(self) -> list[Hashable]:
        """Return the streams that have a state."""
        return [name for name, stream in self._streams.items() if stream.started and not stream.lost]

    def close(self) -> None:
        """End all sequences, so that the server frees their states, and close the connection."""
        self._end(list(self._streams))
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        """Return the session itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        self.close()

    def _checked(
        self, streams: Sequence[Hashable], inputs: Mapping[str, np.ndarray], rows: int
    ) -> list[np.ndarray]:
        """Return the inputs in order; raise ModelError for a stream that is lost."""
        check_step(self.bundle, self.states, inputs, rows)
        for name in streams:
            if name in self._streams and (why := self._streams[name].lost):
                raise ModelError(
                    f"the state of the stream {name!r} is not known: {why}; begin again with reset({name!r})"
                )
        return [np.ascontiguousarray(inputs[spec.name], spec.dtype) for spec in self._inputs]

    def _verify(self) -> None:
        golden = self.bundle.golden.inputs
        inputs = {spec.name: np.asarray(golden[spec.name])[:VERIFIED_STEPS] for spec in self._inputs}
        reference = StatefulSession(Session(self.bundle, find_engine("reference"), Options(), verify=False))
        expected = reference.steps("golden", **inputs)
        results = self.steps("golden", **inputs)
        self.reset("golden")
        for spec in self._outputs:
            difference = first_difference(results[spec.name], expected[spec.name], spec.tolerance)
            if difference:
                raise VerificationError(
                    f"{self.address} does not compute {self.bundle.name} as the reference does, output {spec.name!r}: {difference}"
                )

    def _channel(self) -> InferChannel:
        """Return a connection that is open as far as one can know before sending."""
        if self._connection is not None and self._connection.is_stale():
            self._connection.close()
            self._connection = None
        if self._connection is None:
            try:
                self._connection = InferChannel(self.address, tls=self._tls, token=self._token)
            except (OSError, ValueError) as error:
                raise ModelError(
                    f"{self.address} cannot be reached: {error}; no step was sent, and the state is as it was"
                ) from error
        return self._connection

    def _exchange(
        self, steps: Sequence[tuple[Hashable, list[np.ndarray]]]
    ) -> tuple[list[list[np.ndarray]], ModelError | None]:
        """Send a step of each of some streams, and return the answers, empty for those that failed, with the first error."""
        try:
            channel = self._channel()
        except ModelError as error:
            return [[] for _ in steps], error
        until_ns = monotonic_ns() + self._timeout_ns
        calls: list[ClientCall | CallError] = []
        for name, arrays in steps:
            if name not in self._streams:
                self._streams[name] = _Stream(1 + secrets.randbelow((1 << ID_BITS) - 1))
            try:
                calls.append(self._send(channel, self._streams[name], arrays))
            except CallError as error:  # nothing of it was sent
                calls.append(error)
        answers: list[list[np.ndarray]] = []
        failed: ModelError | None = None
        for (name, _), call in zip(steps, calls, strict=True):
            try:
                outputs = self._answer(channel, call, until_ns)
            except CallError as error:
                failure = self._failure(name, error, was_sent=isinstance(call, ClientCall))
                failed = failed or failure
                answers.append([])
            else:
                self._streams[name].started = True
                answers.append(outputs)
        if failed is not None:
            channel.close()
            self._connection = None
        return answers, failed

    def _answer(self, channel: InferChannel, call: ClientCall | CallError, until_ns: int) -> list[np.ndarray]:
        if isinstance(call, CallError):
            raise call
        outputs = self._codec.outputs(channel.answer(call, until_ns))
        if any(len(one) != 1 for one in outputs):
            raise CallError(Status.INTERNAL, "the answer does not have one row")
        return outputs

    def _send(
        self, channel: InferChannel, stream: _Stream, arrays: Sequence[np.ndarray], *, end: bool = False
    ) -> ClientCall:
        parameters = {
            "sequence_id": stream.sequence_id,
            "sequence_start": not stream.started,
            "sequence_end": end,
        }
        size, pieces = self._codec.request(arrays, parameters)
        return channel.begin(PATH, size, pieces, timeout_ns=self._timeout_ns)

    def _failure(self, name: Hashable, error: CallError, *, was_sent: bool) -> ModelError:
        """Return the error for a step that failed; the stream is lost unless the step was certainly not computed."""
        where = f"the step of the stream {name!r} failed on {self.address}: {error}"
        if error.from_server and START_MISSING in str(error):
            self._streams[name].lost = f"{self.address} no longer has it"
            return ModelError(f"{where}; begin again with reset({name!r})")
        if not was_sent or (error.from_server and error.status in NOT_COMPUTED):
            return ModelError(f"{where}; it was not computed, and the state is as it was")
        self._streams[name].lost = "a step was sent, but its answer did not arrive"
        return ModelError(
            f"{where}; it may have been computed, so it is not sent again: begin again with reset({name!r})"
        )

    @contextlib.contextmanager
    def _lost_if_interrupted(self, streams: Sequence[Hashable]) -> Iterator[None]:
        """Lose the streams of a call that ends otherwise than by an answer or its own error, such as by Ctrl-C."""
        try:
            yield
        except ModelError:
            raise
        except BaseException:
            self._lose(
                [one for one in streams if one in self._streams], "a call with its step was interrupted"
            )
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            raise

    def _lose(self, streams: Sequence[Hashable], why: str) -> None:
        for name in streams:
            self._streams[name].lost = self._streams[name].lost or why

    def _end(self, names: Sequence[Hashable]) -> None:
        """Forget streams; those that the server has end with a step of zeros, as the protocol has no other way."""
        found = [self._streams.pop(name) for name in names if name in self._streams]
        known = [stream for stream in found if stream.started and not stream.lost]
        zeros = [np.zeros((1, *(int(size) for size in spec.shape[1:])), spec.dtype) for spec in self._inputs]
        with contextlib.suppress(CallError, ModelError):  # otherwise the server drops them when idle
            for first in range(0, len(known), STEPS_IN_FLIGHT):
                channel, until_ns = self._channel(), monotonic_ns() + self._timeout_ns
                part = known[first : first + STEPS_IN_FLIGHT]
                for call in [self._send(channel, stream, zeros, end=True) for stream in part]:
                    channel.answer(call, until_ns)
