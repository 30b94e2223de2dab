"""The health service of gRPC, `grpc.health.v1`, which load balancers and Kubernetes ask."""

from __future__ import annotations

from functools import partial

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from tamis.serve.service import Service
from tamis.serve.wire import Buffer
from tamis.serve.wire.grpc import Method, ServerCall, Status

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = 1, 2


def _messages() -> tuple[type, type]:
    """Return the request and the response; the package has a single field in each."""
    file = descriptor_pb2.FileDescriptorProto(name="health.proto", package="grpc.health.v1", syntax="proto3")
    for name, field, kind in (
        ("HealthCheckRequest", "service", descriptor_pb2.FieldDescriptorProto.TYPE_STRING),
        (
            "HealthCheckResponse",
            "status",
            descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
        ),  # an enum has the same bytes
    ):
        label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
        file.message_type.add(name=name).field.add(name=field, number=1, type=kind, label=label)
    pool = descriptor_pool.DescriptorPool()  # of our own: another library may define the same messages
    pool.Add(file)
    found = (
        pool.FindMessageTypeByName(f"grpc.health.v1.{name}")
        for name in ("HealthCheckRequest", "HealthCheckResponse")
    )
    request, response = (message_factory.GetMessageClass(one) for one in found)
    return request, response


HealthCheckRequest, HealthCheckResponse = _messages()


def health_method(service: Service, server_name: str) -> Method:
    """Return the method: it answers for the server as a whole (an empty name, or `server_name`) and for each model."""
    return Method(partial(_check, service, server_name))


def _check(service: Service, server_name: str, call: ServerCall, message: Buffer) -> None:
    try:
        name = HealthCheckRequest.FromString(bytes(message)).service  # type: ignore[attr-defined] # a generated class
    except DecodeError:
        call.fail(Status.INVALID_ARGUMENT, "the message is not a HealthCheckRequest")
        return
    if name in ("", server_name):
        is_serving = service.ready
    elif name in service.models:
        is_serving = True
    elif service.problem_of(name):
        is_serving = False
    else:
        call.fail(
            Status.NOT_FOUND, f"there is no service {name[:200]!r}; name a model, or nothing for the server"
        )
        return
    encoded = HealthCheckResponse(status=SERVING if is_serving else NOT_SERVING).SerializeToString()
    call.respond(len(encoded), [encoded])
