"""The methods of `inference.GRPCInferenceService`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from tamis.serve.fronts.grpc_infer import Inference
from tamis.serve.fronts.grpc_repository import repository_methods, take
from tamis.serve.models.repository import Repository
from tamis.serve.protocol.messages import Fault, Refusal
from tamis.serve.service import EXTENSIONS, SERVER_NAME, Service
from tamis.serve.shared_memory import SharedMemory
from tamis.serve.wire.grpc import Method

PREFIX = "/inference.GRPCInferenceService/"


def methods(
    service: Service,
    shared: SharedMemory,
    repository: Repository | None = None,
    *,
    may_load: bool = True,
) -> dict[str, Method]:
    """Return what answers each method; without a repository nothing is loaded or unloaded."""
    infer = Inference(service, shared)
    plain: dict[str, tuple[Any, Callable[[Any], Any]]] = {
        "ServerLive": (pb.ServerLiveRequest, lambda _: pb.ServerLiveResponse(live=True)),
        "ServerReady": (pb.ServerReadyRequest, lambda _: pb.ServerReadyResponse(ready=service.ready)),
        "ServerMetadata": (
            pb.ServerMetadataRequest,
            lambda _: pb.ServerMetadataResponse(
                name=SERVER_NAME, version=service.version, extensions=EXTENSIONS
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
    plain.update(repository_methods(service, repository, may_load=may_load))
    found = {PREFIX + name: Method(partial(take, kind, act)) for name, (kind, act) in plain.items()}
    found[PREFIX + "ModelInfer"] = Method(infer.one)
    found[PREFIX + "ModelStreamInfer"] = Method(infer.next, infer.no_more)
    return found


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


def _shared_status(shared: SharedMemory, asked: Any) -> Any:
    found = pb.SystemSharedMemoryStatusResponse()
    for region in shared.status(asked.name):
        one = found.regions[region.name]
        one.name, one.key, one.offset, one.byte_size = (
            region.name,
            region.key,
            region.offset,
            region.byte_size,
        )
    return found


def _shared_register(shared: SharedMemory, asked: Any) -> Any:
    shared.register(asked.name, asked.key, asked.offset, asked.byte_size)
    return pb.SystemSharedMemoryRegisterResponse()


def _shared_unregister(shared: SharedMemory, asked: Any) -> Any:
    shared.unregister(asked.name)
    return pb.SystemSharedMemoryUnregisterResponse()


def _no_cuda(asked: Any) -> Any:
    raise Refusal(
        Fault.UNIMPLEMENTED,
        f"the region {asked.name[:200]!r} is on a GPU; this server runs on CPU: use system shared memory",
    )
