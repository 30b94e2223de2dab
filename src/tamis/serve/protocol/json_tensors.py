"""Tensors in JSON: lists of values, flat or nested as their shape says, against numpy arrays.

What JSON cannot hold is refused on the way in: NaN and infinities are no JSON. On the way out they are written as Triton
writes them, as the bare words NaN, Infinity and -Infinity, which Python's json reads. FP16 and BF16 travel as bytes only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tamis._base import UsageError
from tamis.serve.protocol.messages import Fault, Refusal
from tamis.serve.protocol.tensors import datatype_of, dtype_of, elements

BINARY_ONLY = frozenset({"FP16", "BF16"})
_KINDS: dict[str, tuple[frozenset[type], str]] = {
    "b": (frozenset({bool}), "true or false"),
    "i": (frozenset({int}), "a whole number"),
    "u": (frozenset({int}), "a whole number"),
    "f": (frozenset({int, float}), "a number"),
    "O": (frozenset({str}), "a string"),
}
_TOLD_MOST = 40  # characters of a value in a message


def array_of(data: Any, datatype: str, shape: Sequence[int], place: str) -> np.ndarray:
    """Return a list as an array; `place` is where it stands in the message."""
    try:
        dtype, count = dtype_of(datatype), elements(shape, place)
    except UsageError as error:
        raise _wrong(f"{place}: {error}") from None
    if datatype in BINARY_ONLY:
        raise _wrong(f"{place} is {datatype}, which travels as binary data only, not as JSON")
    flat = _flat(data, shape, count, place)
    allowed, told = _KINDS[dtype.kind]
    if not set(map(type, flat)) <= allowed:
        index = next(i for i, value in enumerate(flat) if type(value) not in allowed)
        raise _wrong(f"value {index} of {place} is {_shown(flat[index])}; {datatype} takes {told}")
    return _converted(flat, dtype, datatype, place).reshape(shape)


def _wrong(told: str) -> Refusal:
    return Refusal(Fault.INVALID, told)


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 4 * _TOLD_MOST:
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= _TOLD_MOST else f"{text[:_TOLD_MOST]}..."


def _flat(data: Any, shape: Sequence[int], count: int, place: str) -> list[Any]:
    """Return the values of a list that is flat, or nested exactly as the shape is."""
    if not isinstance(data, list):
        raise _wrong(f"{place} is {_shown(data)}; it has to be a list")
    if not any(type(value) is list for value in data) and not (count == 0 and len(data)):
        if len(data) != count:
            raise _wrong(f"{place} has {len(data)} values; the shape {list(shape)} takes {count}")
        return data
    found: list[Any] = []
    _gather(data, tuple(shape), place, found)
    return found


def _gather(data: Any, shape: tuple[int, ...], place: str, found: list[Any]) -> None:
    if not isinstance(data, list):
        raise _wrong(f"{place} is {_shown(data)}; a list of {shape[0]} is expected there")
    if not shape or len(data) != shape[0]:
        expected = f"{shape[0]} values" if shape else "a single value"
        raise _wrong(f"{place} is a list of {len(data)}; its shape asks for {expected} there")
    if len(shape) == 1:
        found += data
        return
    for index, part in enumerate(data):
        _gather(part, shape[1:], f"{place}[{index}]", found)


def _converted(flat: list[Any], dtype: np.dtype, datatype: str, place: str) -> np.ndarray:
    if dtype.kind == "O":
        found = np.empty(len(flat), object)
        for index, value in enumerate(flat):
            try:
                found[index] = value.encode()
            except UnicodeEncodeError:
                raise _wrong(f"value {index} of {place} holds half of a surrogate pair") from None
        return found
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if flat and not (limits.min <= min(flat) and max(flat) <= limits.max):
            index = next(i for i, value in enumerate(flat) if not limits.min <= value <= limits.max)
            raise _wrong(f"value {index} of {place} is {_shown(flat[index])}, more than {datatype} holds")
    if dtype.kind != "f":
        return np.array(flat, dtype)
    try:
        with np.errstate(over="ignore"):
            numbers = np.array(flat, np.float64).astype(dtype)
    except OverflowError:
        numbers = np.array([_number(value) for value in flat])
    finite = np.isfinite(numbers)
    if not finite.all():
        index = int(np.argmin(finite))
        raise _wrong(f"value {index} of {place} is {_shown(flat[index])}, more than {datatype} holds")
    return numbers


def _number(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return np.inf


def data_of(array: np.ndarray, name: str) -> list[Any]:
    """Return an output as a flat list."""
    datatype = datatype_of(array.dtype)
    if datatype in BINARY_ONLY:
        raise _wrong(
            f"the output {name!r} is {datatype}, which travels as binary data only: ask with binary_data"
        )
    flat: list[Any] = array.ravel().tolist()
    if datatype != "BYTES":
        return flat
    try:
        return [value if isinstance(value, str) else bytes(value).decode() for value in flat]
    except UnicodeDecodeError:
        raise _wrong(
            f"the output {name!r} holds bytes that are no UTF-8, which JSON cannot hold: ask with binary_data"
        ) from None
