"""What the demo did, for the first page of its report."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tamis._base import Document, Host
from tamis.records.physics import Estimate
from tamis.records.rates import Rate


class DemoSample(Document):
    """A simulated sample, and what became of its events."""

    name: str
    title: str
    kind: Literal["background", "signal"]
    description: str
    events: int
    accepted: int
    paths: dict[str, int] = Field(description="accepted events by path")


class DemoPath(Document):
    """A path of the menu, in words."""

    name: str
    description: str
    streams: tuple[str, ...] = Field(description="where its events are written")
    prescale: int


class DemoModel(Document):
    """How well a model separates one signal from background, next to the best single variable of the same jets."""

    name: str
    purpose: str
    signal: str
    measured_on: str
    auc: Estimate
    baseline: str
    baseline_auc: Estimate
    verdict: Literal["better", "equal", "worse"] = Field(description="equal: within two standard deviations")


class DemoRecord(Document):
    """Samples, decisions, times and models of one run of the demo."""

    kind: Literal["demo"] = "demo"
    created: str
    host: Host
    menu: str
    simulation: str
    budget_ms: float
    input_hz: float
    samples: tuple[DemoSample, ...]
    paths: tuple[DemoPath, ...]
    rate: Rate = Field(description="of background, all paths together, at the input rate")
    p50_ms: float = Field(description="time per event")
    p99_ms: float
    most_ms: float
    time_edges_ms: tuple[float, ...]
    time_counts: tuple[int, ...]
    models: tuple[DemoModel, ...]
    unmeasured: tuple[str, ...] = Field(
        default=(), description="models of the menu without such a measurement"
    )
