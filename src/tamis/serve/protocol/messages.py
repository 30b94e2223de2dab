"""Requests and answers of inference, independent of the transport, and a cache for parsed messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

import numpy as np

Parameter = bool | int | float | str
K = TypeVar("K")
V = TypeVar("V")
BOUNDED_CACHE_ENTRIES = 512


class Fault(Enum):
    """Why a request failed, with its status code in gRPC and in HTTP."""

    INVALID = (3, 400)
    EXPIRED = (4, 504)
    NOT_FOUND = (5, 404)
    EXISTS = (6, 409)
    FORBIDDEN = (7, 403)
    TOO_MUCH = (8, 413)
    UNIMPLEMENTED = (12, 501)
    INTERNAL = (13, 500)
    UNAVAILABLE = (14, 503)
    UNAUTHENTICATED = (16, 401)

    @property
    def grpc(self) -> int:
        """Return the gRPC status code."""
        return self.value[0]

    @property
    def http(self) -> int:
        """Return the HTTP status code."""
        return self.value[1]


class Refusal(Exception):  # noqa: N818 - an answer like any other
    """The error that answers a request: its category and its message."""

    def __init__(self, fault: Fault, message: str) -> None:
        """Create the error."""
        super().__init__(message)
        self.fault = fault


@dataclass(slots=True)
class RequestedOutput:
    """An output that a request asks for."""

    name: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(slots=True)
class InferRequest:
    """A request for inference. Exactly one of `answer` and `refuse` is called, once."""

    model: str
    version: str
    id: str
    inputs: dict[str, np.ndarray]
    answer: Callable[[Answer], None]
    refuse: Callable[[Refusal], None]
    outputs: tuple[RequestedOutput, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    deadline_ns: int | None = None  # on the monotonic clock
    cancelled: Callable[[], bool] = lambda: False


@dataclass(slots=True)
class Answer:
    """The outputs of a model for one request."""

    model: str
    version: str
    outputs: dict[str, np.ndarray]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


class BoundedCache(dict[K, V]):
    """A dict for results that are cheap to compute again, with at most `BOUNDED_CACHE_ENTRIES` entries.

    It is cleared when full, which is cheaper per access than LRU.
    """

    def __setitem__(self, key: K, value: V) -> None:
        """Store a value."""
        if len(self) >= BOUNDED_CACHE_ENTRIES:
            self.clear()
        super().__setitem__(key, value)
