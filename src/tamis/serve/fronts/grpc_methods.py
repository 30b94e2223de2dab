"""The methods of `inference.GRPCInferenceService`."""

from __future__ import annotations

from functools import partial
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from tamis.serve.fronts.fixed_settings import settings_methods
from tamis.serve.fronts.grpc_infer import Inference
from tamis.serve.fronts.grpc_repository import Handler, handle_unary, repository_methods
from tamis.serve.fronts.health import HEALTH_CHECK, health_method
from tamis.serve.models.repository import Repository
from tamis.serve.protocol.messages import Fault, Refusal
from tamis.serve.service import EXTENSIONS, Service
from tamis.serve.shared_memory import SharedMemory
from tamis.serve.wire.grpc import Method

PREFIX = "/inference.GRPCInferenceService/"
GRPC_PROBES = frozenset([PREFIX + "ServerLive", PREFIX + "ServerReady", HEALTH_CHECK])  # need no token


def grpc_methods(
    service: Service,
    shared: SharedMemory,
    repository: Repository | None = None,
    *,
    may_load: bool = True,
) -> dict[str, Method]:
    """Return the service's methods by path; without a repository, or with `may_load` unset, models cannot be loaded."""
    inference = Inference(service, shared)
    unary: dict[str, tuple[Any, Handler]] = {
        "ServerLive": (pb.ServerLiveRequest, lambda _: pb.ServerLiveResponse(live=True)),
        "ServerReady": (pb.ServerReadyRequest, lambda _: pb.ServerReadyResponse(ready=service.ready)),
        "ServerMetadata": (
            pb.ServerMetadataRequest,
            lambda _: pb.ServerMetadataResponse(
                name=service.name, version=service.version, extensions=EXTENSIONS
            ),
        ),
        "ModelReady": (pb.ModelReadyRequest, partial(_model_ready, service)),
        "ModelMetadata": (pb.ModelMetadataRequest, partial(_model_metadata, service)),
        "SystemSharedMemoryStatus": (pb.SystemSharedMemoryStatusRequest, partial(_shared_status, shared)),
        "SystemSharedMemoryRegister": (
            pb.SystemSharedMemoryRegisterRequest,
            partial(_shared_register, shared),
        ),
        "SystemSharedMemoryUnregister": (
            pb.SystemSharedMemoryUnregisterRequest,
            partial(_shared_unregister, shared),
        ),
        "CudaSharedMemoryStatus": (
            pb.CudaSharedMemoryStatusRequest,
            lambda _: pb.CudaSharedMemoryStatusResponse(),
        ),
        "CudaSharedMemoryRegister": (pb.CudaSharedMemoryRegisterRequest, _no_cuda),
        "CudaSharedMemoryUnregister": (
            pb.CudaSharedMemoryUnregisterRequest,
            lambda _: pb.CudaSharedMemoryUnregisterResponse(),
        ),
    }
    unary.update(repository_methods(service, repository, may_load=may_load))
    unary.update(settings_methods(service))
    methods = {
        PREFIX + name: Method(partial(handle_unary, request_type, handler))
        for name, (request_type, handler) in unary.items()
    }
    methods[HEALTH_CHECK] = health_method(service, PREFIX.strip("/"))
    methods[PREFIX + "ModelInfer"] = Method(inference.infer)
    methods[PREFIX + "ModelStreamInfer"] = Method(inference.infer_streamed, inference.end_stream)
    return methods


def _model_ready(service: Service, request: Any) -> Any:
    try:
        service.find(request.name, request.version)
    except Refusal:
        return pb.ModelReadyResponse(ready=False)
    return pb.ModelReadyResponse(ready=True)


def _model_metadata(service: Service, request: Any) -> Any:
    spec = service.find(request.name, request.version).model.spec
    rows = (-1,) if spec.max_batch else ()
    response = pb.ModelMetadataResponse(
        name=spec.name, versions=sorted(service.models[spec.name]), platform=spec.platform
    )
    for tensor in spec.described_inputs:
        response.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=(*rows, *tensor.shape))
    for tensor in spec.described_outputs:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=(*rows, *tensor.shape))
    return response


def _shared_status(shared: SharedMemory, request: Any) -> Any:
    response = pb.SystemSharedMemoryStatusResponse()
    for region in shared.status(request.name):
        status = response.regions[region.name]
        status.name, status.key, status.offset, status.byte_size = (
            region.name,
            region.key,
            region.offset,
            region.byte_size,
        )
    return response


def _shared_register(shared: SharedMemory, request: Any) -> Any:
    shared.register(request.name, request.key, request.offset, request.byte_size)
    return pb.SystemSharedMemoryRegisterResponse()


def _shared_unregister(shared: SharedMemory, request: Any) -> Any:
    shared.unregister(request.name)
    return pb.SystemSharedMemoryUnregisterResponse()


def _no_cuda(request: Any) -> Any:
    raise Refusal(
        Fault.UNIMPLEMENTED,
        f"the region {request.name[:200]!r} is on a GPU, but this server runs on CPU; use system shared memory",
    )
