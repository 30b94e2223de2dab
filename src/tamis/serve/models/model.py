"""A model as the service sees it: typed inputs and outputs, a batch dimension or none, and instances that run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tamis._base import TamisError
from tamis.engines import DEFAULT_ENGINE
from tamis.serve.batching import Batching, SequencePolicy
from tamis.serve.protocol.messages import Fault, Refusal, RequestedOutput
from tamis.serve.protocol.tensors import dtype_of

Run = Callable[[list[Any]], Sequence[np.ndarray]]  # takes None for a missing optional input
INLINE_NS = 1_000_000  # a model whose call of one row takes less runs in the event loop's thread
TIMED_CALLS = 5  # of which the fastest counts
FAILURES = (  # what opening or running a model may raise; reported to the client
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
class OpeningSettings:
    """How the command line says that models run; None leaves it to a model's own configuration."""

    engine: str = DEFAULT_ENGINE
    instances: int | None = None
    threads: int | None = None
    dims: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # sizes that are compiled ahead
    torch_libraries: tuple[Path, ...] = ()  # of operators that TorchScript models need
    max_sequences: int | None = None  # of one model; 0: states are inputs and outputs only
    sequence_idle_us: int | None = None


@dataclass(frozen=True)
class Spec:
    """An input or output; the shape is without the batch dimension, -1 for a free size."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False
    labels: tuple[str, ...] = ()  # of an output's elements, for the classification extension


@dataclass(frozen=True)
class ModelSpec:
    """The interface of a model, and how its requests are batched."""

    name: str
    version: str
    platform: str
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    max_batch: int = 0  # rows; 0: no batch dimension
    batching: Batching | None = None  # None: each request runs alone
    # How it runs, for people: engine, verified, ignored (settings), off (features) and others; empty ones are left out.
    facts: Mapping[str, str] = field(default_factory=dict)
    sequences: SequencePolicy | None = None  # None: no states are kept

    @property
    def described_inputs(self) -> tuple[Spec, ...]:
        """Return the inputs in the model's metadata; as in Triton, states that the server keeps are not among them."""
        kept = self.sequences.states if self.sequences is not None else {}
        return tuple(spec for spec in self.inputs if spec.name not in kept)

    @property
    def described_outputs(self) -> tuple[Spec, ...]:
        """Return the outputs in the model's metadata, without the states."""
        kept = set(self.sequences.states.values()) if self.sequences is not None else set()
        return tuple(spec for spec in self.outputs if spec.name not in kept)

    def rows_of(self, inputs: Mapping[str, np.ndarray]) -> int:
        """Check the inputs of a request; return its number of rows, 1 without a batch dimension."""
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
            if (
                (self.max_batch and not array.ndim)
                or len(shape) != len(spec.shape)
                or not all(free in (-1, size) for size, free in zip(shape, spec.shape, strict=True))
            ):
                expected = [-1, *spec.shape] if self.max_batch else list(spec.shape)
                raise Refusal(
                    Fault.INVALID,
                    f"the input {spec.name!r} of {self.name!r} has the shape {expected}; the request has {list(array.shape)}",
                )
            if self.max_batch:
                if rows not in {-1, len(array)}:
                    raise Refusal(
                        Fault.INVALID,
                        f"the inputs for {self.name!r} differ in their first dimension: {rows} and {len(array)}",
                    )
                rows = len(array)
        if self.max_batch and rows < 0:
            raise Refusal(Fault.INVALID, f"the request for {self.name!r} has no inputs")
        if rows > self.max_batch:
            raise Refusal(
                Fault.INVALID,
                f"the batch of {rows} rows is too large for {self.name!r}: at most {self.max_batch}",
            )
        return max(rows, 1) if not self.max_batch else rows

    def _refuse_names(self, inputs: Mapping[str, np.ndarray]) -> None:
        known = [spec.name for spec in self.inputs]
        unknown = [name for name in inputs if name not in known]
        missing = [name for name in known if name not in inputs]
        problem = (
            f"the model {self.name!r} has no input {unknown[0]!r}"
            if unknown
            else f"the request for {self.name!r} lacks the input {missing[0]!r}"
        )
        if not unknown and self.sequences is not None:
            problem += f"; pass sequence_id, and sequence_start in the first request, to let the server keep {', '.join(self.sequences.states)}"
        raise Refusal(Fault.INVALID, f"{problem}; the inputs are {', '.join(known)}")

    def output_indices(self, requested: Sequence[RequestedOutput]) -> tuple[int, ...]:
        """Return the indices of the requested outputs; all of them if none is named."""
        if not requested:
            return tuple(range(len(self.outputs)))
        indices = {spec.name: index for index, spec in enumerate(self.outputs)}
        for one in requested:
            if one.name not in indices:
                raise Refusal(
                    Fault.INVALID,
                    f"the model {self.name!r} has no output {one.name!r}; the outputs are {', '.join(indices)}",
                )
        return tuple(indices[one.name] for one in requested)


@dataclass
class Model:
    """A model that is ready to run; each instance runs one batch at a time."""

    spec: ModelSpec
    instances: list[Run]
    close: Callable[[], None] = lambda: None
    quick: bool = False  # handing a call to a thread would take longer than the call
    config: Any = None  # the ModelConfig that it was opened with, if any
    free_dims: frozenset[str] = frozenset()  # names of free dimensions, whose sizes can be compiled ahead
