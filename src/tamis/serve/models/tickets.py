"""A queued request, and what it shares with every request of the same header."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.serve.batching import Batching
from tamis.serve.models.model import ModelSpec
from tamis.serve.protocol.messages import Answer, Fault, InferRequest, Parameter, Refusal

InputShapes = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is checked once for all requests that differ only in their id and their data."""

    rows: int
    shapes: InputShapes  # names and shapes of the inputs: only requests with equal ones run together
    priority: int  # index into the priorities of the model's batching
    output_indices: tuple[int, ...]  # indices of the requested outputs
    timeout_ns: int  # longest time in the queue; 0: no limit


class Ticket(ABC):
    """A queued request. Exactly one of `answer` and `refuse` is called, once. All times are on the monotonic clock."""

    __slots__ = (
        "arrays",
        "deadline_ns",
        "expires_ns",
        "prepared",
        "queued_ns",
        "request_id",
        "wait_until_ns",
    )

    def __init__(
        self, prepared: Prepared, arrays: list[Any], deadline_ns: int | None, request_id: str = ""
    ) -> None:
        """Take the inputs in the order of the model's, None for a missing optional one."""
        self.prepared, self.arrays, self.request_id = prepared, arrays, request_id
        self.deadline_ns = deadline_ns  # the client's own
        self.expires_ns: int | None = None  # as `expires` says, once it is queued
        self.queued_ns = 0
        self.wait_until_ns: float = 0  # how long it may wait for others to join its batch

    def is_cancelled(self) -> bool:
        """Return whether the client no longer waits for the answer."""
        return False

    @abstractmethod
    def answer(self, outputs: Sequence[np.ndarray]) -> None:
        """Send the answer; `outputs` holds this request's rows of every output of the model."""

    @abstractmethod
    def refuse(self, refusal: Refusal) -> None:
        """Send an error instead of an answer."""

    def drop(self) -> None:  # noqa: B027 - optional
        """Note that it was cancelled, and is not computed."""

    def expires(self) -> int | None:
        """Return until when it may wait: the earlier of the client's deadline and the queue timeout since its arrival."""
        deadline_ns, timeout_ns = self.deadline_ns, self.prepared.timeout_ns
        if timeout_ns and (deadline_ns is None or self.queued_ns + timeout_ns < deadline_ns):
            return self.queued_ns + timeout_ns
        return deadline_ns

    def is_dead(self, now_ns: int) -> bool:
        """Return whether it has expired or was cancelled."""
        return (self.expires_ns is not None and now_ns >= self.expires_ns) or self.is_cancelled()


class RequestTicket(Ticket):
    """A queued `InferRequest`."""

    __slots__ = ("request", "spec")

    def __init__(self, request: InferRequest, spec: ModelSpec, batching: Batching) -> None:
        """Check the request; raise Refusal where the model does not take it."""
        shapes = tuple([(name, array.shape[1:]) for name, array in request.inputs.items()])
        prepared = prepare(
            batching,
            spec.rows_of(request.inputs),
            shapes,
            request.parameters,
            spec.output_indices(request.outputs),
        )
        self._assign(request, spec, prepared)

    def _assign(self, request: InferRequest, spec: ModelSpec, prepared: Prepared) -> None:
        arrays = [request.inputs.get(one.name) for one in spec.inputs]
        Ticket.__init__(self, prepared, arrays, request.deadline_ns, request.id)
        self.request, self.spec = request, spec

    def is_cancelled(self) -> bool:
        """Return whether the client no longer waits for the answer."""
        return self.request.cancelled()

    def answer(self, outputs: Sequence[np.ndarray]) -> None:
        """Answer with the requested outputs."""
        spec = self.spec
        requested = {spec.outputs[i].name: outputs[i] for i in self.prepared.output_indices}
        self.request.answer(Answer(spec.name, spec.version, requested))

    def refuse(self, refusal: Refusal) -> None:
        """Send an error instead of an answer."""
        self.request.refuse(refusal)


def prepare(
    batching: Batching,
    rows: int,
    shapes: InputShapes,
    parameters: Mapping[str, Parameter],
    output_indices: tuple[int, ...],
) -> Prepared:
    """Read priority and timeout from a request's parameters; `shapes` may be in any order."""
    priority = parameters.get("priority", 0)
    if not isinstance(priority, int) or isinstance(priority, bool) or priority < 0:
        raise Refusal(Fault.INVALID, f"the priority is {priority!r}; it must be an integer from 0")
    index = batching.priority_of(priority)
    timeout_us = parameters.get("timeout")
    timeout_ns = batching.priorities[index].timeout_of(
        1000 * timeout_us if isinstance(timeout_us, int) else 0
    )
    return Prepared(rows, tuple(sorted(shapes)), index, output_indices, timeout_ns)
