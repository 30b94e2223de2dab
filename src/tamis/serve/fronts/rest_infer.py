"""Inference through REST."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tamis._base import TamisError
from tamis.serve.models.model import ModelSpec
from tamis.serve.protocol.classification import class_counts, classified
from tamis.serve.protocol.infer import Buffer, InputTensor, RequestHeader, arrays_of
from tamis.serve.protocol.json_infer import (
    ALL_BINARY,
    JsonRequestReader,
    JsonResponseWriter,
    binary_outputs,
)
from tamis.serve.protocol.messages import Answer, Fault, InferRequest, Refusal
from tamis.serve.protocol.regions import Regions, output_places, read_inputs, write_outputs
from tamis.serve.protocol.tensors import dtype_of
from tamis.serve.service import Service
from tamis.serve.wire.coding import packed, wanted_coding
from tamis.serve.wire.http1 import JSON, Field, Request

HEAD_LENGTH = b"inference-header-content-length"
BYTES: Field = (b"content-type", b"application/octet-stream")
PACKED_LEAST = 256  # bytes: less is not worth the packing

Labels = Callable[[str, str], Mapping[str, Sequence[str]]]


class RestInfer:
    """Takes requests for inference."""

    def __init__(self, service: Service, regions: Regions | None, labels: Labels) -> None:
        """Begin without any."""
        self._service, self._regions, self._labels = service, regions, labels
        self._requests, self._answers = JsonRequestReader(), JsonResponseWriter()

    def take(self, request: Request, asked: tuple[str, str]) -> None:
        """Have a request computed; raise Refusal where it is refused at once."""
        try:
            self._take(request, asked)
        except Refusal as refusal:
            self._service.note_refused("", refusal)
            raise

    def _take(self, request: Request, asked: tuple[str, str]) -> None:
        name, version = asked
        spec = self._service.find(name, version).model.spec
        head_bytes = _head_bytes(request)
        if head_bytes == 0:
            head, request_id, raws = _plain_bytes(spec, request.body)
        else:
            head, request_id, raws = self._requests.read(request.body, head_bytes)
        binary = binary_outputs(head, frozenset([one.name for one in spec.outputs]))
        counts = class_counts(head.outputs) if head.outputs else {}
        places = output_places(head.outputs, self._regions) if head.outputs else {}
        inputs = arrays_of(head, raws, read_inputs(head.inputs, self._regions))

        def answer(found: Answer) -> None:
            try:
                if counts:
                    labels = self._labels(found.model, found.version)
                    outputs = classified(found.outputs, counts, has_rows=bool(spec.max_batch), labels=labels)
                    found = Answer(found.model, found.version, outputs, found.parameters)
                told = write_outputs(found.outputs, places, self._regions) if places else None
                _send(request, *self._answers.write(found, request_id, binary, told))
            except Refusal as refusal:
                refuse(refusal)
            except (TamisError, ValueError, TypeError) as error:  # the queue goes on with others
                refuse(Refusal(Fault.INTERNAL, f"the answer of {name!r} cannot be written: {error}"))

        def refuse(refusal: Refusal) -> None:
            told = f"[request id: {request_id}] {refusal}" if request_id else str(refusal)
            request.fail(refusal.fault.http, told)

        self._service.infer(
            InferRequest(
                name,
                version,
                request_id,
                inputs,
                answer,
                refuse,
                head.outputs,
                head.parameters,
                cancelled=lambda: request.cancelled,
            )
        )


def _head_bytes(request: Request) -> int | None:
    """Return how much of the body is JSON, None where all of it is."""
    text = request.headers.get(HEAD_LENGTH)
    if text is None:
        return None
    if not text.isdigit() or len(text) > 12:
        raise Refusal(
            Fault.INVALID,
            f"the header Inference-Header-Content-Length is {text[:40].decode('latin-1')!r}; it has to be a number",
        )
    return int(text)


def _plain_bytes(spec: ModelSpec, body: Buffer) -> tuple[RequestHeader, str, list[memoryview]]:
    """Read a body that is nothing but the one input of a model, as bytes; one size of its shape may be free."""
    told = f"a request without JSON needs a model with one input of a known shape, which {spec.name!r} is not"
    if len(spec.inputs) != 1 or spec.inputs[0].shape.count(-1) > 1:
        raise Refusal(Fault.INVALID, told)
    one, size = spec.inputs[0], len(body)
    shape = list(one.shape)
    if one.datatype == "BYTES":
        if any(length not in {-1, 1} for length in shape):
            raise Refusal(Fault.INVALID, told)
        shape = [1] * len(shape)
        raw = memoryview(size.to_bytes(4, "little") + bytes(body))
    else:
        raw = memoryview(body)
        if -1 in shape:
            row = dtype_of(one.datatype).itemsize
            for length in shape:
                row *= length if length >= 0 else 1
            shape[shape.index(-1)] = size // row if row else 0
    rows = (1,) if spec.max_batch else ()
    given = InputTensor(one.name, one.datatype, (*rows, *shape))
    return RequestHeader("", "", {ALL_BINARY: True}, (given,), ()), "", [raw]


def _send(request: Request, head_bytes: int | None, chunks: list[Buffer]) -> None:
    headers: list[Field] = [JSON]
    if head_bytes is not None:
        headers = [BYTES, (HEAD_LENGTH, b"%d" % head_bytes)]
    accepted = request.headers.get(b"accept-encoding")
    if accepted:
        coding = wanted_coding(accepted.decode("latin-1"))
        if coding and sum([len(chunk) for chunk in chunks]) >= PACKED_LEAST:
            chunks = [packed(chunks, coding)]
            headers.append((b"content-encoding", coding.encode()))
    request.answer(200, headers, chunks)
