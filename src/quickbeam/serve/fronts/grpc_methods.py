"""The methods of `inference.GRPCInferenceService`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from quickbeam.serve.protocol.infer import Answers, Requests, arrays_of
from quickbeam.serve.protocol.messages import Answer, Asking, Refusal
from quickbeam.serve.service import EXTENSIONS, NAME, Service
from quickbeam.serve.wire.grpc import Call, Method, Status
from quickbeam.serve.wire.http2 import Chunk

PREFIX = "/inference.GRPCInferenceService/"


def methods(service: Service) -> dict[str, Method]:
    """Return what answers each method."""
    infer = _Infer(service)
    plain: dict[str, tuple[Any, Callable[[Any], Any]]] = {
        "ServerLive": (pb.ServerLiveRequest, lambda _: pb.ServerLiveResponse(live=True)),
        "ServerReady": (pb.ServerReadyRequest, lambda _: pb.ServerReadyResponse(ready=service.ready)),
        "ServerMetadata": (
            pb.ServerMetadataRequest,
            lambda _: pb.ServerMetadataResponse(name=NAME, version=service.version, extensions=EXTENSIONS),
        ),
        "ModelReady": (pb.ModelReadyRequest, partial(_model_ready, service)),
        "ModelMetadata": (pb.ModelMetadataRequest, partial(_model_metadata, service)),
    }
    found = {PREFIX + name: Method(partial(_answer, kind, act)) for name, (kind, act) in plain.items()}
    found[PREFIX + "ModelInfer"] = Method(infer.take)
    return found


def _answer(kind: Any, act: Callable[[Any], Any], call: Call, message: Chunk) -> None:
    try:
        answer = act(kind.FromString(bytes(message))).SerializeToString()
    except DecodeError:
        call.fail(Status.INVALID_ARGUMENT, f"the message is no {kind.__name__}")
    except Refusal as refusal:
        call.fail(Status(refusal.fault.grpc), str(refusal))
    else:
        call.answer(len(answer), [answer])


def _model_ready(service: Service, asked: Any) -> Any:
    try:
        service.find(asked.name, asked.version)
    except Refusal:
        return pb.ModelReadyResponse(ready=False)
    return pb.ModelReadyResponse(ready=True)


def _model_metadata(service: Service, asked: Any) -> Any:
    loaded = service.find(asked.name, asked.version)
    spec = loaded.model.spec
    rows = (-1,) if spec.max_batch else ()
    found = pb.ModelMetadataResponse(
        name=spec.name, versions=sorted(service.models[spec.name]), platform=spec.platform
    )
    for one in spec.inputs:
        found.inputs.add(name=one.name, datatype=one.datatype, shape=(*rows, *one.shape))
    for one in spec.outputs:
        found.outputs.add(name=one.name, datatype=one.datatype, shape=(*rows, *one.shape))
    return found


class _Infer:
    def __init__(self, service: Service) -> None:
        self._infer, self._requests, self._answers = service.infer, Requests(), Answers()

    def take(self, call: Call, message: Chunk) -> None:
        try:
            head, request_id, raws = self._requests.read(message)
            inputs = arrays_of(head, raws)

            def answer(found: Answer) -> None:
                call.answer(*self._answers.write(found, request_id))
                call.connection.flush()

            def refuse(refusal: Refusal) -> None:
                call.fail(
                    Status(refusal.fault.grpc),
                    f"[request id: {request_id}] {refusal}" if request_id else str(refusal),
                )
                call.connection.flush()

            asking = Asking(
                head.model,
                head.version,
                request_id,
                inputs,
                answer,
                refuse,
                head.wanted,
                head.parameters,
                call.deadline_ns,
                cancelled=lambda: call.cancelled,
            )
            self._infer(asking)
        except Refusal as refusal:
            call.fail(Status(refusal.fault.grpc), str(refusal))
