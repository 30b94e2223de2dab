"""One model on one server: arrays to the bytes of a request, and the bytes of an answer to arrays."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from time import monotonic_ns
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from tamis._base import Known, UsageError
from tamis.bundle import Signature
from tamis.serve.client.channel import CallError, Channel
from tamis.serve.protocol.infer import ID, RAW_INPUT, RAW_OUTPUT, field_head, taken_apart
from tamis.serve.protocol.tensors import datatype_of, dtype_of, elements, from_raw, to_raw
from tamis.serve.wire import Buffer
from tamis.serve.wire.grpc import Status

PATH = "/inference.GRPCInferenceService/ModelInfer"


class ResponseOutput(NamedTuple):
    """An output as an answer describes it."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype:
        """Return numpy's type."""
        return dtype_of(self.datatype)

    @property
    def nbytes(self) -> int:
        """Return how many bytes it has, where its elements have a size."""
        return elements(self.shape, f"the output {self.name!r}") * self.dtype.itemsize


class Codec:
    """Requests for a model, and what comes back; what was asked before is not put together again."""

    def __init__(
        self,
        model: str,
        version: str,
        inputs: Sequence[tuple[str, str]],
        outputs: Sequence[tuple[str, np.dtype, int]],
        *,
        has_rows: bool,
    ) -> None:
        """Know names and data types of inputs; names, types and dimensions of outputs."""
        self._model, self._version = model, version
        self._inputs, self._outputs, self._has_rows = list(inputs), list(outputs), has_rows
        self._heads: Known[tuple[tuple[int, ...], ...], bytes] = Known()
        self._answers: Known[bytes, tuple[ResponseOutput, ...]] = Known()
        self._numbers = itertools.count(1)
        self._prefix = f"{os.getpid():x}-"

    @classmethod
    def of(cls, model: str, version: str, signature: Signature) -> Codec:
        """Return what asks for a bundle's model."""
        return cls(
            model,
            version,
            [(spec.name, datatype_of(np.dtype(spec.dtype))) for spec in signature.inputs],
            [(spec.name, np.dtype(spec.dtype), len(spec.shape)) for spec in signature.outputs],
            has_rows=signature.rows != "none",
        )

    def request(self, arrays: Sequence[np.ndarray]) -> tuple[int, list[Buffer]]:
        """Return a request's size and pieces; the arrays' bytes are not copied."""
        shapes = tuple([array.shape for array in arrays])
        head = self.head(shapes)
        number = f"{self._prefix}{next(self._numbers):x}".encode()
        pieces: list[Buffer] = [head + field_head(ID, len(number)) + number]
        size = len(pieces[0])
        for array in arrays:
            raw = to_raw(array)
            tag = field_head(RAW_INPUT, len(raw))
            pieces += (tag, raw)
            size += len(tag) + len(raw)
        return size, pieces

    def head(self, shapes: tuple[tuple[int, ...], ...]) -> bytes:
        """Return all of a request but its id and its numbers."""
        known = self._heads.get(shapes)
        return self._made(shapes) if known is None else known

    def _made(self, shapes: tuple[tuple[int, ...], ...]) -> bytes:
        message = pb.ModelInferRequest(model_name=self._model, model_version=self._version)
        for (name, datatype), shape in zip(self._inputs, shapes, strict=True):
            sent = (*shape, 1) if self._has_rows and len(shape) == 1 else shape  # Triton knows no bare row
            message.inputs.add(name=name, datatype=datatype, shape=sent)
        for name, _, _ in self._outputs:
            message.outputs.add(name=name)
        head: bytes = message.SerializeToString()
        self._heads[shapes] = head
        return head

    def outputs(self, message: Buffer) -> list[np.ndarray]:
        """Return the outputs in an answer; what is no answer of this model is the server's fault."""
        try:
            key, _, raws, _ = taken_apart(memoryview(message), RAW_OUTPUT)
            described = self._answers.get(key) or self.described(key)
            if len(raws) != len(described):
                raise CallError(
                    Status.INTERNAL,
                    f"the server answered with {len(raws)} tensors for {len(described)} outputs",
                )
            return [
                self.row(from_raw(raw, one.datatype, one.shape, one.name), place)
                for place, (raw, one) in enumerate(zip(raws, described, strict=True))
            ]
        except (IndexError, ValueError, DecodeError, UsageError) as error:
            raise CallError(Status.INTERNAL, f"the server's answer cannot be read: {error}") from error

    def described(self, key: bytes) -> tuple[ResponseOutput, ...]:
        """Read the head of an answer: the outputs that were asked for, in their order."""
        message: Any = pb.ModelInferResponse.FromString(key)
        described = tuple(ResponseOutput(one.name, one.datatype, tuple(one.shape)) for one in message.outputs)
        names = [name for name, _, _ in self._outputs]
        if [one.name for one in described] != names:
            found = ", ".join(one.name for one in described)
            raise CallError(
                Status.INTERNAL, f"the server answered with {found or 'nothing'}, not with {', '.join(names)}"
            )
        self._answers[key] = described
        return described

    def row(self, array: np.ndarray, place: int) -> np.ndarray:
        """Return an output as the bundle declares it: Triton gives a row at least one dimension."""
        name, dtype, rank = self._outputs[place]
        if array.dtype != dtype:
            raise CallError(Status.INTERNAL, f"the server gave {name!r} as {array.dtype}, not as {dtype}")
        return array.reshape(array.shape[:rank]) if array.ndim == rank + 1 and array.shape[-1] == 1 else array


class InferChannel(Channel):
    """A connection over gRPC that knows how models are asked."""

    def infer(self, codec: Codec, arrays: Sequence[np.ndarray], timeout_ns: int) -> list[np.ndarray]:
        """Ask, and return the answer's arrays; raise CallError where there is none in time."""
        size, pieces = codec.request(arrays)
        exchange = self.begin(PATH, size, pieces, timeout_ns=timeout_ns)
        return codec.outputs(self.answer(exchange, monotonic_ns() + timeout_ns))
