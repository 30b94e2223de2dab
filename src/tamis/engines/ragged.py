"""Ragged batches: events of different numbers of particles in one call, without padding.

Events of one size are computed together; the score of an event is bit-identical to that alone, on engines whose results do not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from tamis._base import InputMismatchError, UsageError
from tamis.bundle import Output, Signature, Tensor, inner_dims

Offsets = Mapping[str, np.ndarray]
Run = Callable[..., Mapping[str, np.ndarray]]


def run_ragged(
    signature: Signature,
    run: Run,
    offsets: np.ndarray | Offsets,
    inputs: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Return the outputs of events whose particles follow one another; event i has those from offsets[i] to below offsets[i + 1].

    An input with a free dimension has the shape of one event, with the particles of all events along it; an output likewise. An event without
    particles has NaN outputs.
    """
    bounds = _checked_offsets(signature, offsets)
    _check_inputs(signature, bounds, inputs)
    events = len(next(iter(bounds.values()))) - 1
    outputs = {spec.name: _new_output(spec, bounds, events) for spec in signature.outputs}
    for chosen, batch in _batches(signature, bounds, inputs):
        found = run(**batch)
        for spec in signature.outputs:
            _put(spec, bounds, chosen, found[spec.name], outputs[spec.name])
    return outputs


def _checked_offsets(signature: Signature, offsets: np.ndarray | Offsets) -> dict[str, np.ndarray]:
    """Return the offsets of each free dimension."""
    names = inner_dims(signature)
    if signature.rows != "free" or not names:
        raise UsageError(
            "a ragged batch needs a model with a free number of events and a free dimension within an event; "
            f"this one takes {signature.describe_inputs()}: call run"
        )
    if not isinstance(offsets, Mapping):
        if len(names) > 1:
            raise InputMismatchError(
                f"the model has the free dimensions {', '.join(names)}: pass the offsets of each by name"
            )
        offsets = {names[0]: offsets}
    if set(offsets) != set(names):
        raise InputMismatchError(f"offsets are those of {', '.join(offsets)}; expected {', '.join(names)}")
    found = {name: np.asarray(offsets[name]) for name in names}
    for name, one in found.items():
        if one.ndim != 1 or one.dtype.kind not in "iu" or len(one) < 1:
            raise InputMismatchError(
                f"the offsets of {name} have the shape {one.shape} and type {one.dtype}; expected integers, one more than there are events"
            )
        found[name] = one.astype(np.int64)
        if one[0] != 0 or (np.diff(one) < 0).any():
            raise InputMismatchError(f"the offsets of {name} must begin with 0 and never fall")
        if len(one) != len(found[names[0]]):
            raise InputMismatchError(
                f"the offsets of {name} are for {len(one) - 1} events, those of {names[0]} for {len(found[names[0]]) - 1}"
            )
    return found


def _check_inputs(
    signature: Signature, bounds: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]
) -> None:
    names = {spec.name for spec in signature.inputs}
    if set(inputs) != names:
        raise InputMismatchError(
            f"got the inputs {', '.join(inputs) or 'none'}; expected {signature.describe_inputs()}"
        )
    events = len(next(iter(bounds.values()))) - 1
    for spec in signature.inputs:
        array, axis = inputs[spec.name], _free_axis(spec)
        if not isinstance(array, np.ndarray):
            raise InputMismatchError(
                f"the input {spec.name!r} is a {type(array).__name__}; pass a numpy array"
            )
        inner = tuple(int(bounds[d][-1]) if isinstance(d, str) else d for d in spec.shape[1:])
        expected = inner if axis is not None else (events, *inner)
        if array.shape != expected or array.dtype != np.dtype(spec.dtype):
            raise InputMismatchError(
                f"the input {spec.name!r} has the shape {array.shape} and type {array.dtype}; expected {expected} and {spec.dtype}: "
                "the shape of one event, with the particles of all events along its free dimension"
            )


def _free_axis(spec: Tensor) -> int | None:
    """Return the axis within an event that is free."""
    free = [axis for axis, size in enumerate(spec.shape[1:]) if isinstance(size, str)]
    if len(free) > 1:
        raise UsageError(
            f"{spec} has several free dimensions, and cannot be part of a ragged batch: call run"
        )
    return free[0] if free else None


def _batches(
    signature: Signature, bounds: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Yield the events of each size, and their inputs as one batch; those without particles are left out."""
    sizes = np.stack([np.diff(one) for one in bounds.values()], axis=1)
    kinds, which = np.unique(sizes, axis=0, return_inverse=True)
    for number, kind in enumerate(kinds):
        if (kind == 0).any():
            continue
        chosen = np.flatnonzero(which.reshape(-1) == number)
        batch = {}
        for spec in signature.inputs:
            array, axis = inputs[spec.name], _free_axis(spec)
            if axis is None:
                batch[spec.name] = array[chosen]
                continue
            places = _places(spec, axis, bounds, chosen)
            taken = np.take(array, places.ravel(), axis)
            split = taken.reshape((*array.shape[:axis], *places.shape, *array.shape[axis + 1 :]))
            batch[spec.name] = np.ascontiguousarray(np.moveaxis(split, axis, 0))
        yield chosen, batch


def _places(spec: Tensor, axis: int, bounds: Mapping[str, np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """Return where the particles of events of one size are, (events, particles)."""
    own = bounds[str(spec.shape[1 + axis])]
    return own[chosen][:, None] + np.arange(own[chosen[0] + 1] - own[chosen[0]])


def _new_output(spec: Output, bounds: Mapping[str, np.ndarray], events: int) -> np.ndarray:
    axis, dtype = _free_axis(spec), np.dtype(spec.dtype)
    inner = tuple(int(bounds[d][-1]) if isinstance(d, str) else d for d in spec.shape[1:])
    empty = any((np.diff(one) == 0).any() for one in bounds.values())
    if axis is None and empty and dtype.kind != "f":
        raise InputMismatchError(
            f"an event has no particles, for which the output {spec.name!r} of type {spec.dtype} has no value; leave such events out"
        )
    filling = np.nan if dtype.kind == "f" else 0
    return np.full(inner if axis is not None else (events, *inner), filling, dtype)


def _put(
    spec: Output, bounds: Mapping[str, np.ndarray], chosen: np.ndarray, found: np.ndarray, output: np.ndarray
) -> None:
    """Write the results of some events into those of all."""
    axis = _free_axis(spec)
    if axis is None:
        output[chosen] = found
        return
    places = _places(spec, axis, bounds, chosen)
    moved = np.moveaxis(found, 0, axis)
    flat = moved.reshape((*output.shape[:axis], places.size, *output.shape[axis + 1 :]))
    output[(slice(None),) * axis + (places.ravel(),)] = flat
