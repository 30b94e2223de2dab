"""Conversion between numpy arrays and tensors of the protocol: data types, raw bytes and strings."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import ml_dtypes
import numpy as np

from tamis._base import UsageError, did_you_mean

DATATYPES: dict[str, np.dtype] = {
    "BOOL": np.dtype(bool),
    **{
        f"{kind}{bits}": np.dtype(f"{name}{bits}")
        for kind, name in (("UINT", "uint"), ("INT", "int"))
        for bits in (8, 16, 32, 64)
    },
    "FP16": np.dtype("float16"),
    "FP32": np.dtype("float32"),
    "FP64": np.dtype("float64"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "BYTES": np.dtype(object),
}
DATATYPE_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
MAX_ELEMENTS = 1 << 40
_STRING_LENGTH = struct.Struct("<I")


def datatype_of(dtype: np.dtype) -> str:
    """Return the protocol's name of a dtype."""
    if dtype.kind in "OSU":
        return "BYTES"
    try:
        return DATATYPE_NAMES[np.dtype(dtype)]
    except KeyError:
        raise UsageError(f"the protocol has no data type for {dtype}") from None


def dtype_of(datatype: str) -> np.dtype:
    """Return the dtype of a data type of the protocol."""
    try:
        return DATATYPES[datatype]
    except KeyError:
        hint = did_you_mean(datatype, list(DATATYPES))
        raise UsageError(f"there is no data type {datatype[:40]!r}; {hint}".rstrip("; ")) from None


def element_count(shape: Sequence[int], what: str) -> int:
    """Return the number of elements of a shape; raise UsageError for an impossible one."""
    if any(size < 0 for size in shape):
        raise UsageError(f"the shape {list(shape)} of {what} has a negative size")
    count = math.prod(shape)
    if count > MAX_ELEMENTS:
        raise UsageError(
            f"the shape {list(shape)} of {what} has {count} elements; at most {MAX_ELEMENTS} are possible"
        )
    return count


def from_raw(
    raw: bytes | bytearray | memoryview, datatype: str, shape: Sequence[int], name: str
) -> np.ndarray:
    """Return an array that views the bytes; strings are copied."""
    dtype = dtype_of(datatype)
    count = element_count(shape, f"the input {name!r}")
    if dtype.kind == "O":
        return _strings(raw, count, name).reshape(shape)
    expected = count * dtype.itemsize
    if len(raw) != expected:
        raise UsageError(
            f"the input {name!r} has {len(raw)} bytes; its shape {list(shape)} of {datatype} needs {expected}"
        )
    return np.frombuffer(raw, dtype).reshape(shape)


def _strings(raw: bytes | bytearray | memoryview, count: int, name: str) -> np.ndarray:
    """Return the strings: each is its length, in four bytes, and its bytes."""
    view, position = memoryview(raw), 0
    strings = np.empty(min(count, len(view) // _STRING_LENGTH.size + 1), object)
    for index in range(count):
        if len(view) - position < _STRING_LENGTH.size:
            raise UsageError(f"the input {name!r} holds {index} strings; its shape needs {count}")
        (size,) = _STRING_LENGTH.unpack_from(view, position)
        position += _STRING_LENGTH.size
        if size > len(view) - position:
            raise UsageError(
                f"string {index} of the input {name!r} has {size} bytes, but only {len(view) - position} remain"
            )
        strings[index] = bytes(view[position : position + size])
        position += size
    if position != len(view):
        raise UsageError(f"the input {name!r} has {len(view) - position} bytes after its {count} strings")
    return strings[:count]


def to_raw(array: np.ndarray) -> memoryview:
    """Return an array's bytes, without a copy where it is contiguous."""
    if array.dtype.kind in "OSU":
        pieces = [item.encode() if isinstance(item, str) else bytes(item) for item in array.ravel()]
        return memoryview(b"".join(_STRING_LENGTH.pack(len(piece)) + piece for piece in pieces))
    plain = np.ascontiguousarray(array)
    return memoryview(plain.reshape(-1).view(np.uint8))  # type: ignore[arg-type] # an array is a buffer
