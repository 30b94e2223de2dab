"""Trigger rates of a menu, and two runs compared."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tamis._base import Document, Host, quantity


class Rate(Document):
    """A rate and its statistical error."""

    hz: float
    error_hz: float
    events: int = Field(description="number of simulated events that pass")
    effective_events: float = Field(
        default=0.0, description="as many events of equal weight would have this relative error"
    )
    upper_hz: float | None = Field(
        default=None,
        description="95 % upper limit, where fewer than 10 effective events pass: hz is no estimate then",
    )
    unseen_hz: float = Field(
        default=0.0, description="95 % upper limit of what background samples add of which no event passes"
    )

    @property
    def text(self) -> str:
        """The rate with its error, such as `12.5 ± 2.3 kHz`; where fewer than ten effective events pass, its upper limit, such as `< 50 Hz`."""
        if self.upper_hz is not None:
            return f"< {quantity(self.upper_hz, 'Hz', digits=2)}"
        return quantity(self.hz, "Hz", self.error_hz)


class PathRate(Document):
    """The rates of one path, and the fraction of each sample that it accepts without prescale."""

    path: str
    prescale: int
    rate: Rate = Field(description="after the prescale")
    unique: Rate = Field(description="of events that no other path accepts")
    efficiency: dict[str, float]


class TunedThreshold(Document):
    """A threshold found for a target rate, with its statistical interval."""

    path: str
    stage: str | None
    point: str
    target_hz: float
    threshold: float
    low: float
    high: float
    rate: Rate
    curve: tuple[tuple[float, float, float], ...] = Field(description="(threshold, rate, error of the rate)")
    efficiency: dict[str, float] = Field(description="of each sample at this threshold")


class TurnOn(Document):
    """The efficiency of a path as a function of a quantity."""

    path: str
    quantity: str
    edges: tuple[float, ...]
    efficiency: dict[str, tuple[float, ...]]
    low: dict[str, tuple[float, ...]]
    high: dict[str, tuple[float, ...]]


class Roc(Document):
    """The efficiency of a path for each sample against its rate as its threshold varies, and at the current threshold."""

    path: str
    rate_hz: tuple[float, ...]
    efficiency: dict[str, tuple[float, ...]]
    now_hz: float
    now: dict[str, float]


class RateChange(Document):
    """Events that a path gains and loses when its model changes and its rate stays the same."""

    path: str
    threshold_before: float
    threshold: float
    rate_hz: float
    gained_hz: float
    lost_hz: float
    gained: dict[str, int]
    lost: dict[str, int]


class TriggerLevel(Document):
    """The events that are left after a level of a trigger."""

    name: str = Field(description="of the menu; `input` before the first")
    rate: Rate
    efficiency: dict[str, float] = Field(description="of each sample: the fraction that is left")


class RateRecord(Document):
    """The rates of all paths and streams of a menu."""

    kind: Literal["rates"] = "rates"
    created: str
    host: Host
    menu: str
    input_hz: float
    samples: dict[str, int]
    kinds: dict[str, str] = Field(description="background or signal, by sample")
    paths: tuple[PathRate, ...]
    total: Rate
    streams: dict[str, Rate]
    debug: Rate
    overlap_hz: tuple[tuple[float, ...], ...]
    correlation: tuple[tuple[float, ...], ...]
    tuned: tuple[TunedThreshold, ...] = ()
    turn_ons: tuple[TurnOn, ...] = ()
    rocs: tuple[Roc, ...] = ()
    before: str | None = Field(default=None, description="the menu that this one is compared with")
    changed: tuple[RateChange, ...] = ()
    levels: tuple[TriggerLevel, ...] = Field(
        default=(), description="of a chain of menus, whose last is this one: the input, and what each leaves"
    )


class PathChange(Document):
    """One path in two runs; some of the events that changed are listed as run:block:event."""

    path: str
    before: int
    after: int
    both: int
    gained: int
    lost: int
    gained_events: tuple[str, ...] = ()
    lost_events: tuple[str, ...] = ()


class RunComparison(Document):
    """Two runs over the same events, side by side."""

    events: int
    only_before: int
    only_after: int
    paths: tuple[PathChange, ...]
    only_paths: dict[str, tuple[str, ...]]
    outcomes: dict[str, int] = Field(
        description='events by change of outcome, such as "accepted -> rejected"'
    )
    us_per_event: dict[str, tuple[float | None, float | None]]
