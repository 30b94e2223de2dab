"""The KServe v2 REST API, with Triton's extensions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from tamis._base import Known, TamisError
from tamis.serve.fronts.rest_infer import RestInfer
from tamis.serve.models.model import Spec
from tamis.serve.models.statistics import Duration
from tamis.serve.protocol.json_infer import document, parameters_in, read_field
from tamis.serve.protocol.messages import Fault, Parameter, Refusal
from tamis.serve.protocol.regions import Regions
from tamis.serve.service import EXTENSIONS, NAME, Loaded, Service
from tamis.serve.wire.http1 import JSON, Request


class Repository(Protocol):
    """What loads and unloads models; every method raises Refusal where it cannot do what is asked."""

    def index(self) -> Sequence[Mapping[str, str]]:
        """Return name, version, state and reason of every model."""

    def load(self, name: str, config: str | None) -> Awaitable[None]:
        """Load a model, or load it anew; `config` is JSON that takes the place of its own configuration."""

    def unload(self, name: str, dependents: bool) -> Awaitable[None]:
        """Unload a model."""

    def config_of(self, name: str, version: str) -> Mapping[str, Any]:
        """Return a model's configuration."""

    def labels_of(self, name: str, version: str) -> Mapping[str, Sequence[str]]:
        """Return the labels of those outputs that have some."""


