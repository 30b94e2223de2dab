"""The service, whichever way requests come: models that are loaded, and what is asked of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import tamis
from tamis._base import did_you_mean
from tamis.serve.models.model import Model
from tamis.serve.models.scheduler import Scheduler
from tamis.serve.models.statistics import Statistics
from tamis.serve.protocol.messages import Fault, InferRequest, Refusal
from tamis.serve.request_log import RequestLog

NAME = "tamis"
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
    "system_shared_memory",
)


@dataclass
class Loaded:
    """A version of a model that answers."""

    model: Model
    scheduler: Scheduler

    @property
    def statistics(self) -> Statistics:
        """Return what it has done so far."""
        return self.scheduler.statistics.flush()


@dataclass
class Service:
    """All models that are loaded, by name and version."""

    loop: asyncio.AbstractEventLoop
    models: dict[str, dict[str, Loaded]] = field(default_factory=dict)
    ready: bool = False
    generation: int = 0  # counts up when other models answer than before
    version: str = tamis.__version__
    log: RequestLog | None = None

    def add(self, model: Model) -> None:
        """Let a model answer."""
        self.generation += 1
        self.models.setdefault(model.spec.name, {})[model.spec.version] = self._loaded(model)

    def _loaded(self, model: Model) -> Loaded:
        return Loaded(model, Scheduler(model, self.loop, Statistics(), self.log))

    def replace(self, name: str, models: Sequence[Model]) -> list[Loaded]:
        """Let these versions answer instead of all of that name; return those that answered before."""
        self.generation += 1
        before = self.models.pop(name, {})
        if models:
            self.models[name] = {model.spec.version: self._loaded(model) for model in models}
        return list(before.values())

    def find(self, name: str, version: str = "") -> Loaded:
        """Return a version of a model, the newest where none is asked for."""
        versions = self.models.get(name)
        if not versions:
            hint = did_you_mean(name, list(self.models))
            raise Refusal(Fault.NOT_FOUND, f"there is no model {name[:200]!r}; {hint}".rstrip("; "))
        if not version:
            return versions[max(versions, key=_number)]
        if version not in versions:
            raise Refusal(
                Fault.NOT_FOUND,
                f"the model {name!r} has no version {version[:40]!r}; it has {', '.join(sorted(versions, key=_number))}",
            )
        return versions[version]

    def infer(self, asking: InferRequest) -> None:
        """Take a request; raise Refusal where it is refused at once."""
        loaded = self.find(asking.model, asking.version)
        loaded.model.spec.output_indices(asking.outputs)
        loaded.scheduler.submit(asking)

    def note_refused(self, request_id: str, refusal: Refusal) -> None:
        """Note a request that no model has heard of."""
        if self.log is not None:
            self.log.refused(request_id, "", str(refusal))

    def every(self) -> Iterator[Loaded]:
        """Return all that is loaded."""
        for versions in self.models.values():
            yield from versions.values()


def _number(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdigit() else (-1, version)
