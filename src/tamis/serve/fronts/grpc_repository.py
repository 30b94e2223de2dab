"""Methods of gRPC about models: configuration, statistics, repository index, loading and unloading."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from tamis.serve.models.overrides import load_override
from tamis.serve.models.repository import Repository
from tamis.serve.models.statistics import Duration
from tamis.serve.models.triton_config import served_config
from tamis.serve.protocol.messages import Fault, Refusal
from tamis.serve.service import Loaded, Service
from tamis.serve.wire import Buffer
from tamis.serve.wire.grpc import ServerCall, Status

# Takes the request, returns the response or a coroutine of it, and raises Refusal for an error.
Handler = Callable[[Any], Any]
_tasks: set[asyncio.Task[None]] = set()  # the event loop holds tasks only weakly


def handle_unary(request_type: Any, handler: Handler, call: ServerCall, message: Buffer) -> None:
    """Parse a request and send the handler's response, at once or when its coroutine is done."""
    try:
        response = handler(request_type.FromString(bytes(message)))
    except DecodeError:
        call.fail(Status.INVALID_ARGUMENT, f"the message is not a {request_type.__name__}")
    except Refusal as refusal:
        call.fail(Status(refusal.fault.grpc), str(refusal))
    else:
        if inspect.isawaitable(response):
            task = asyncio.ensure_future(_respond_later(response, call))
            _tasks.add(task)
            task.add_done_callback(_tasks.discard)
        else:
            _respond(call, response)


async def _respond_later(response: Awaitable[Any], call: ServerCall) -> None:
    try:
        done = await response
    except Refusal as refusal:
        call.fail(Status(refusal.fault.grpc), str(refusal))
    else:
        _respond(call, done)
    call.connection.flush()


def _respond(call: ServerCall, response: Any) -> None:
    encoded = response.SerializeToString()
    call.respond(len(encoded), [encoded])


def repository_methods(
    service: Service, repository: Repository | None, *, may_load: bool
) -> dict[str, tuple[Any, Handler]]:
    """Return the request type and handler of each method, by name; loading and unloading are coroutines."""
    methods: dict[str, tuple[Any, Handler]] = {
        "ModelConfig": (pb.ModelConfigRequest, partial(_config, service)),
        "ModelStatistics": (pb.ModelStatisticsRequest, partial(_statistics, service)),
    }
    if repository is None:
        return methods
    load, unload = (
        (partial(_load, repository), partial(_unload, repository)) if may_load else (_forbidden, _forbidden)
    )
    return methods | {
        "RepositoryIndex": (pb.RepositoryIndexRequest, partial(_index, repository)),
        "RepositoryModelLoad": (pb.RepositoryModelLoadRequest, load),
        "RepositoryModelUnload": (pb.RepositoryModelUnloadRequest, unload),
    }


def model_control_forbidden() -> Refusal:
    """Return the error for a client that may not load or unload models."""
    return Refusal(
        Fault.FORBIDDEN,
        "clients may not load or unload models: the server runs with --no-model-control or with several workers",
    )


def _forbidden(_: Any) -> Any:
    raise model_control_forbidden()


def _config(service: Service, request: Any) -> Any:
    model = service.find(request.name, request.version).model
    return pb.ModelConfigResponse(config=served_config(model))


def _statistics(service: Service, request: Any) -> Any:
    loaded = service.select(request.name, request.version)
    return pb.ModelStatisticsResponse(model_stats=[_statistics_of(model) for model in loaded])


def _statistics_of(loaded: Loaded) -> Any:
    spec, statistics = loaded.model.spec, loaded.statistics
    return pb.ModelStatistics(
        name=spec.name,
        version=spec.version,
        last_inference=statistics.last_ms,
        inference_count=statistics.inferences,
        execution_count=statistics.executions,
        inference_stats=pb.InferStatistics(
            success=_duration(statistics.success),
            fail=_duration(statistics.failure),
            queue=_duration(statistics.queue),
            compute_input=_duration(statistics.input),
            compute_infer=_duration(statistics.infer),
            compute_output=_duration(statistics.output),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=rows,
                compute_input=_duration(before),
                compute_infer=_duration(infer),
                compute_output=_duration(after),
            )
            for rows, (before, infer, after) in sorted(statistics.batches.items())
        ],
    )


def _duration(duration: Duration) -> Any:
    return pb.StatisticDuration(count=duration.count, ns=duration.total_ns)


def _index(repository: Repository, request: Any) -> Any:
    _check_repository_name(request)
    response = pb.RepositoryIndexResponse()
    for entry in repository.index(only_ready=request.ready):
        response.models.add(
            name=entry.name, version=entry.version, state=str(entry.state), reason=entry.reason
        )
    return response


async def _load(repository: Repository, request: Any) -> Any:
    _check_repository_name(request)
    parameters: dict[str, str | bytes] = {}
    for name, parameter in request.parameters.items():
        value = getattr(parameter, parameter.WhichOneof("parameter_choice") or "string_param")
        if not isinstance(value, str | bytes):
            raise Refusal(
                Fault.INVALID, f"the parameter {name[:100]!r} must be a string, or the bytes of a file"
            )
        parameters[name] = value
    await repository.load(request.model_name, load_override(parameters))
    return pb.RepositoryModelLoadResponse()


async def _unload(repository: Repository, request: Any) -> Any:
    _check_repository_name(request)
    await repository.unload(request.model_name)
    return pb.RepositoryModelUnloadResponse()


def _check_repository_name(request: Any) -> None:
    if request.repository_name:
        raise Refusal(Fault.UNIMPLEMENTED, "repositories have no names: leave repository_name empty")
