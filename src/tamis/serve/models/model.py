"""A model as the service sees it: typed inputs and outputs, a batch or none, and instances that run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tamis._base import TamisError
from tamis.serve.batching import Batching
from tamis.serve.protocol.messages import Fault, Refusal, RequestedOutput
from tamis.serve.protocol.tensors import dtype_of

Run = Callable[[list[Any]], Sequence[np.ndarray]]  # arrays; None for an optional input that was left out
INLINE_NS = 1_000_000  # a call of one row that takes less runs in the thread of the event loop
FAILURES = (  # whatever a model raises, also when it is opened: who asked is told
    TamisError,
    ValueError,
    RuntimeError,
    TypeError,
    MemoryError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    OSError,
)


@dataclass(frozen=True)
class Spec:
    """An input or output: its shape without the batch, -1 where it is free."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False
    labels: tuple[str, ...] = ()  # of an output's elements, for the protocol's classification


@dataclass(frozen=True)
class ModelSpec:
    """What is known of a model before it runs."""

    name: str
    version: str
    platform: str
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    max_batch: int = 0  # 0: requests have no batch
    batching: Batching | None = None  # None: every request by itself
    facts: Mapping[str, str] = field(default_factory=dict)

    def rows_of(self, inputs: Mapping[str, np.ndarray]) -> int:
        """Check a request's inputs; return how many rows it has, 1 where the model knows no batch."""
        if len(inputs) > len(self.inputs) or any(
            spec.name not in inputs and not spec.optional for spec in self.inputs
        ):
            self._refuse_names(inputs)
        rows = -1
        for spec in self.inputs:
            array = inputs.get(spec.name)
            if array is None:
                continue
            if array.dtype != dtype_of(spec.datatype):
                raise Refusal(
                    Fault.INVALID,
                    f"the input {spec.name!r} of {self.name!r} is {spec.datatype}; the request has {array.dtype}",
                )
            shape = array.shape[1:] if self.max_batch else array.shape
            if (self.max_batch and not array.ndim) or not _fits(shape, spec.shape):
                self._refuse_shape(spec, array)
            if self.max_batch:
                if rows not in {-1, len(array)}:
                    raise Refusal(
                        Fault.INVALID,
                        f"the inputs of {self.name!r} differ in their first dimension: {rows} and {len(array)}",
                    )
                rows = len(array)
        if self.max_batch and rows < 0:
            raise Refusal(Fault.INVALID, f"the request for {self.name!r} has no input at all")
        if rows > self.max_batch:
            raise Refusal(
                Fault.INVALID, f"a batch of {rows} is more than {self.name!r} takes: {self.max_batch}"
            )
        return max(rows, 1) if not self.max_batch else rows

    def _refuse_names(self, inputs: Mapping[str, np.ndarray]) -> None:
        known = [spec.name for spec in self.inputs]
        unknown = [name for name in inputs if name not in known]
        missing = [name for name in known if name not in inputs]
        told = f"has no input {unknown[0]!r}" if unknown else f"lacks the input {missing[0]!r}"
        who = f"the model {self.name!r}" if unknown else f"the request for {self.name!r}"
        raise Refusal(Fault.INVALID, f"{who} {told}; it takes {', '.join(known)}")

    def _refuse_shape(self, spec: Spec, array: np.ndarray) -> None:
        expected = [-1, *spec.shape] if self.max_batch else list(spec.shape)
        raise Refusal(
            Fault.INVALID,
            f"the input {spec.name!r} of {self.name!r} has the shape {expected}; the request has {list(array.shape)}",
        )

    def chosen(self, wanted: Sequence[RequestedOutput]) -> tuple[int, ...]:
        """Return which outputs are asked for."""
        if not wanted:
            return tuple(range(len(self.outputs)))
        places = {spec.name: index for index, spec in enumerate(self.outputs)}
        for one in wanted:
            if one.name not in places:
                raise Refusal(
                    Fault.INVALID,
                    f"the model {self.name!r} has no output {one.name!r}; it gives {', '.join(places)}",
                )
        return tuple(places[one.name] for one in wanted)


def _fits(shape: tuple[int, ...], spec: tuple[int, ...]) -> bool:
    return len(shape) == len(spec) and all(free in (-1, size) for size, free in zip(shape, spec, strict=True))


@dataclass
class Model:
    """A model that is ready: each instance is a way to run it that nobody else uses at that time."""

    spec: ModelSpec
    instances: list[Run]
    close: Callable[[], None] = lambda: None
    quick: bool = False  # so quick that handing it to a thread would cost more
    config: Any = None  # the ModelConfig that it was opened with, where it has one
