"""ModelInfer over gRPC, unary and as a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from tamis.serve.fronts.plans import RequestPlan, RequestPlans
from tamis.serve.models.tickets import Ticket
from tamis.serve.protocol.classification import class_counts, classified
from tamis.serve.protocol.infer import (
    STREAM_RESPONSE,
    RequestReader,
    ResponseWriter,
    arrays_of,
    field_head,
    plain_arrays,
)
from tamis.serve.protocol.messages import Answer, InferRequest, Refusal
from tamis.serve.protocol.regions import output_places, read_inputs, write_outputs
from tamis.serve.service import Service
from tamis.serve.shared_memory import SharedMemory
from tamis.serve.wire import Buffer
from tamis.serve.wire.grpc import ServerCall, Status

ENABLE_FINAL_RESPONSE = "triton_enable_empty_final_response"  # a client of a stream asks for the mark below
FINAL_RESPONSE = "triton_final_response"


class _GrpcTicket(Ticket):
    """A plain request: its tensors and those of the response travel as bytes in the messages."""

    __slots__ = ("answers", "call", "plan")

    def __init__(
        self, plan: RequestPlan, arrays: list[Any], call: ServerCall, request_id: str, answers: ResponseWriter
    ) -> None:
        """Store what the response needs."""
        super().__init__(plan.prepared, arrays, call.deadline_ns, request_id)
        self.plan, self.call, self.answers = plan, call, answers

    def is_cancelled(self) -> bool:
        """Whether the client has cancelled the call."""
        return self.call.cancelled

    def answer(self, outputs: Sequence[np.ndarray]) -> None:
        """Send the response."""
        spec, plan = self.plan.scheduler.spec, self.plan
        output_indices = [outputs[i] for i in plan.prepared.output_indices]
        self.call.respond(
            *self.answers.write_plain(spec.name, spec.version, plan.outputs, output_indices, self.request_id)
        )
        self.call.connection.flush()

    def refuse(self, refusal: Refusal) -> None:
        """Fail the call."""
        self.call.fail(*_error(refusal, self.request_id))
        self.call.connection.flush()


def _error(refusal: Refusal, request_id: str) -> tuple[Status, str]:
    return Status(refusal.fault.grpc), f"[request id: {request_id}] {refusal}" if request_id else str(refusal)


class Inference:
    """The handlers of ModelInfer and ModelStreamInfer."""

    def __init__(self, service: Service, shared: SharedMemory) -> None:
        """Start with empty caches."""
        self._service, self._shared = service, shared
        self._requests, self._answers = RequestReader(), ResponseWriter()
        self._plans = RequestPlans(service)

    def infer(self, call: ServerCall, message: Buffer) -> None:
        """Handle a ModelInfer call."""
        request_id = ""
        try:
            head, request_id, raws = self._requests.read(message)
            plan = self._plans.find(head, raws)
            if plan is None:
                self._submit(call, message, _UnaryReply(call))
                return
            arrays = plain_arrays(head, raws, plan.sizes)
            ordered = [None if place is None else arrays[place] for place in plan.places]
            plan.scheduler.take(_GrpcTicket(plan, ordered, call, request_id, self._answers))
        except Refusal as refusal:
            self._service.note_refused(request_id, refusal)
            call.fail(*_error(refusal, request_id))

    def infer_streamed(self, call: ServerCall, message: Buffer) -> None:
        """Handle a request of a stream; an error is a response as well, and the stream goes on."""
        call.open_responses += 1
        self._submit(call, message, _StreamReply(call))

    def end_stream(self, call: ServerCall) -> None:
        """Finish a stream once all its requests are answered."""
        if not call.open_responses:
            call.finish()

    def _submit(self, call: ServerCall, message: Buffer, reply: _UnaryReply | _StreamReply) -> None:
        request_id = ""

        def refuse(refusal: Refusal) -> None:
            reply.fail(*_error(refusal, request_id))

        try:
            head, request_id, raws = self._requests.read(message)
            places = output_places(head.outputs, self._shared)
            classes = class_counts(head.outputs)
            marks_final = (
                isinstance(reply, _StreamReply) and head.parameters.get(ENABLE_FINAL_RESPONSE) is True
            )
            inputs = arrays_of(head, raws, read_inputs(head.inputs, self._shared))

            def respond(answer: Answer) -> None:
                try:
                    if classes:
                        spec = self._service.find(answer.model, answer.version).model.spec
                        labels = {output.name: output.labels for output in spec.outputs if output.labels}
                        outputs = classified(
                            answer.outputs, classes, has_rows=bool(spec.max_batch), labels=labels
                        )
                        answer = replace(answer, outputs=outputs)
                    if marks_final:
                        answer = replace(answer, parameters={**answer.parameters, FINAL_RESPONSE: True})
                    write_outputs(answer.outputs, places, self._shared)
                    reply.respond(*self._answers.write(answer, request_id, places))
                except Refusal as refusal:
                    refuse(refusal)

            self._service.infer(
                InferRequest(
                    head.model,
                    head.version,
                    request_id,
                    inputs,
                    respond,
                    refuse,
                    head.outputs,
                    head.parameters,
                    call.deadline_ns,
                    cancelled=lambda: call.cancelled,
                )
            )
        except Refusal as refusal:
            self._service.note_refused(request_id, refusal)
            refuse(refusal)


class _UnaryReply:
    """The response of a unary call."""

    def __init__(self, call: ServerCall) -> None:
        self._call = call

    def respond(self, size: int, pieces: list[Any]) -> None:
        self._call.respond(size, pieces)
        self._call.connection.flush()

    def fail(self, status: Status, message: str) -> None:
        self._call.fail(status, message)
        self._call.connection.flush()


class _StreamReply:
    """One response of a stream."""

    def __init__(self, call: ServerCall) -> None:
        self._call = call

    def respond(self, size: int, pieces: list[Any]) -> None:
        prefix = field_head(STREAM_RESPONSE, size)
        self._send(len(prefix) + size, [prefix, *pieces])

    def fail(self, status: Status, message: str) -> None:
        del status
        response = pb.ModelStreamInferResponse(error_message=message).SerializeToString()
        self._send(len(response), [response])

    def _send(self, size: int, pieces: list[Any]) -> None:
        call = self._call
        call.send_message(size, pieces)
        call.open_responses -= 1
        if call.ended and not call.open_responses:
            call.finish()
        call.connection.flush()
