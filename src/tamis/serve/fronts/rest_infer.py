"""Inference requests over REST."""

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
from tamis.serve.wire.content_coding import accepted_coding, compress_body
from tamis.serve.wire.http1 import JSON, Field, HttpRequest

HEAD_LENGTH = b"inference-header-content-length"
OCTET_STREAM: Field = (b"content-type", b"application/octet-stream")
MIN_COMPRESSED_BYTES = 256  # smaller responses are not worth compressing

Labels = Callable[[str, str], Mapping[str, Sequence[str]]]


class RestInfer:
    """The handler of inference requests."""

    def __init__(self, service: Service, regions: Regions | None, labels: Labels) -> None:
        """Start with empty caches."""
        self._service, self._regions, self._labels = service, regions, labels
        self._requests, self._answers = JsonRequestReader(), JsonResponseWriter()

    def handle(self, request: HttpRequest, path: tuple[str, str]) -> None:
        """Submit a request for model and version of a path; raise Refusal if it is rejected at once."""
        try:
            self._submit(request, path)
        except Refusal as refusal:
            self._service.note_refused("", refusal)
            raise

    def _submit(self, request: HttpRequest, path: tuple[str, str]) -> None:
        name, version = path
        spec = self._service.find(name, version).model.spec
        head_bytes = _head_bytes(request)
        if head_bytes == 0:
            head, request_id, raws = _plain_bytes(spec, request.body)
        else:
            head, request_id, raws = self._requests.read(request.body, head_bytes)
        binary = binary_outputs(head, frozenset([output.name for output in spec.outputs]))
        counts = class_counts(head.outputs) if head.outputs else {}
        places = output_places(head.outputs, self._regions) if head.outputs else {}
        inputs = arrays_of(head, raws, read_inputs(head.inputs, self._regions))

        def respond(answer: Answer) -> None:
            try:
                if counts:
                    labels = self._labels(answer.model, answer.version)
                    outputs = classified(answer.outputs, counts, has_rows=bool(spec.max_batch), labels=labels)
                    answer = Answer(answer.model, answer.version, outputs, answer.parameters)
                write_outputs(answer.outputs, places, self._regions)
                _respond(request, *self._answers.write(answer, request_id, binary, places))
            except Refusal as refusal:
                refuse(refusal)
            except (TamisError, ValueError, TypeError) as error:  # must not stop the queue
                refuse(Refusal(Fault.INTERNAL, f"the response of {name!r} cannot be encoded: {error}"))

        def refuse(refusal: Refusal) -> None:
            message = f"[request id: {request_id}] {refusal}" if request_id else str(refusal)
            request.fail(refusal.fault.http, message)

        self._service.infer(
            InferRequest(
                name,
                version,
                request_id,
                inputs,
                respond,
                refuse,
                head.outputs,
                head.parameters,
                cancelled=lambda: request.cancelled,
            )
        )


def _head_bytes(request: HttpRequest) -> int | None:
    """Return the number of bytes of JSON at the start of the body, None if all of it is JSON."""
    text = request.headers.get(HEAD_LENGTH)
    if text is None:
        return None
    if not text.isdigit() or len(text) > 12:
        raise Refusal(
            Fault.INVALID,
            f"the header Inference-Header-Content-Length is {text[:40].decode('latin-1')!r}; expected a number",
        )
    return int(text)


def _plain_bytes(spec: ModelSpec, body: Buffer) -> tuple[RequestHeader, str, list[memoryview]]:
    """Read a body that is nothing but the bytes of the model's only input; one dimension of its shape may be free."""
    error = (
        f"a request without JSON needs a model with one input of known shape, but {spec.name!r} is different"
    )
    if len(spec.inputs) != 1 or spec.inputs[0].shape.count(-1) > 1:
        raise Refusal(Fault.INVALID, error)
    tensor, size = spec.inputs[0], len(body)
    shape = list(tensor.shape)
    if tensor.datatype == "BYTES":
        if any(length not in {-1, 1} for length in shape):
            raise Refusal(Fault.INVALID, error)
        shape = [1] * len(shape)
        raw = memoryview(size.to_bytes(4, "little") + bytes(body))
    else:
        raw = memoryview(body)
        if -1 in shape:
            row = dtype_of(tensor.datatype).itemsize
            for length in shape:
                row *= length if length >= 0 else 1
            shape[shape.index(-1)] = size // row if row else 0
    rows = (1,) if spec.max_batch else ()
    given = InputTensor(tensor.name, tensor.datatype, (*rows, *shape))
    return RequestHeader("", "", {ALL_BINARY: True}, (given,), ()), "", [raw]


def _respond(request: HttpRequest, head_bytes: int | None, chunks: list[Buffer]) -> None:
    headers: list[Field] = [JSON]
    if head_bytes is not None:
        headers = [OCTET_STREAM, (HEAD_LENGTH, b"%d" % head_bytes)]
    accept_encoding = request.headers.get(b"accept-encoding")
    if accept_encoding:
        coding = accepted_coding(accept_encoding.decode("latin-1"))
        if coding and sum([len(chunk) for chunk in chunks]) >= MIN_COMPRESSED_BYTES:
            chunks = [compress_body(chunks, coding)]
            headers.append((b"content-encoding", coding.encode()))
    request.respond(200, headers, chunks)
