"""The service behind every interface: the loaded models, and their requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import tamis
from tamis._base import did_you_mean
from tamis.serve.models.model import Model
from tamis.serve.models.scheduler import Scheduler
from tamis.serve.models.statistics import Statistics
from tamis.serve.monitored import ServiceStream
from tamis.serve.protocol.messages import Fault, InferRequest, Refusal
from tamis.serve.request_log import RequestLog

DEFAULT_SERVER_NAME = "tamis"
UNKNOWN_MODEL = "Request for unknown model:"  # clients of Triton compare the beginning
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "sequence",
    "statistics",
    "system_shared_memory",
)


@dataclass
class Loaded:
    """A loaded version of a model."""

    model: Model
    scheduler: Scheduler

    @property
    def statistics(self) -> Statistics:
        """Statistics since it was loaded."""
        return self.scheduler.statistics.flush()


@dataclass
class Service:
    """The loaded models, by name and version."""

    loop: asyncio.AbstractEventLoop
    models: dict[str, dict[str, Loaded]] = field(default_factory=dict)
    accepts: bool = False  # false until the models are opened, and while the server stops
    models_ready: Callable[[], bool] = lambda: True
    problem_of: Callable[[str], str] = lambda _: ""  # why a model could not be loaded
    generation: int = 0  # counts the changes of `models`
    name: str = DEFAULT_SERVER_NAME  # in the metadata; some clients compare it
    version: str = tamis.__version__
    log: RequestLog | None = None
    stream: ServiceStream | None = None  # for a monitor

    @property
    def ready(self) -> bool:
        """Return whether the server is ready as a whole: it recovers when a failed model is loaded again or unloaded."""
        return self.accepts and self.models_ready()

    def add(self, model: Model) -> None:
        """Add a model."""
        self.generation += 1
        self.models.setdefault(model.spec.name, {})[model.spec.version] = self._loaded(model)

    def _loaded(self, model: Model) -> Loaded:
        times = self.stream.times_of(model.spec.name) if self.stream is not None else None
        return Loaded(model, Scheduler(model, self.loop, Statistics(times), self.log))

    def replace(self, name: str, models: Sequence[Model]) -> list[Loaded]:
        """Replace all versions of a model by these; return the previous ones."""
        self.generation += 1
        before = self.models.pop(name, {})
        if models:
            self.models[name] = {model.spec.version: self._loaded(model) for model in models}
        if self.log is not None:
            for model in models:
                self.log.write(event="loaded", model=name, version=model.spec.version, **model.spec.facts)
            if before and not models:
                self.log.write(event="unloaded", model=name)
        return list(before.values())

    def find(self, name: str, version: str = "") -> Loaded:
        """Return a version of a model, by default the newest."""
        versions = self.models.get(name)
        if not versions:
            if problem := self.problem_of(name):
                raise Refusal(Fault.UNAVAILABLE, f"{UNKNOWN_MODEL} {name!r} is not available: {problem}")
            hint = did_you_mean(name, list(self.models))
            raise Refusal(
                Fault.NOT_FOUND, f"{UNKNOWN_MODEL} {name[:200]!r} is not found; {hint}".rstrip("; ")
            )
        if not version:
            return versions[max(versions, key=_version_key)]
        if version not in versions:
            available = ", ".join(sorted(versions, key=_version_key))
            if not version.isdecimal():
                raise Refusal(
                    Fault.INVALID,
                    f"failed to get model version from specified version string {version[:40]!r}; available: {available}",
                )
            raise Refusal(
                Fault.NOT_FOUND,
                f"{UNKNOWN_MODEL} {name!r} version {version[:40]} is not found; available: {available}",
            )
        return versions[version]

    def select(self, name: str = "", version: str = "") -> list[Loaded]:
        """Return a version of a model, all its versions, or all models, as far as name and version are given."""
        if not name:
            return list(self.every())
        if version:
            return [self.find(name, version)]
        self.find(name)
        return list(self.models[name].values())

    def infer(self, asking: InferRequest) -> None:
        """Submit a request; raise Refusal if it is rejected at once."""
        loaded = self.find(asking.model, asking.version)
        loaded.model.spec.output_indices(asking.outputs)
        loaded.scheduler.submit(asking)

    def note_failed_load(self, name: str, reason: str) -> None:
        """Log why a model could not be loaded."""
        if self.log is not None:
            self.log.write(event="failed to load", model=name, why=reason)

    def note_refused(self, request_id: str, refusal: Refusal) -> None:
        """Log a request that was rejected before it reached a model."""
        if self.log is not None:
            self.log.refused(request_id, "", str(refusal))

    def every(self) -> Iterator[Loaded]:
        """Yield all versions of all models."""
        for versions in self.models.values():
            yield from versions.values()


def _version_key(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdigit() else (-1, version)
