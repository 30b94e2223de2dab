"""Conversion between numpy arrays and JSON lists, flat or nested as the shape.

NaN and infinities are the bare words NaN, Infinity and -Infinity, in requests and in answers, as Triton reads and writes them.
FP16 and BF16 are sent as binary data only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tamis._base import UsageError
from tamis.serve.protocol.messages import Fault, Refusal
from tamis.serve.protocol.tensors import datatype_of, dtype_of, element_count

BINARY_ONLY = frozenset({"FP16", "BF16"})
_JSON_TYPES: dict[str, tuple[frozenset[type], str]] = {
    "b": (frozenset({bool}), "true or false"),
    "i": (frozenset({int}), "an integer"),
    "u": (frozenset({int}), "an integer"),
    "f": (frozenset({int, float}), "a number"),
    "O": (frozenset({str}), "a string"),
}
# The values of the words; a number such as 1e999, which overflows to infinity, is another object.
NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
MAX_SHOWN_CHARACTERS = 40  # characters of a value in a message


def array_of(data: Any, datatype: str, shape: Sequence[int], location: str) -> np.ndarray:
    """Return the array of a JSON list; `location` is its location in the message, for errors."""
    try:
        dtype, count = dtype_of(datatype), element_count(shape, location)
    except UsageError as error:
        raise _wrong(f"{location}: {error}") from None
    if datatype in BINARY_ONLY:
        raise _wrong(f"{location} is {datatype}, which JSON cannot hold: send it as binary data")
    flat = _flat(data, shape, count, location)
    allowed, expected = _JSON_TYPES[dtype.kind]
    if not set(map(type, flat)) <= allowed:
        index = next(i for i, value in enumerate(flat) if type(value) not in allowed)
        raise _wrong(f"value {index} of {location} is {_shown(flat[index])}; {datatype} needs {expected}")
    return _converted(flat, dtype, datatype, location).reshape(shape)


def _wrong(message: str) -> Refusal:
    return Refusal(Fault.INVALID, message)


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and value.bit_length() > 4 * MAX_SHOWN_CHARACTERS
    ):
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."


def _flat(data: Any, shape: Sequence[int], count: int, location: str) -> list[Any]:
    """Return the values of a list that is flat, or nested exactly as the shape."""
    if not isinstance(data, list):
        raise _wrong(f"{location} is {_shown(data)}; it must be a list")
    if not any(type(value) is list for value in data) and not (count == 0 and len(data)):
        if len(data) != count:
            raise _wrong(f"{location} has {len(data)} values; the shape {list(shape)} needs {count}")
        return data
    flat: list[Any] = []
    _flatten(data, tuple(shape), location, flat)
    return flat


def _flatten(data: Any, shape: tuple[int, ...], location: str, flat: list[Any]) -> None:
    if not isinstance(data, list):
        raise _wrong(f"{location} is {_shown(data)}; expected a list of {shape[0]}")
    if not shape or len(data) != shape[0]:
        expected = f"{shape[0]} values" if shape else "a single value"
        raise _wrong(f"{location} is a list of {len(data)} elements; its shape needs {expected}")
    if len(shape) == 1:
        flat += data
        return
    for index, part in enumerate(data):
        _flatten(part, shape[1:], f"{location}[{index}]", flat)


def _converted(flat: list[Any], dtype: np.dtype, datatype: str, location: str) -> np.ndarray:
    if dtype.kind == "O":
        texts = np.empty(len(flat), object)
        for index, value in enumerate(flat):
            try:
                texts[index] = value.encode()
            except UnicodeEncodeError:
                raise _wrong(f"value {index} of {location} has half of a surrogate pair") from None
        return texts
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if flat and not (limits.min <= min(flat) and max(flat) <= limits.max):
            index = next(i for i, value in enumerate(flat) if not limits.min <= value <= limits.max)
            raise _wrong(f"value {index} of {location} is {_shown(flat[index])}, out of range for {datatype}")
    if dtype.kind != "f":
        return np.array(flat, dtype)
    try:
        with np.errstate(over="ignore"):
            numbers = np.array(flat, np.float64).astype(dtype)
    except OverflowError:
        numbers = np.array([_number(value) for value in flat])
    finite = np.isfinite(numbers)
    if not finite.all():
        for index in np.flatnonzero(~finite).tolist():
            if not any(flat[index] is value for value in NOT_FINITE.values()):
                raise _wrong(
                    f"value {index} of {location} is {_shown(flat[index])}, out of range for {datatype}"
                )
    return numbers


def _number(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return np.inf


def data_of(array: np.ndarray, name: str) -> list[Any]:
    """Return the flat JSON list of an output."""
    datatype = datatype_of(array.dtype)
    if datatype in BINARY_ONLY:
        raise _wrong(f"the output {name!r} is {datatype}, which JSON cannot hold: set binary_data")
    flat: list[Any] = array.ravel().tolist()
    if datatype != "BYTES":
        return flat
    try:
        return [value if isinstance(value, str) else bytes(value).decode() for value in flat]
    except UnicodeDecodeError:
        raise _wrong(
            f"the output {name!r} has bytes that are not UTF-8, which JSON cannot hold: set binary_data"
        ) from None
