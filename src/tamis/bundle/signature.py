"""What goes into a model and what comes out of it."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from tamis._base import Document, InputMismatchError, UsageError, did_you_mean

BATCH = ""  # the key of the number of events among the sizes; no dimension can be named so
Dimension = Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)]

DTYPES = (
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
    """Return the array laid out in C order; unlike numpy's own function, a scalar stays one."""
    return np.asarray(array, order="C")


class Tensor(Document):
    """One input or output: a free dimension has a name (`N`), a fixed one a number."""

    name: str
    shape: tuple[Dimension, ...]
    dtype: Annotated[str, Field(pattern="^(" + "|".join(DTYPES) + ")$")] = "float32"
    units: str = ""
    description: str = ""

    def concrete(self, sizes: dict[str, int]) -> tuple[int, ...]:
        """Return the shape with its free dimensions filled in."""
        return tuple(d if isinstance(d, int) else sizes[d] for d in self.shape)

    def __str__(self) -> str:
        """Return `name: dtype[dims]`."""
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


class Input(Tensor):
    """An input, and the name of the feature builder that makes it from events, where there is one."""

    feature: str | None = None


class Tolerance(Document):
    """An output agrees where |value - golden| <= absolute + relative * |golden|."""

    absolute: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-5
    relative: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-4


class Output(Tensor):
    """An output and how closely an engine has to reproduce it."""

    tolerance: Tolerance = Tolerance()


class Signature(Document):
    """The inputs and outputs of a model, and whether its rows are independent events."""

    inputs: Annotated[tuple[Input, ...], Field(min_length=1)]
    outputs: Annotated[tuple[Output, ...], Field(min_length=1)]
    rows: Annotated[
        str,
        Field(
            pattern="^(free|fixed|none)$",
            description="the leading dimension: free, fixed, or no batch at all",
        ),
    ] = "free"

    @model_validator(mode="after")
    def _is_sound(self) -> Signature:
        for specs in (self.inputs, self.outputs):
            names = [spec.name for spec in specs]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"two of the same kind are called {twice!r}")
        if self.rows != "none":
            bare = next((spec.name for spec in self.inputs if not spec.shape), None)
            if bare is not None:
                raise ValueError(f"{bare!r} has no dimensions, so rows cannot be {self.rows!r}")
        if self.rows == "fixed" and (
            len({spec.shape[0] for spec in self.inputs}) > 1 or not self.fixed_batch
        ):
            raise ValueError("with rows 'fixed' all inputs begin with the same number")
        return self

    @property
    def fixed_batch(self) -> int | None:
        """Return the only batch size that the graph takes, if there is one."""
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
        for axis, (want, got) in enumerate(zip(spec.shape, array.shape, strict=True)):
            if axis == 0 and self.rows != "none":
                self._check_batch(spec, got, sizes)
                continue
            expected = want if isinstance(want, int) else sizes.setdefault(want, got)
            if got != expected:
                why = f"as in {spec}" if isinstance(want, int) else f"as {want!r} is in the inputs before it"
                raise InputMismatchError(
                    f"the input {spec.name!r} has the shape {array.shape}: dimension {axis} is {got}, "
                    f"it has to be {expected} {why}"
                )

    def _check_batch(self, spec: Input, got: int, sizes: dict[str, int]) -> None:
        expected = sizes.setdefault(BATCH, got)
        if got != expected:
            raise InputMismatchError(
                f"the input {spec.name!r} holds {got} events, the inputs before it hold {expected}: give all inputs the same events"
            )
        step = self.fixed_batch
        if step and got % step:
            raise InputMismatchError(
                f"the input {spec.name!r} holds {got} events; the graph was exported for {step} at a time: give a multiple of {step}"
            )
        if isinstance(spec.shape[0], str):
            sizes[spec.shape[0]] = got

    def describe_inputs(self) -> str:
        """Return the inputs as one line."""
        return "; ".join(str(spec) for spec in self.inputs)

    def output(self, name: str) -> Output:
        """Return one output, or name the near misses."""
        for spec in self.outputs:
            if spec.name == name:
                return spec
        hint = did_you_mean(name, [spec.name for spec in self.outputs])
        raise UsageError(f"the model has no output {name!r}; {hint}".rstrip("; "))
