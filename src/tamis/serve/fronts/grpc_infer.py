"""ModelInfer over gRPC, one by one and as a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from tamis.serve.fronts.plans import Plan, Plans
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
from tamis.serve.wire.frames import Chunk
from tamis.serve.wire.grpc import Call, Status


class _GrpcTicket(Ticket):
    """An ordinary request: numbers come and go with the messages."""

    __slots__ = ("answers", "call", "plan")

    def __init__(
        self, plan: Plan, arrays: list[Any], call: Call, request_id: str, answers: ResponseWriter
    ) -> None:
        """Keep what the answer needs."""
        super().__init__(plan.prepared, arrays, call.deadline_ns, request_id)
        self.plan, self.call, self.answers = plan, call, answers

    def is_cancelled(self) -> bool:
        """Tell whether the call is gone."""
        return self.call.cancelled

    def answer(self, outputs: Sequence[np.ndarray]) -> None:
        """Answer."""
        spec, plan = self.plan.scheduler.spec, self.plan
        found = [outputs[i] for i in plan.prepared.output_indices]
        self.call.answer(
            *self.answers.write_plain(spec.name, spec.version, plan.outputs, found, self.request_id)
        )
        self.call.connection.flush()

    def refuse(self, refusal: Refusal) -> None:
        """Tell why not."""
        self.call.fail(*_told(refusal, self.request_id))
        self.call.connection.flush()


def _told(refusal: Refusal, request_id: str) -> tuple[Status, str]:
    return Status(refusal.fault.grpc), f"[request id: {request_id}] {refusal}" if request_id else str(refusal)


class Inference:
    """ModelInfer, and the same on a stream."""

    def __init__(self, service: Service, shared: SharedMemory) -> None:
        """Know no request yet."""
        self._service, self._shared = service, shared
        self._requests, self._answers = RequestReader(), ResponseWriter()
        self._plans = Plans(service)

    def one(self, call: Call, message: Chunk) -> None:
        """Answer a call."""
        request_id = ""
        try:
            head, request_id, raws = self._requests.read(message)
            plan = self._plans.find(head, raws)
            if plan is None:
                self._take(call, message, _Unary(call))
                return
            arrays = plain_arrays(head, raws, plan.sizes)
            ordered = [None if place is None else arrays[place] for place in plan.places]
            plan.scheduler.take(_GrpcTicket(plan, ordered, call, request_id, self._answers))
        except Refusal as refusal:
            self._service.note_refused(request_id, refusal)
            call.fail(*_told(refusal, request_id))

    def next(self, call: Call, message: Chunk) -> None:
        """Answer one message of a stream; an error is a message too, and the stream goes on."""
        call.open_answers += 1
        self._take(call, message, _Streamed(call))

    def no_more(self, call: Call) -> None:
        """End a stream when all its messages are answered."""
        if not call.open_answers:
            call.finish()

    def _take(self, call: Call, message: Chunk, reply: _Unary | _Streamed) -> None:
        request_id = ""

        def tell(refusal: Refusal) -> None:
            reply.refuse(*_told(refusal, request_id))

        try:
            head, request_id, raws = self._requests.read(message)
            places = output_places(head.outputs, self._shared)
            classes = class_counts(head.outputs)
            inputs = arrays_of(head, raws, read_inputs(head.inputs, self._shared))

            def hear(found: Answer) -> None:
                try:
                    if classes:
                        found = self._classified(found, classes)
                    placed = write_outputs(found.outputs, places, self._shared) if places else None
                    reply.answer(*self._answers.write(found, request_id, placed))
                except Refusal as refusal:
                    tell(refusal)

            asking = InferRequest(
                head.model,
                head.version,
                request_id,
                inputs,
                hear,
                tell,
                head.outputs,
                head.parameters,
                call.deadline_ns,
                cancelled=lambda: call.cancelled,
            )
            self._service.infer(asking)
        except Refusal as refusal:
            self._service.note_refused(request_id, refusal)
            tell(refusal)

    def _classified(self, found: Answer, classes: dict[str, int]) -> Answer:
        spec = self._service.find(found.model, found.version).model.spec
        labels = {one.name: one.labels for one in spec.outputs if one.labels}
        outputs = classified(found.outputs, classes, has_rows=bool(spec.max_batch), labels=labels)
        return Answer(found.model, found.version, outputs, found.parameters)


class _Unary:
    """The one answer of a call."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def answer(self, size: int, pieces: list[Any]) -> None:
        self._call.answer(size, pieces)
        self._call.connection.flush()

    def refuse(self, status: Status, told: str) -> None:
        self._call.fail(status, told)
        self._call.connection.flush()


class _Streamed:
    """One of several answers."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def answer(self, size: int, pieces: list[Any]) -> None:
        prefix = field_head(STREAM_RESPONSE, size)
        self._call.send(len(prefix) + size, [prefix, *pieces])
        self._done()

    def refuse(self, status: Status, told: str) -> None:
        del status
        refusal = pb.ModelStreamInferResponse(error_message=told).SerializeToString()
        self._call.send(len(refusal), [refusal])
        self._done()

    def _done(self) -> None:
        call = self._call
        call.open_answers -= 1
        if call.ended and not call.open_answers:
            call.finish()
        call.connection.flush()
