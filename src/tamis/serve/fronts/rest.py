"""The KServe v2 REST API, with Triton's extensions."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from tamis._base import TamisError
from tamis.serve.fronts.fixed_settings import LOG_SETTINGS, TRACE_SETTINGS, check_update
from tamis.serve.fronts.rest_infer import RestInfer
from tamis.serve.models.model import Spec
from tamis.serve.models.overrides import FILE_PARAMETER, LoadOverride, load_override
from tamis.serve.models.statistics import Duration
from tamis.serve.protocol.json_infer import document, parameters_in, read_field
from tamis.serve.protocol.messages import BoundedCache, Fault, Parameter, Refusal
from tamis.serve.protocol.regions import Regions
from tamis.serve.service import EXTENSIONS, Loaded, Service
from tamis.serve.wire.http1 import JSON, HttpRequest


class ModelControl(Protocol):
    """Loads and unloads models for REST; methods raise Refusal for an error of the client."""

    def index(self) -> Sequence[Mapping[str, str]]:
        """Return name, version, state and reason of every model."""

    def load(self, name: str, sent: LoadOverride | None) -> Awaitable[None]:
        """Load or reload a model; `sent` replaces the model's own configuration and files."""

    def unload(self, name: str, dependents: bool) -> Awaitable[None]:
        """Unload a model."""

    def config_of(self, name: str, version: str) -> Mapping[str, Any]:
        """Return a model's configuration."""

    def labels_of(self, name: str, version: str) -> Mapping[str, Sequence[str]]:
        """Return the class labels of the outputs that have some."""


