"""The engine plan of a bundle for one host: which engine runs each batch size, and the measurements behind it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tamis._base import Document, Host

Objective = Literal["warm", "cold"]


class EngineTime(Document):
    """One engine at one batch size."""

    batch: int
    engine: str
    chunk: int | None = Field(default=None, description="events per call, where the batch is split")
    warm_ns: float = Field(description="median time of a call")
    noise: float = Field(description="half the interquartile range of the block medians over their median")
    cold_ns: float | None = Field(default=None, description="median time with evicted caches")
    peak_bytes: int | None = Field(default=None, description="peak memory of a process that runs only this")

    @property
    def name(self) -> str:
        """Return the engine, with the chunk size where the batch is split."""
        return self.engine if self.chunk is None else f"{self.engine} in {self.chunk}s"


class EngineChoice(Document):
    """The engine for one batch size, and the reason."""

    batch: int
    engine: str
    chunk: int | None = None
    why: str


class EnginePlan(Document):
    """Choices at the measured batch sizes; `auto` uses the nearest one on a logarithmic scale."""

    kind: Literal["engine-plan"] = "engine-plan"
    created: str
    host: Host
    model: str = Field(description="SHA-256 of the model")
    objective: Objective
    memory_bytes: int | None = Field(default=None, description="memory limit, if one was set")
    dims: dict[str, tuple[int, ...]] = Field(
        default_factory=dict,
        description="sizes of free dimensions that engines with fixed sizes compile ahead",
    )
    choices: tuple[EngineChoice, ...]
    measured: tuple[EngineTime, ...]
    refused: tuple[str, ...] = ()

    def ranked(self, batch: int) -> list[EngineTime]:
        """Return the measurements at a batch size, fastest first."""
        return sorted((time for time in self.measured if time.batch == batch), key=self.price)

    def price(self, time: EngineTime) -> float:
        """Return the time in nanoseconds that the objective counts: cold if requested and measured, else warm."""
        return time.cold_ns if self.objective == "cold" and time.cold_ns is not None else time.warm_ns
