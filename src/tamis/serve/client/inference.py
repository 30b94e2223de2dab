"""Conversion between a model's arrays and the messages of requests and answers."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from time import monotonic_ns
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from tamis._base import UsageError
from tamis.bundle import Signature
from tamis.serve.client.channel import CallError, Channel
from tamis.serve.protocol.infer import (
    ID,
    RAW_INPUT,
    RAW_OUTPUT,
    field_head,
    set_parameters,
    split_message,
)
from tamis.serve.protocol.messages import BoundedCache, Parameter
from tamis.serve.protocol.tensors import datatype_of, dtype_of, element_count, from_raw, to_raw
from tamis.serve.wire import Buffer
from tamis.serve.wire.grpc import Status

PATH = "/inference.GRPCInferenceService/ModelInfer"


class ResponseOutput(NamedTuple):
    """An output as described in an answer."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype:
        """Return the dtype."""
        return dtype_of(self.datatype)

    @property
    def nbytes(self) -> int:
        """Return its size in bytes; not for strings."""
        return element_count(self.shape, f"the output {self.name!r}") * self.dtype.itemsize


class Codec:
    """Writes the requests for a model and reads its answers; headers are cached by shapes."""

    def __init__(
        self,
        model: str,
        version: str,
        inputs: Sequence[tuple[str, str]],
        outputs: Sequence[tuple[str, np.dtype, int]],
        *,
        has_rows: bool,
    ) -> None:
        """Take name and data type of each input; name, dtype and number of dimensions of each output."""
        self._model, self._version = model, version
        self._inputs, self._outputs, self._has_rows = list(inputs), list(outputs), has_rows
        self._headers: BoundedCache[tuple[tuple[int, ...], ...], bytes] = BoundedCache()
        self._answers: BoundedCache[bytes, tuple[ResponseOutput, ...]] = BoundedCache()
        self._numbers = itertools.count(1)
        self._prefix = f"{os.getpid():x}-"

    @classmethod
    def of(cls, model: str, version: str, signature: Signature) -> Codec:
        """Return the codec for a bundle's model."""
        return cls(
            model,
            version,
            [(spec.name, datatype_of(np.dtype(spec.dtype))) for spec in signature.inputs],
            [(spec.name, np.dtype(spec.dtype), len(spec.shape)) for spec in signature.outputs],
            has_rows=signature.rows != "none",
        )

    def request(
        self, arrays: Sequence[np.ndarray], parameters: Mapping[str, Parameter] | None = None
    ) -> tuple[int, list[Buffer]]:
        """Return size and pieces of a request; the bytes of the arrays are not copied."""
        shapes = tuple([array.shape for array in arrays])
        header = self.head(shapes)
        if parameters:  # encoded messages that are concatenated are merged
            message = pb.ModelInferRequest()
            set_parameters(message.parameters, parameters)
            header += message.SerializeToString()
        number = f"{self._prefix}{next(self._numbers):x}".encode()
        pieces: list[Buffer] = [header + field_head(ID, len(number)) + number]
        size = len(pieces[0])
        for array in arrays:
            raw = to_raw(array)
            tag = field_head(RAW_INPUT, len(raw))
            pieces += (tag, raw)
            size += len(tag) + len(raw)
        return size, pieces

    def head(self, shapes: tuple[tuple[int, ...], ...]) -> bytes:
        """Return the header of a request: all but its id and data."""
        cached = self._headers.get(shapes)
        if cached is not None:
            return cached
        message = pb.ModelInferRequest(model_name=self._model, model_version=self._version)
        for (name, datatype), shape in zip(self._inputs, shapes, strict=True):
            sent = (
                (*shape, 1) if self._has_rows and len(shape) == 1 else shape
            )  # in Triton a row has at least one dimension
            message.inputs.add(name=name, datatype=datatype, shape=sent)
        for name, _, _ in self._outputs:
            message.outputs.add(name=name)
        header: bytes = message.SerializeToString()
        self._headers[shapes] = header
        return header

    def outputs(self, message: Buffer) -> list[np.ndarray]:
        """Return the outputs in an answer; raise CallError if it is not an answer of this model."""
        try:
            key, _, raws, _ = split_message(memoryview(message), RAW_OUTPUT)
            described = self._answers.get(key) or self.described(key)
            if len(raws) != len(described):
                raise CallError(
                    Status.INTERNAL,
                    f"the server answered with {len(raws)} tensors for {len(described)} outputs",
                )
            return [
                self.row(from_raw(raw, one.datatype, one.shape, one.name), index)
                for index, (raw, one) in enumerate(zip(raws, described, strict=True))
            ]
        except (IndexError, ValueError, DecodeError, UsageError) as error:
            raise CallError(Status.INTERNAL, f"the server's answer cannot be read: {error}") from error

    def described(self, key: bytes) -> tuple[ResponseOutput, ...]:
        """Parse the header of an answer, which must have the requested outputs in order."""
        message: Any = pb.ModelInferResponse.FromString(key)
        described = tuple(ResponseOutput(one.name, one.datatype, tuple(one.shape)) for one in message.outputs)
        names = [name for name, _, _ in self._outputs]
        if [one.name for one in described] != names:
            returned = ", ".join(one.name for one in described)
            raise CallError(
                Status.INTERNAL,
                f"the server returned the outputs {returned or '(none)'} instead of {', '.join(names)}",
            )
        self._answers[key] = described
        return described

    def row(self, array: np.ndarray, index: int) -> np.ndarray:
        """Return an output in the shape that the bundle declares: in Triton a row has at least one dimension."""
        name, dtype, rank = self._outputs[index]
        if array.dtype != dtype:
            raise CallError(
                Status.INTERNAL, f"the server returned {name!r} as {array.dtype} instead of {dtype}"
            )
        return array.reshape(array.shape[:rank]) if array.ndim == rank + 1 and array.shape[-1] == 1 else array


class InferChannel(Channel):
    """A gRPC connection for inference."""

    def infer(self, codec: Codec, arrays: Sequence[np.ndarray], timeout_ns: int) -> list[np.ndarray]:
        """Return the outputs of a model; raise CallError if there is no answer in time."""
        size, pieces = codec.request(arrays)
        exchange = self.begin(PATH, size, pieces, timeout_ns=timeout_ns)
        return codec.outputs(self.answer(exchange, monotonic_ns() + timeout_ns))