class SharedRegions(Regions, Protocol):
    """Registers regions of shared memory as well as reading and writing them."""

    def status(self, name: str) -> list[dict[str, Any]]:
        """Return one region, or all if the name is empty."""

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Register a region."""

    def unregister(self, name: str) -> None:
        """Unregister a region, or all if the name is empty."""


class ModelPath(NamedTuple):
    """Model and version in the path of a request; the version may be empty."""

    name: str
    version: str


def is_probe(target: str) -> bool:
    """Return whether a target asks if the server is alive or ready, which needs no token."""
    return target.partition("?")[0].rstrip("/") in ("/v2/health/live", "/v2/health/ready")


def rest_handler(
    service: Service, models: ModelControl | None = None, shared: SharedRegions | None = None
) -> Callable[[HttpRequest], None]:
    """Return the handler of REST requests."""
    return _Rest(service, models, shared).handle


class _Rest:
    def __init__(self, service: Service, models: ModelControl | None, shared: SharedRegions | None) -> None:
        self._service, self._models, self._shared = service, models, shared
        labels = models.labels_of if models is not None else lambda *_: {}
        self._infer = RestInfer(service, shared, labels)
        self._infer_paths: BoundedCache[str, ModelPath] = (
            BoundedCache()
        )  # targets of earlier requests, parsed
        self._tasks: set[asyncio.Task[None]] = set()
        self._server_routes: dict[str, tuple[str, Callable[[HttpRequest], None]]] = {
            "health/live": ("GET", lambda request: _respond_json(request, {"live": True})),
            "health/ready": ("GET", self._ready),
            "": ("GET", self._metadata),
            "models/stats": ("GET", lambda request: self._statistics(request, ModelPath("", ""))),
            "repository/index": ("POST", self._index),
        }
        self._model_routes: dict[str, tuple[str, Callable[[HttpRequest, ModelPath], None]]] = {
            "": ("GET", self._model_metadata),
            "ready": ("GET", self._model_ready),
            "infer": ("POST", self._infer.handle),
            "config": ("GET", self._config),
            "stats": ("GET", self._statistics),
        }
        self._repository_routes: dict[str, tuple[str, Callable[[HttpRequest, str], None]]] = {
            "load": ("POST", self._load),
            "unload": ("POST", self._unload),
        }
        self._region_routes: dict[str, tuple[str, Callable[[HttpRequest, str], None]]] = {
            "status": ("GET", self._region_status),
            "register": ("POST", self._register),
            "unregister": ("POST", self._unregister),
        }

    def handle(self, request: HttpRequest) -> None:
        """Respond to a request, at once or later."""
        try:
            self._route(request)
        except Refusal as refusal:
            request.fail(refusal.fault.http, str(refusal))

    def _route(self, request: HttpRequest) -> None:
        path = self._infer_paths.get(request.target)
        if path is not None and request.method == "POST":
            self._infer.handle(request, path)
            return
        target = request.target.partition("?")[0]
        if not target.startswith("/"):
            try:  # a proxy may send the full URL
                target = urlsplit(request.target).path
            except ValueError:
                target = ""
        parts = target.rstrip("/").split("/")[1:]
        if not parts or parts[0] != "v2":
            raise _not_found(request)
        parts = [unquote(part) for part in parts[1:]] if "%" in target else parts[1:]
        route = self._server_routes.get("/".join(parts))
        if route is not None:
            method, respond = route
            if _allows(request, method):
                respond(request)
        elif parts == ["logging"] or parts[-2:] == ["trace", "setting"]:
            self._fixed_settings(request, parts)
        elif parts[0] == "models" and len(parts) > 1:
            self._route_model(request, parts)
        elif parts[0] in {"repository", "systemsharedmemory", "cudasharedmemory"}:
            self._route_other(request, parts)
        else:
            raise _not_found(request)

    def _route_model(self, request: HttpRequest, parts: list[str]) -> None:
        name, rest = parts[1], parts[2:]
        version = ""
        if len(rest) > 1 and rest[0] == "versions":
            version, rest = rest[1], rest[2:]
        route = self._model_routes.get("/".join(rest))
        if route is None or not name:
            raise _not_found(request)
        path = ModelPath(name, version)
        method, respond = route
        if not _allows(request, method):
            return
        if rest == ["infer"] and name in self._service.models:
            self._infer_paths[request.target] = path
        respond(request, path)

    def _route_other(self, request: HttpRequest, parts: list[str]) -> None:
        kind, action = parts[0], parts[-1]
        if kind == "repository":
            routes, is_valid = self._repository_routes, len(parts) == 4 and parts[1] == "models"
            name = parts[2] if is_valid else ""
        else:
            routes = self._region_routes
            is_valid = len(parts) == 2 or (len(parts) == 4 and parts[1] == "region")
            name = parts[2] if len(parts) == 4 else ""
        if not is_valid or action not in routes:
            raise _not_found(request)
        method, respond = routes[action]
        if not _allows(request, method):
            return
        if kind == "cudasharedmemory":
            if action == "register":
                raise Refusal(Fault.UNIMPLEMENTED, "this server has no CUDA shared memory")
            _respond_json(request, [] if action == "status" else None)
        else:
            respond(request, name)

    # server and models

    def _ready(self, request: HttpRequest) -> None:
        ready = self._service.ready
        body = json.dumps({"live": True, "ready": ready}).encode()  # clients of KServe read it
        request.respond(200 if ready else 400, (JSON,), (body,))

    def _metadata(self, request: HttpRequest) -> None:
        _respond_json(
            request, {"name": self._service.name, "version": self._service.version, "extensions": EXTENSIONS}
        )

    def _model_metadata(self, request: HttpRequest, path: ModelPath) -> None:
        spec = self._service.find(*path).model.spec
        rows = (-1,) if spec.max_batch else ()

        def metadata(tensor: Spec) -> dict[str, Any]:
            return {"name": tensor.name, "datatype": tensor.datatype, "shape": (*rows, *tensor.shape)}

        _respond_json(
            request,
            {
                "name": spec.name,
                "versions": sorted(self._service.models[spec.name]),
                "platform": spec.platform,
                "inputs": [metadata(tensor) for tensor in spec.described_inputs],
                "outputs": [metadata(tensor) for tensor in spec.described_outputs],
                **({"parameters": dict(spec.facts)} if spec.facts else {}),
            },
        )

    def _model_ready(self, request: HttpRequest, path: ModelPath) -> None:
        try:
            self._service.find(*path)
        except Refusal as refusal:
            request.fail(400, str(refusal))
        else:
            _respond_json(request, {"name": path.name, "ready": True})

    def _config(self, request: HttpRequest, path: ModelPath) -> None:
        self._service.find(*path)
        _respond_json(request, dict(self._model_control().config_of(*path)))

    def _statistics(self, request: HttpRequest, path: ModelPath) -> None:
        loaded = self._service.select(*path)
        _respond_json(request, {"model_stats": [_statistics_of(model) for model in loaded]})

    def _fixed_settings(self, request: HttpRequest, parts: list[str]) -> None:
        """Respond with the settings of traces or of the log, which clients can only set to what they are."""
        if len(parts) == 4 and parts[0] == "models":
            self._service.find(parts[1])
        elif len(parts) > 2:
            raise _not_found(request)
        known = LOG_SETTINGS if parts == ["logging"] else TRACE_SETTINGS
        if request.method == "POST":
            check_update(known, document(request.body))
        elif not _allows(request, "GET"):
            return
        _respond_json(request, dict(known))

    # the repository

    def _model_control(self) -> ModelControl:
        if self._models is None:
            raise Refusal(Fault.UNIMPLEMENTED, "this server has no model repository")
        return self._models

    def _index(self, request: HttpRequest) -> None:
        only_ready = document(request.body).get("ready", False) is True
        index = self._model_control().index()
        _respond_json(
            request, [dict(entry) for entry in index if not only_ready or entry.get("state") == "READY"]
        )

    def _load(self, request: HttpRequest, name: str) -> None:
        parameters = _parameters(request)
        texts: dict[str, str | bytes] = {}
        for parameter, value in parameters.items():
            if not isinstance(value, str):
                raise Refusal(Fault.INVALID, f"parameters.{parameter[:100]} must be a string")
            try:
                is_file = parameter.startswith(FILE_PARAMETER)
                texts[parameter] = base64.b64decode(value, validate=True) if is_file else value
            except ValueError as error:
                raise Refusal(
                    Fault.INVALID, f"parameters.{parameter[:100]} is not the base64 of a file: {error}"
                ) from error
        self._respond_later(request, self._model_control().load(name, load_override(texts)))

    def _unload(self, request: HttpRequest, name: str) -> None:
        dependents = _parameters(request).get("unload_dependents", False)
        self._respond_later(request, self._model_control().unload(name, dependents is True))

    def _respond_later(self, request: HttpRequest, action: Awaitable[None]) -> None:
        """Respond when an action is done."""

        async def wait() -> None:
            try:
                await action
            except Refusal as refusal:
                request.fail(refusal.fault.http, str(refusal))
            except TamisError as error:
                request.fail(Fault.INVALID.http, str(error))
            else:
                request.respond(200, (), ())
            finally:  # no effect if there is a response already
                request.fail(Fault.INTERNAL.http, "internal error; see the server's output")

        task = self._service.loop.create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # shared memory

    def _regions(self) -> SharedRegions:
        if self._shared is None:
            raise Refusal(Fault.UNIMPLEMENTED, "this server has no shared memory")
        return self._shared

    def _region_status(self, request: HttpRequest, name: str) -> None:
        _respond_json(request, self._regions().status(name))

    def _register(self, request: HttpRequest, name: str) -> None:
        if not name:
            raise _not_found(request)
        body = document(request.body)
        key = read_field(body, "key", str, "the body")
        offset = read_field(body, "offset", int, "the body", 0)
        size = read_field(body, "byte_size", int, "the body")
        if offset < 0 or size < 0:
            raise Refusal(Fault.INVALID, f"offset {offset} and byte_size {size} must not be negative")
        self._regions().register(name, key, offset, size)
        request.respond(200, (), ())

    def _unregister(self, request: HttpRequest, name: str) -> None:
        self._regions().unregister(name)
        request.respond(200, (), ())


def _not_found(request: HttpRequest) -> Refusal:
    return Refusal(Fault.NOT_FOUND, f"there is nothing at {request.target[:200]}")


def _allows(request: HttpRequest, method: str) -> bool:
    """Return whether the request has the right method; respond with 405 if not."""
    if request.method == method or (request.method == "HEAD" and method == "GET"):
        return True
    allowed = "GET, HEAD" if method == "GET" else method
    message = f"{request.target[:200]} does not support {request.method}; use {allowed}"
    request.fail(405, message, ((b"allow", allowed.encode()),))
    return False


def _respond_json(request: HttpRequest, content: Any) -> None:
    request.respond(200, (JSON,), () if content is None else (json.dumps(content).encode(),))


def _parameters(request: HttpRequest) -> dict[str, Parameter]:
    return parameters_in(document(request.body), "the body")


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.total_ns}


def _statistics_of(loaded: Loaded) -> dict[str, Any]:
    spec, statistics = loaded.model.spec, loaded.statistics
    zero = {"count": 0, "ns": 0}
    return {
        "name": spec.name,
        "version": spec.version,
        "last_inference": statistics.last_ms,
        "inference_count": statistics.inferences,
        "execution_count": statistics.executions,
        "inference_stats": {
            "success": _duration(statistics.success),
            "fail": _duration(statistics.failure),
            "queue": _duration(statistics.queue),
            "compute_input": _duration(statistics.input),
            "compute_infer": _duration(statistics.infer),
            "compute_output": _duration(statistics.output),
            "cache_hit": zero,
            "cache_miss": zero,
        },
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _duration(before),
                "compute_infer": _duration(infer),
                "compute_output": _duration(after),
            }
            for rows, (before, infer, after) in sorted(statistics.batches.items())
        ],
        "memory_usage": [],
        "response_stats": {},
    }