class Shared(Regions, Protocol):
    """What registers regions of shared memory, too."""

    def status(self, name: str) -> list[dict[str, Any]]:
        """Return one region, or all where no name is given."""

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Make a region known."""

    def unregister(self, name: str) -> None:
        """Forget a region, or all where no name is given."""


class Asked(NamedTuple):
    """A path taken apart."""

    name: str
    version: str


def rest(
    service: Service, repository: Repository | None = None, shared: Shared | None = None
) -> Callable[[Request], None]:
    """Return what answers requests."""
    return _Rest(service, repository, shared).handle


class _Rest:
    def __init__(self, service: Service, repository: Repository | None, shared: Shared | None) -> None:
        self._service, self._repository, self._shared = service, repository, shared
        labels = repository.labels_of if repository is not None else lambda *_: {}
        self._infer = RestInfer(service, shared, labels)
        self._infer_targets: Known[str, Asked] = Known()  # those that came before
        self._tasks: set[asyncio.Task[None]] = set()
        self._plain: dict[str, tuple[str, Callable[[Request], None]]] = {
            "health/live": ("GET", lambda request: request.answer(200, (), ())),
            "health/ready": ("GET", lambda request: _ready(request, self._service.ready)),
            "": ("GET", self._metadata),
            "models/stats": ("GET", lambda request: self._statistics(request, Asked("", ""))),
            "repository/index": ("POST", self._index),
        }
        self._of_models: dict[str, tuple[str, Callable[[Request, Asked], None]]] = {
            "": ("GET", self._model),
            "ready": ("GET", self._model_ready),
            "infer": ("POST", self._infer.take),
            "config": ("GET", self._config),
            "stats": ("GET", self._statistics),
        }
        self._of_repository: dict[str, tuple[str, Callable[[Request, str], None]]] = {
            "load": ("POST", self._load),
            "unload": ("POST", self._unload),
        }
        self._of_regions: dict[str, tuple[str, Callable[[Request, str], None]]] = {
            "status": ("GET", self._region_status),
            "register": ("POST", self._register),
            "unregister": ("POST", self._unregister),
        }

    def handle(self, request: Request) -> None:
        """Answer a request, at once or later."""
        try:
            self._route(request)
        except Refusal as refusal:
            request.fail(refusal.fault.http, str(refusal))

    def _route(self, request: Request) -> None:
        asked = self._infer_targets.get(request.target)
        if asked is not None and request.method == "POST":
            self._infer.take(request, asked)
            return
        target = request.target.partition("?")[0]
        if not target.startswith("/"):
            target = _path_of(request.target)
        parts = target.rstrip("/").split("/")[1:]
        if not parts or parts[0] != "v2":
            raise _nothing(request)
        parts = [unquote(part) for part in parts[1:]] if "%" in target else parts[1:]
        plain = self._plain.get("/".join(parts))
        if plain is not None:
            if _allows(request, plain[0]):
                plain[1](request)
        elif parts[0] == "models" and len(parts) > 1:
            self._route_model(request, parts)
        elif parts[0] in {"repository", "systemsharedmemory", "cudasharedmemory"}:
            self._route_other(request, parts)
        else:
            raise _nothing(request)

    def _route_model(self, request: Request, parts: list[str]) -> None:
        name, rest_of = parts[1], parts[2:]
        version = ""
        if len(rest_of) > 1 and rest_of[0] == "versions":
            version, rest_of = rest_of[1], rest_of[2:]
        what = self._of_models.get("/".join(rest_of))
        if what is None or not name:
            raise _nothing(request)
        asked = Asked(name, version)
        if not _allows(request, what[0]):
            return
        if rest_of == ["infer"] and name in self._service.models:
            self._infer_targets[request.target] = asked
        what[1](request, asked)

    def _route_other(self, request: Request, parts: list[str]) -> None:
        kind, last = parts[0], parts[-1]
        if kind == "repository":
            table, named = self._of_repository, len(parts) == 4 and parts[1] == "models"
            name = parts[2] if named else ""
        else:
            table = self._of_regions
            named = len(parts) == 2 or (len(parts) == 4 and parts[1] == "region")
            name = parts[2] if len(parts) == 4 else ""
        if not named or last not in table:
            raise _nothing(request)
        method, act = table[last]
        if not _allows(request, method):
            return
        if kind == "cudasharedmemory":
            if last == "register":
                raise Refusal(Fault.UNIMPLEMENTED, "this server has no CUDA memory to share")
            _tell(request, [] if last == "status" else None)
        else:
            act(request, name)

    # the server

    def _metadata(self, request: Request) -> None:
        _tell(request, {"name": NAME, "version": self._service.version, "extensions": EXTENSIONS})

    def _model(self, request: Request, asked: Asked) -> None:
        spec = self._service.find(*asked).model.spec
        rows = (-1,) if spec.max_batch else ()

        def told(one: Spec) -> dict[str, Any]:
            return {"name": one.name, "datatype": one.datatype, "shape": (*rows, *one.shape)}

        _tell(
            request,
            {
                "name": spec.name,
                "versions": sorted(self._service.models[spec.name]),
                "platform": spec.platform,
                "inputs": [told(one) for one in spec.inputs],
                "outputs": [told(one) for one in spec.outputs],
            },
        )

    def _model_ready(self, request: Request, asked: Asked) -> None:
        try:
            self._service.find(*asked)
        except Refusal:
            _ready(request, False)
        else:
            _ready(request, True)

    def _config(self, request: Request, asked: Asked) -> None:
        self._service.find(*asked)
        _tell(request, dict(self._needed().config_of(*asked)))

    def _statistics(self, request: Request, asked: Asked) -> None:
        if not asked.name:
            found = list(self._service.every())
        elif asked.version:
            found = [self._service.find(*asked)]
        else:
            self._service.find(asked.name)
            found = list(self._service.models[asked.name].values())
        _tell(request, {"model_stats": [_statistics_of(one) for one in found]})

    # the repository

    def _needed(self) -> Repository:
        if self._repository is None:
            raise Refusal(Fault.UNIMPLEMENTED, "this server has no model repository")
        return self._repository

    def _index(self, request: Request) -> None:
        only_ready = document(request.body).get("ready", False) is True
        found = self._needed().index()
        _tell(request, [dict(one) for one in found if not only_ready or one.get("state") == "READY"])

    def _load(self, request: Request, name: str) -> None:
        parameters = _parameters(request)
        config = parameters.get("config")
        if config is not None and not isinstance(config, str):
            raise Refusal(Fault.INVALID, "the body.parameters.config has to be a string that holds JSON")
        if any(one.startswith("file:") for one in parameters):
            raise Refusal(
                Fault.UNIMPLEMENTED, "models are not taken from requests: put them into the repository"
            )
        self._later(request, self._needed().load(name, config))

    def _unload(self, request: Request, name: str) -> None:
        dependents = _parameters(request).get("unload_dependents", False)
        self._later(request, self._needed().unload(name, dependents is True))

    def _later(self, request: Request, awaited: Awaitable[None]) -> None:
        """Answer when it is done."""

        async def wait() -> None:
            try:
                await awaited
            except Refusal as refusal:
                request.fail(refusal.fault.http, str(refusal))
            except TamisError as error:
                request.fail(Fault.INVALID.http, str(error))
            else:
                request.answer(200, (), ())
            finally:
                request.fail(Fault.INTERNAL.http, "the server failed at this")  # unless it was answered

        task = self._service.loop.create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # shared memory

    def _regions(self) -> Shared:
        if self._shared is None:
            raise Refusal(Fault.UNIMPLEMENTED, "this server has no shared memory")
        return self._shared

    def _region_status(self, request: Request, name: str) -> None:
        _tell(request, self._regions().status(name))

    def _register(self, request: Request, name: str) -> None:
        if not name:
            raise _nothing(request)
        body = document(request.body)
        key = read_field(body, "key", str, "the body")
        offset = read_field(body, "offset", int, "the body", 0)
        size = read_field(body, "byte_size", int, "the body")
        if offset < 0 or size < 0:
            raise Refusal(
                Fault.INVALID, f"offset and byte_size are {offset} and {size}; neither may be negative"
            )
        self._regions().register(name, key, offset, size)
        request.answer(200, (), ())

    def _unregister(self, request: Request, name: str) -> None:
        self._regions().unregister(name)
        request.answer(200, (), ())


def _path_of(target: str) -> str:
    """Return the path of a target that names the server, too, as a proxy may send it."""
    try:
        return urlsplit(target).path
    except ValueError:
        return ""


def _nothing(request: Request) -> Refusal:
    return Refusal(Fault.NOT_FOUND, f"there is nothing at {request.target[:200]}")


def _allows(request: Request, method: str) -> bool:
    """Tell whether a request has the method that it needs; answer it where it has not."""
    if request.method == method or (request.method == "HEAD" and method == "GET"):
        return True
    allowed = "GET, HEAD" if method == "GET" else method
    told = f"{request.target[:200]} is asked with {allowed}, not {request.method}"
    request.fail(405, told, ((b"allow", allowed.encode()),))
    return False


def _ready(request: Request, is_ready: bool) -> None:
    request.answer(200 if is_ready else 400, (), ())


def _tell(request: Request, found: Any) -> None:
    request.answer(200, (JSON,), () if found is None else (json.dumps(found).encode(),))


def _parameters(request: Request) -> dict[str, Parameter]:
    return parameters_in(document(request.body), "the body")


def _duration(one: Duration) -> dict[str, int]:
    return {"count": one.count, "ns": one.total_ns}


def _statistics_of(loaded: Loaded) -> dict[str, Any]:
    spec, kept = loaded.model.spec, loaded.statistics
    nothing = {"count": 0, "ns": 0}
    return {
        "name": spec.name,
        "version": spec.version,
        "last_inference": kept.last_ms,
        "inference_count": kept.inferences,
        "execution_count": kept.executions,
        "inference_stats": {
            "success": _duration(kept.success),
            "fail": _duration(kept.failure),
            "queue": _duration(kept.queue),
            "compute_input": _duration(kept.input),
            "compute_infer": _duration(kept.infer),
            "compute_output": _duration(kept.output),
            "cache_hit": nothing,
            "cache_miss": nothing,
        },
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _duration(entry),
                "compute_infer": _duration(infer),
                "compute_output": _duration(output),
            }
            for rows, (entry, infer, output) in sorted(kept.batches.items())
        ],
        "memory_usage": [],
        "response_stats": {},
    }
