"""What is asked and answered, whichever way it came."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

Parameter = bool | int | float | str


class Fault(Enum):
    """Why a request was not answered: its name, the status of gRPC, and of HTTP."""

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
        """Return the status of gRPC."""
        return self.value[0]

    @property
    def http(self) -> int:
        """Return the status of HTTP."""
        return self.value[1]


class Refusal(Exception):  # noqa: N818 - an answer like any other
    """A request that is answered with a fault and a sentence."""

    def __init__(self, fault: Fault, told: str) -> None:
        """Keep both."""
        super().__init__(told)
        self.fault = fault


@dataclass(slots=True)
class RequestedOutput:
    """An output that is asked for."""

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
    """What a model gave."""

    model: str
    version: str
    outputs: dict[str, np.ndarray]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
