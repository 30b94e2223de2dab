"""A request's place in a model's queue, and what it has in common with all requests like it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.serve.models.model import Batching, Level, ModelSpec
from tamis.serve.protocol.messages import Answer, Asking, Fault, Parameter, Refusal

Kind = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What holds for every request that says the same besides its id and its numbers: checked once."""

    rows: int
    kind: Kind  # only requests with the same inputs, of the same shapes, go together
    level: int
    chosen: tuple[int, ...]  # outputs
    limit_ns: int  # how long it may wait; 0: for ever


class Ticket(ABC):
    """A request that waits. Exactly one of `hear` and `refuse` is called, once."""

    __slots__ = ("arrays", "own_ns", "prepared", "request_id", "since_ns", "until_ns")

    def __init__(
        self, prepared: Prepared, arrays: list[Any], own_ns: int | None, request_id: str = ""
    ) -> None:
        """Keep what is needed: arrays in the order of the model's inputs, None for one that was left out."""
        self.prepared, self.arrays, self.own_ns = prepared, arrays, own_ns
        self.request_id = request_id
        self.since_ns = 0  # on the monotonic clock, as all of these
        self.until_ns: int | None = None  # how long it may wait; own_ns is what its sender says of that

    def is_cancelled(self) -> bool:
        """Tell whether nobody waits for the answer any more."""
        return False

    @abstractmethod
    def hear(self, outputs: Sequence[np.ndarray]) -> None:
        """Take all outputs of the model, this request's rows of them."""

    @abstractmethod
    def refuse(self, refusal: Refusal) -> None:
        """Take the word that there is no answer."""

    def is_over(self, now: int) -> bool:
        """Tell whether it has waited too long, or was cancelled."""
        return (self.until_ns is not None and now >= self.until_ns) or self.is_cancelled()


class AskingTicket(Ticket):
    """A request that came as a value."""

    __slots__ = ("asking", "spec")

    def __init__(self, asking: Asking, spec: ModelSpec, batching: Batching) -> None:
        """Check it."""
        kind = tuple([(name, array.shape[1:]) for name, array in asking.inputs.items()])
        prepared = prepare(
            batching, spec.rows_of(asking.inputs), kind, asking.parameters, spec.chosen(asking.wanted)
        )
        arrays = [asking.inputs.get(one.name) for one in spec.inputs]
        super().__init__(prepared, arrays, asking.deadline_ns, asking.id)
        self.asking, self.spec = asking, spec

    def is_cancelled(self) -> bool:
        """Ask whoever asked."""
        return self.asking.cancelled()

    def hear(self, outputs: Sequence[np.ndarray]) -> None:
        """Answer with the outputs that are wanted."""
        spec = self.spec
        found = {spec.outputs[i].name: outputs[i] for i in self.prepared.chosen}
        self.asking.answer(Answer(spec.name, spec.version, found))

    def refuse(self, refusal: Refusal) -> None:
        """Pass it on."""
        self.asking.refuse(refusal)


def prepare(
    batching: Batching,
    rows: int,
    kind: Kind,
    parameters: Mapping[str, Parameter],
    chosen: tuple[int, ...],
) -> Prepared:
    """Read priority and time-out; `kind` has the inputs in any order, as long as it is always the same."""
    level = _level(batching, parameters)
    return Prepared(rows, tuple(sorted(kind)), level, chosen, _limit_ns(batching.levels[level], parameters))


def _level(batching: Batching, parameters: Mapping[str, Parameter]) -> int:
    asked = parameters.get("priority", 0)
    if not isinstance(asked, int) or isinstance(asked, bool) or asked < 0:
        raise Refusal(Fault.INVALID, f"the priority is {asked!r}; it has to be a whole number")
    return asked - 1 if 1 <= asked <= len(batching.levels) else batching.default_level


def _limit_ns(rules: Level, parameters: Mapping[str, Parameter]) -> int:
    """Return how long a request may wait: what the queue says, and what it says itself, in microseconds."""
    own, limit = parameters.get("timeout"), rules.timeout_ns
    if isinstance(own, int) and own > 0 and (rules.may_shorten or not limit):
        return min(limit or own * 1000, own * 1000)
    return limit
