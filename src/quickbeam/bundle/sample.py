"""Sample inputs, drawn from the declared shapes where the user gives none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from quickbeam._base import InputMismatchError, UnreadableFileError, UsageError, did_you_mean
from quickbeam.bundle.signature import BATCH, Input, Signature

DEFAULT_FREE_DIMENSION = 16


def parse_dims(text: str) -> dict[str, int]:
    """Parse `N=1,n=50`."""
    dims: dict[str, int] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, number = part.partition("=")
        if not number.strip().isdigit() or not name.strip():
            raise UsageError(f"the dimension {part!r} is not of the form NAME=NUMBER, as in --dims N=1,n=50")
        dims[name.strip()] = int(number)
    return dims


def free_sizes(signature: Signature, dims: Mapping[str, int], events: int) -> dict[str, int]:
    """Choose a size for every free dimension: what was given, the number of events, or the default."""
    free = {d for spec in signature.inputs for d in spec.shape if isinstance(d, str)}
    unknown = sorted(set(dims) - free)
    if unknown:
        raise UsageError(
            f"the model has no free dimension {unknown[0]!r}; {did_you_mean(unknown[0], sorted(free))}".rstrip(
                "; "
            )
        )
    sizes = {name: dims.get(name, DEFAULT_FREE_DIMENSION) for name in free}
    step = signature.fixed_batch or 1
    sizes[BATCH] = events * step
    if signature.rows == "free":
        for spec in signature.inputs:
            sizes[str(spec.shape[0])] = events
    return sizes


def draw_inputs(
    signature: Signature, sizes: Mapping[str, int], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw inputs: standard normal floats, small whole numbers, fair booleans."""
    arrays = {}
    for spec in signature.inputs:
        shape = spec.concrete(dict(sizes))
        if signature.rows == "fixed":
            shape = (sizes[BATCH], *shape[1:])
        arrays[spec.name] = _draw(spec, shape, rng)
    return arrays


def _draw(spec: Input, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.integers(0, 4, shape).astype(dtype)


def read_samples(path: Path, signature: Signature) -> dict[str, np.ndarray]:
    """Read sample inputs from .npz (one array per input) or .npy (a model of one input)."""
    try:
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UnreadableFileError(
            f"cannot read the samples {path}: {error}; save them with numpy.savez"
        ) from error
    if isinstance(loaded, np.ndarray):
        arrays = {signature.inputs[0].name: loaded}
    else:
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    if len(arrays) == 1 == len(signature.inputs):
        arrays = {signature.inputs[0].name: next(iter(arrays.values()))}
    _cast(arrays, signature)
    sizes = signature.sizes(arrays)
    if sizes.get(BATCH) == 0:
        raise InputMismatchError(f"the samples {path} hold no events; give at least one")
    return arrays


def _cast(arrays: dict[str, np.ndarray], signature: Signature) -> None:
    """Make float64 samples the float32 that a model takes: samples are examples, not data."""
    for spec in signature.inputs:
        array = arrays.get(spec.name)
        if array is not None and array.dtype.kind == np.dtype(spec.dtype).kind == "f":
            arrays[spec.name] = array.astype(spec.dtype)


def rows_of(arrays: Mapping[str, np.ndarray], rows: Any) -> dict[str, np.ndarray]:
    """Take the same events from every array."""
    return {name: np.ascontiguousarray(array[rows]) for name, array in arrays.items()}
