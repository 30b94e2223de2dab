"""The signature of a model: names, shapes and types of its inputs and outputs."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from tamis._base import Document, InputMismatchError, UsageError, did_you_mean

BATCH = ""  # key of the number of events in a dict of sizes; not a valid dimension name
Dimension = Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)]

TENSOR_DTYPES = (
    "float32",
    "float64",
    "float16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint64",
    "uint32",
    "uint16",
    "uint8",
    "bool",
)


def contiguous(array: np.ndarray) -> np.ndarray:
    """Return the array in C order and aligned; unlike `np.ascontiguousarray`, keeps a scalar zero-dimensional."""
    ordered = np.asarray(array, order="C")
    return ordered if ordered.flags.aligned else ordered.copy()


class Tensor(Document):
    """One input or output; a free dimension is a name (`N`), a fixed one a number."""

    name: str = Field(description="Name of the tensor in the graph.")
    shape: tuple[Dimension, ...] = Field(description="Sizes; free dimensions by name, such as `N`.")
    dtype: Annotated[
        str, Field(pattern="^(" + "|".join(TENSOR_DTYPES) + ")$", description="Type of the elements.")
    ] = "float32"
    units: str = Field(default="", description="What the values are, with units.")
    description: str = Field(default="", description="Further explanation.")

    def concrete(self, sizes: dict[str, int]) -> tuple[int, ...]:
        """Return the shape with sizes for its free dimensions."""
        return tuple(d if isinstance(d, int) else sizes[d] for d in self.shape)

    def __str__(self) -> str:
        """Return `name: dtype[dims]`."""
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


class Input(Tensor):
    """An input and, optionally, the name of the feature that computes it from events."""

    feature: str | None = Field(
        None, description="The registered feature that computes it from event columns."
    )
    columns: tuple[str, ...] = Field(
        (),
        description="Names of the columns of a table (rows, columns), such as the variables of a decision tree.",
    )


class Tolerance(Document):
    """An output agrees if |value - golden| <= absolute + relative * |golden|."""

    absolute: Annotated[float, Field(ge=0, allow_inf_nan=False, description="Absolute part.")] = 1e-5
    relative: Annotated[float, Field(ge=0, allow_inf_nan=False, description="Relative part.")] = 1e-4


class Output(Tensor):
    """An output and the tolerance that an engine has to meet."""

    tolerance: Tolerance = Field(Tolerance(), description="How far an engine may be from the golden values.")


class Signature(Document):
    """The inputs and outputs of a model, and whether its rows are independent events."""

    inputs: Annotated[tuple[Input, ...], Field(min_length=1, description="Inputs, in order.")]
    outputs: Annotated[tuple[Output, ...], Field(min_length=1, description="Outputs, in order.")]
    rows: Annotated[
        str,
        Field(
            pattern="^(free|fixed|none)$",
            description="The leading dimension: a batch of any size (free), of one size (fixed), or not a batch (none)",
        ),
    ] = "free"

    @model_validator(mode="after")
    def _is_consistent(self) -> Signature:
        for specs in (self.inputs, self.outputs):
            names = [spec.name for spec in specs]
            duplicate = next((name for name in names if names.count(name) > 1), None)
            if duplicate is not None:
                raise ValueError(f"two inputs or two outputs are called {duplicate!r}")
        if self.rows != "none":
            scalar = next((spec.name for spec in self.inputs if not spec.shape), None)
            if scalar is not None:
                raise ValueError(f"{scalar!r} has no dimensions, so rows cannot be {self.rows!r}")
        if self.rows == "fixed" and (
            len({spec.shape[0] for spec in self.inputs}) > 1 or not self.fixed_batch
        ):
            raise ValueError("with rows 'fixed', the first dimension of all inputs must be the same number")
        return self

    @property
    def fixed_batch(self) -> int | None:
        """Return the batch size of a graph with a fixed batch, else None."""
        first = self.inputs[0].shape[0] if self.rows == "fixed" else None
        return first if isinstance(first, int) else None

    def sizes(self, arrays: dict[str, np.ndarray]) -> dict[str, int]:
        """Check arrays against the inputs; return the sizes of the free dimensions."""
        unknown = sorted(set(arrays) - {spec.name for spec in self.inputs})
        if unknown:
            known = [spec.name for spec in self.inputs]
            raise InputMismatchError(
                f"the model has no input {unknown[0]!r}; {did_you_mean(unknown[0], known)}".rstrip("; ")
            )
        sizes: dict[str, int] = {}
        for spec in self.inputs:
            if spec.name not in arrays:
                raise InputMismatchError(
                    f"the input {spec.name!r} is missing; the model takes {self.describe_inputs()}"
                )
            self._check(spec, arrays[spec.name], sizes)
        return sizes

    def _check(self, spec: Input, array: np.ndarray, sizes: dict[str, int]) -> None:
        if array.dtype != np.dtype(spec.dtype):
            raise InputMismatchError(
                f"the input {spec.name!r} is {array.dtype.str if not array.dtype.isnative else array.dtype}, "
                f"the model takes {spec.dtype}: pass {spec.name}.astype({spec.dtype!r}) if the values allow it"
            )
        if array.ndim != len(spec.shape):
            raise InputMismatchError(
                f"the input {spec.name!r} has the shape {array.shape}, the model takes {spec}: "
                f"{len(spec.shape)} dimensions, not {array.ndim}"
            )
        for axis, (declared, size) in enumerate(zip(spec.shape, array.shape, strict=True)):
            if axis == 0 and self.rows != "none":
                self._check_batch(spec, size, sizes)
                continue
            expected = declared if isinstance(declared, int) else sizes.setdefault(declared, size)
            if size != expected:
                why = (
                    f"as in {spec}"
                    if isinstance(declared, int)
                    else f"like {declared!r} in the previous inputs"
                )
                raise InputMismatchError(
                    f"the input {spec.name!r} has the shape {array.shape}: dimension {axis} is {size}, "
                    f"expected {expected} {why}"
                )

    def _check_batch(self, spec: Input, events: int, sizes: dict[str, int]) -> None:
        expected = sizes.setdefault(BATCH, events)
        if events != expected:
            raise InputMismatchError(
                f"the input {spec.name!r} holds {events} events, the inputs before it hold {expected}: pass the same events to all inputs"
            )
        step = self.fixed_batch
        if step and events % step:
            raise InputMismatchError(
                f"the input {spec.name!r} holds {events} events; the graph was exported for batches of {step}: pass a multiple of {step}"
            )
        if isinstance(spec.shape[0], str):
            sizes[spec.shape[0]] = events

    def describe_inputs(self) -> str:
        """Return the inputs as one line."""
        return "; ".join(str(spec) for spec in self.inputs)

    def output(self, name: str) -> Output:
        """Return an output by name; an unknown name raises UsageError with close matches."""
        for spec in self.outputs:
            if spec.name == name:
                return spec
        hint = did_you_mean(name, [spec.name for spec in self.outputs])
        raise UsageError(f"the model has no output {name!r}; {hint}".rstrip("; "))
