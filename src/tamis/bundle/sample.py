"""Sample inputs: read from a file, or drawn at random from the declared shapes."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tamis._base import InputMismatchError, UnreadableFileError, UsageError, did_you_mean
from tamis.bundle.signature import BATCH, Signature, contiguous

DEFAULT_FREE_DIMENSION = 16


def parse_dims(text: str) -> dict[str, int]:
    """Parse sizes of free dimensions, such as `N=1,n=50`."""
    dims: dict[str, int] = {}
    for part in filter(None, (entry.strip() for entry in text.split(","))):
        name, _, number = part.partition("=")
        if not number.strip().isdigit() or not name.strip():
            raise UsageError(f"the dimension {part!r} is not of the form NAME=NUMBER, as in --dims N=1,n=50")
        dims[name.strip()] = int(number)
    return dims


def inner_dims(signature: Signature) -> list[str]:
    """Return the names of the free dimensions within an event."""
    lead = 0 if signature.rows == "none" else 1
    found = [d for spec in signature.inputs for d in spec.shape[lead:] if isinstance(d, str)]
    return list(dict.fromkeys(found))


def free_sizes(signature: Signature, dims: Mapping[str, int], events: int) -> dict[str, int]:
    """Return a size for every free dimension: from `dims`, the number of events, or the default."""
    free = {d for spec in signature.inputs for d in spec.shape if isinstance(d, str)}
    unknown = sorted(set(dims) - free)
    if unknown:
        hint = did_you_mean(unknown[0], sorted(free))
        raise UsageError(f"the model has no free dimension {unknown[0]!r}; {hint}".rstrip("; "))
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
    """Draw inputs: standard normal floats, integers from 0 to 3, booleans with equal probability."""
    arrays = {}
    for spec in signature.inputs:
        shape = spec.concrete(dict(sizes))
        if signature.rows == "fixed":
            shape = (sizes[BATCH], *shape[1:])
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            arrays[spec.name] = rng.standard_normal(shape).astype(dtype)
        else:
            arrays[spec.name] = rng.integers(0, 2 if dtype.kind == "b" else 4, shape).astype(dtype)
    return arrays


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz file by name; the array of an .npy file is named ''."""
    try:
        with path.open("rb") as handle:  # np.load(path) leaks the file if it is damaged
            loaded = np.load(handle, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"": loaded}
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError as error:
        raise UnreadableFileError(f"cannot read the samples {path}: there is no such file") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = (
            "it holds Python objects, not arrays of numbers"
            if "pickle" in str(error)
            else getattr(error, "strerror", None) or str(error)
        )
        raise UnreadableFileError(
            f"cannot read the samples {path}: {reason}; save them with numpy.savez"
        ) from error


def read_samples(path: Path, signature: Signature) -> dict[str, np.ndarray]:
    """Read sample inputs from .npz (one array per input) or .npy (for a model with one input)."""
    return fit_samples(load_arrays(path), signature)


def fit_samples(arrays: Mapping[str, np.ndarray], signature: Signature) -> dict[str, np.ndarray]:
    """Match samples to inputs, convert floats to the declared types, and check the shapes."""
    fitted = match_samples(arrays, signature)
    check_samples(fitted, signature)
    return fitted


def match_samples(
    arrays: Mapping[str, np.ndarray], signature: Signature, *, by_order: bool = False
) -> dict[str, np.ndarray]:
    """Match samples to inputs by name, or by order if `numpy.savez` named them or there is only one."""
    names = [spec.name for spec in signature.inputs]
    fitted = {name: contiguous(array) for name, array in arrays.items()}
    unnamed = all(name in ("", *(f"arr_{i}" for i in range(len(fitted)))) for name in fitted)
    if set(fitted) != set(names) and {name.split(".", 1)[0] for name in fitted} == set(names):
        fitted = {name.split(".", 1)[0]: array for name, array in fitted.items()}
    elif len(fitted) == len(names) and (
        len(names) == 1 or unnamed or (by_order and not set(fitted) & set(names))
    ):
        fitted = dict(zip(names, fitted.values(), strict=True))
    missing = [name for name in names if name not in fitted]
    unknown = [name for name in fitted if name not in names]
    if missing or unknown:
        hint = did_you_mean(unknown[0], names) if unknown else ""
        raise InputMismatchError(
            f"the samples hold {', '.join(map(repr, fitted)) or 'nothing'}, the model takes {signature.describe_inputs()}; "
            f"{hint}".rstrip("; ")
        )
    for spec in signature.inputs:  # samples are examples, so that losing precision in a cast is fine
        array = fitted[spec.name]
        if array.dtype.kind == np.dtype(spec.dtype).kind == "f":
            with np.errstate(over="ignore"):
                fitted[spec.name] = array.astype(spec.dtype)
    if any(array.shape[:1] == (0,) for array in fitted.values()):
        raise InputMismatchError("the samples hold no events; at least one is needed")
    return fitted


def check_samples(arrays: dict[str, np.ndarray], signature: Signature) -> None:
    """Reject samples that do not fit the inputs or hold no events."""
    if signature.sizes(arrays).get(BATCH) == 0:
        raise InputMismatchError("the samples hold no events; at least one is needed")


def rows_of(arrays: Mapping[str, np.ndarray], rows: Any) -> dict[str, np.ndarray]:
    """Select the same events from every array."""
    return {name: contiguous(array[rows]) for name, array in arrays.items()}
