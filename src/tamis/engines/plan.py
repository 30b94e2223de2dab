"""The engine plan of a bundle for a host: the engine for each batch size, and the measurements behind the choice."""

from __future__ import annotations

import hashlib
from typing import Literal

from tamis._base import DataError, Document, Host, host_facts, parse_document
from tamis.bundle import Bundle

Objective = Literal["warm", "cold"]


class Measured(Document):
    """One engine at one batch size: medians of calls, and the spread of its blocks."""

    batch: int
    engine: str
    chunk: int | None = None  # events at a time, where the engine is given pieces
    warm_ns: float
    noise: float  # half the distance between the quartiles of its blocks, relative
    cold_ns: float | None = None  # with evicted caches
    peak_bytes: int | None = None  # of a process that does this alone

    @property
    def name(self) -> str:
        """Return the engine, and its pieces."""
        return self.engine if self.chunk is None else f"{self.engine} in {self.chunk}s"


class Choice(Document):
    """What does a batch size, and why."""

    batch: int
    engine: str
    chunk: int | None = None
    why: str


class EnginePlan(Document):
    """Choices for the batch sizes that were measured; those between go with the next one that was."""

    kind: Literal["engine-plan"] = "engine-plan"
    created: str
    host: Host
    model: str  # checksum
    objective: Objective
    memory_bytes: int | None = None  # the ceiling, where there was one
    choices: tuple[Choice, ...]
    measured: tuple[Measured, ...]
    refused: tuple[str, ...] = ()

    def ranked(self, batch: int) -> list[Measured]:
        """Return what was measured at a batch size, fastest first."""
        return sorted((one for one in self.measured if one.batch == batch), key=self.price)

    def price(self, one: Measured) -> float:
        """Return what counts of a measurement."""
        return one.cold_ns if self.objective == "cold" and one.cold_ns is not None else one.warm_ns


def fingerprint(host: Host | None = None) -> str:
    """Return a 12-digit hash of the host's processor, instruction sets and cache size: what a plan depends on."""
    facts = host or host_facts()
    parts = (facts.cpu, *sorted(facts.instruction_sets), str(facts.largest_cache_bytes))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:12]


def plan_name(host: Host | None = None) -> str:
    """Return the file name of a host's plan in a bundle."""
    return f"plan-{fingerprint(host)}.json"


def read_plan(bundle: Bundle) -> EnginePlan | None:
    """Return the plan for this host, or None if the bundle has none or its model has changed since."""
    name = plan_name()
    if name not in bundle.manifest.files:
        return None
    plan = parse_document(bundle.text(name), EnginePlan, f"{bundle.path / name}")
    if not plan.choices:
        raise DataError(f"{bundle.path / name}: field choices is empty; run `tamis tune` again")
    return plan if plan.model == bundle.manifest.files["model.onnx"].sha256 else None


def other_plans(bundle: Bundle) -> list[str]:
    """Return the file names of the plans for other hosts in a bundle."""
    return [name for name in bundle.manifest.files if name.startswith("plan-") and name != plan_name()]
