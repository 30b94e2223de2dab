"""What gRPC tells of models and does with them: configuration, statistics, index, loading and unloading."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from tamis.serve.models.repository import Repository
from tamis.serve.models.statistics import Duration
from tamis.serve.models.triton_config import config_of
from tamis.serve.protocol.messages import Fault, Refusal
from tamis.serve.service import Loaded, Service
from tamis.serve.wire import Buffer
from tamis.serve.wire.grpc import ServerCall, Status

# An act takes the request and returns the answer, or a coroutine of it; it raises Refusal where it refuses.
Act = Callable[[Any], Any]
_pending: set[asyncio.Task[None]] = set()  # the loop itself holds tasks only weakly


def forbidden() -> Refusal:
    """Return why clients may not change models."""
    return Refusal(
        Fault.FORBIDDEN,
        "clients may not load or unload models here: the server runs with --no-model-control, or with several workers",
    )


def _forbidden(_: Any) -> Any:
    raise forbidden()


def repository_methods(
    service: Service, repository: Repository | None, *, may_load: bool
) -> dict[str, tuple[Any, Act]]:
    """Return, by the method's name, the type of its request and its act; `RepositoryModelLoad` and `...Unload` are coroutines."""
    told: dict[str, tuple[Any, Act]] = {
        "ModelConfig": (pb.ModelConfigRequest, partial(_config, service)),
        "ModelStatistics": (pb.ModelStatisticsRequest, partial(_statistics, service)),
    }
    if repository is None:
        return told
    return told | {
        "RepositoryIndex": (pb.RepositoryIndexRequest, partial(_index, repository)),
        "RepositoryModelLoad": (
            pb.RepositoryModelLoadRequest,
            partial(_load, repository) if may_load else _forbidden,
        ),
        "RepositoryModelUnload": (
            pb.RepositoryModelUnloadRequest,
            partial(_unload, repository) if may_load else _forbidden,
        ),
    }


def take(kind: Any, act: Act, call: ServerCall, message: Buffer) -> None:
    """Answer a call by an act, at once or when it is done; `Method(partial(take, kind, act))` is the whole method."""
    try:
        found = act(kind.FromString(bytes(message)))
    except DecodeError:
        call.fail(Status.INVALID_ARGUMENT, f"the message is no {kind.__name__}")
    except Refusal as refusal:
        call.fail(Status(refusal.fault.grpc), str(refusal))
    else:
        if inspect.isawaitable(found):
            task = asyncio.ensure_future(_later(found, call))
            _pending.add(task)
            task.add_done_callback(_pending.discard)
        else:
            _answer(call, found)


async def _later(found: Awaitable[Any], call: ServerCall) -> None:
    try:
        answer = await found
    except Refusal as refusal:
        call.fail(Status(refusal.fault.grpc), str(refusal))
    else:
        _answer(call, answer)
    call.connection.flush()


def _answer(call: ServerCall, found: Any) -> None:
    encoded = found.SerializeToString()
    call.answer(len(encoded), [encoded])


def _config(service: Service, asked: Any) -> Any:
    model = service.find(asked.name, asked.version).model
    return pb.ModelConfigResponse(
        config=model.config if model.config is not None else config_of(model.spec, len(model.instances))
    )


def _statistics(service: Service, asked: Any) -> Any:
    if not asked.name:
        loaded = list(service.every())
    elif asked.version:
        loaded = [service.find(asked.name, asked.version)]
    else:
        service.find(asked.name)
        loaded = list(service.models[asked.name].values())
    return pb.ModelStatisticsResponse(model_stats=[_of(one) for one in loaded])


def _of(loaded: Loaded) -> Any:
    spec, found = loaded.model.spec, loaded.statistics
    return pb.ModelStatistics(
        name=spec.name,
        version=spec.version,
        last_inference=found.last_ms,
        inference_count=found.inferences,
        execution_count=found.executions,
        inference_stats=pb.InferStatistics(
            success=_duration(found.success),
            fail=_duration(found.failure),
            queue=_duration(found.queue),
            compute_input=_duration(found.input),
            compute_infer=_duration(found.infer),
            compute_output=_duration(found.output),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=rows,
                compute_input=_duration(put),
                compute_infer=_duration(infer),
                compute_output=_duration(output),
            )
            for rows, (put, infer, output) in sorted(found.batches.items())
        ],
    )


def _duration(found: Duration) -> Any:
    return pb.StatisticDuration(count=found.count, ns=found.total_ns)


def _index(repository: Repository, asked: Any) -> Any:
    _one_repository(asked)
    found = pb.RepositoryIndexResponse()
    for one in repository.index(only_ready=asked.ready):
        found.models.add(name=one.name, version=one.version, state=str(one.state), reason=one.reason)
    return found


async def _load(repository: Repository, asked: Any) -> Any:
    _one_repository(asked)
    for name in asked.parameters:
        raise Refusal(
            Fault.UNIMPLEMENTED,
            f"the parameter {name[:100]!r} is not supported: models are loaded as they lie in the repository",
        )
    await repository.load(asked.model_name)
    return pb.RepositoryModelLoadResponse()


async def _unload(repository: Repository, asked: Any) -> Any:
    _one_repository(asked)
    await repository.unload(asked.model_name)
    return pb.RepositoryModelUnloadResponse()


def _one_repository(asked: Any) -> None:
    if asked.repository_name:
        raise Refusal(Fault.UNIMPLEMENTED, "repositories have no names: leave repository_name empty")
