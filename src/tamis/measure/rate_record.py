"""What a study of rates found."""

from __future__ import annotations

from typing import Literal

from tamis._base import Document, Host


class Rate(Document):
    """A rate and its statistical error; `events` is how many simulated events it rests on."""

    hz: float
    error_hz: float
    events: int
    upper_hz: float | None = None  # at 95 % confidence, where no event passes


class PathRate(Document):
    """What one path does: with its prescale, alone, and which share of each sample it takes without prescale."""

    path: str
    prescale: int
    rate: Rate
    unique: Rate
    efficiency: dict[str, float]


class Tuned(Document):
    """A threshold for a rate, with the interval that the samples leave open."""

    path: str
    stage: str | None
    point: str
    target_hz: float
    threshold: float
    low: float
    high: float
    rate: Rate
    curve: tuple[tuple[float, float, float], ...]  # threshold, rate, error
    efficiency: dict[str, float]  # of each sample, at this threshold


class RateRecord(Document):
    """A study of rates."""

    kind: Literal["rates"] = "rates"
    created: str
    host: Host
    menu: str
    input_hz: float
    samples: dict[str, int]
    kinds: dict[str, str]  # background or signal
    paths: tuple[PathRate, ...]
    total: Rate
    streams: dict[str, Rate]
    debug: Rate
    overlap_hz: tuple[tuple[float, ...], ...]
    correlation: tuple[tuple[float, ...], ...]
    tuned: tuple[Tuned, ...] = ()
    turn_ons: tuple[TurnOn, ...] = ()
    rocs: tuple[Roc, ...] = ()
    before: str | None = None  # the menu that this one is compared with, at the same rates
    changed: tuple[Exchange, ...] = ()


class TurnOn(Document):
    """The efficiency of a path over a quantity."""

    path: str
    quantity: str
    edges: tuple[float, ...]
    efficiency: dict[str, tuple[float, ...]]
    low: dict[str, tuple[float, ...]]
    high: dict[str, tuple[float, ...]]


class Roc(Document):
    """Which share of each sample a path takes against its rate, as its threshold moves; and where it is now."""

    path: str
    rate_hz: tuple[float, ...]
    efficiency: dict[str, tuple[float, ...]]
    now_hz: float
    now: dict[str, float]


class Exchange(Document):
    """What changes on a path when a model does, at the same rate."""

    path: str
    threshold_before: float
    threshold: float
    rate_hz: float
    gained_hz: float
    lost_hz: float
    gained: dict[str, int]
    lost: dict[str, int]
