"""Universal Binary JSON, as XGBoost writes it (https://ubjson.org, draft 12): counted and typed containers."""

from __future__ import annotations

import struct
from typing import Any

from tamis._base import ModelError

INTEGERS = "iUIlL"
NUMBERS = {"i": ">b", "U": ">B", "I": ">h", "l": ">i", "L": ">q", "d": ">f", "D": ">d"}
ARRAY_DTYPES = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
NESTING_MAX = 100


def parse_ubjson(data: bytes, place: str) -> Any:
    """Parse a document; arrays of one number type become lists."""
    try:
        value, end = _value(data, 0, 0)
    except (struct.error, IndexError, KeyError, UnicodeDecodeError, ValueError) as error:
        raise ModelError(f"{place} is not readable UBJSON ({error}); save the model again") from error
    if data[end:].strip(b"N\0"):
        raise ModelError(f"{place} has {len(data) - end} bytes after its end; save the model again")
    return value


def _value(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    kind = chr(data[at])
    return _typed(data, at + 1, kind, depth)


def _typed(data: bytes, at: int, kind: str, depth: int) -> tuple[Any, int]:
    if depth > NESTING_MAX:
        raise ValueError(f"nested more than {NESTING_MAX} deep")
    if kind in NUMBERS:
        size = struct.calcsize(NUMBERS[kind])
        return struct.unpack_from(NUMBERS[kind], data, at)[0], at + size
    if kind in "SH":
        return _text(data, at)
    if kind == "C":
        return chr(data[at]), at + 1
    if kind in "ZTF":
        return {"Z": None, "T": True, "F": False}[kind], at
    if kind == "[":
        return _array(data, at, depth + 1)
    if kind == "{":
        return _object(data, at, depth + 1)
    raise ValueError(f"unknown marker {kind!r} at byte {at - 1}")


def _text(data: bytes, at: int) -> tuple[str, int]:
    length, at = _count(data, at)
    return data[at : at + length].decode("utf-8"), at + length


def _count(data: bytes, at: int) -> tuple[int, int]:
    kind = chr(data[at])
    if kind not in INTEGERS:
        raise ValueError(f"a length of type {kind!r} at byte {at}")
    value, at = _typed(data, at + 1, kind, 0)
    if not 0 <= value <= len(data):
        raise ValueError(f"a length of {value} before byte {at}")
    return value, at


def _header(data: bytes, at: int) -> tuple[str, int | None, int]:
    """Return the type and the count of a container, where it declares them, and the place of its content."""
    kind, count = "", None
    if data[at : at + 1] == b"$":
        kind, at = chr(data[at + 1]), at + 2
    if data[at : at + 1] == b"#":
        count, at = _count(data, at + 1)
    elif kind:
        raise ValueError(f"a typed container without a count before byte {at}")
    return kind, count, at


def _array(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    import numpy as np

    kind, count, at = _header(data, at)
    if kind in ARRAY_DTYPES and count is not None:
        values = np.frombuffer(data, ARRAY_DTYPES[kind], count, at)
        return values.tolist(), at + values.nbytes
    items: list[Any] = []
    while len(items) != count:
        if count is None and data[at : at + 1] == b"]":
            return items, at + 1
        value, at = _typed(data, at, kind, depth) if kind else _value(data, at, depth)
        items.append(value)
    return items, at


def _object(data: bytes, at: int, depth: int) -> tuple[dict[str, Any], int]:
    kind, count, at = _header(data, at)
    items: dict[str, Any] = {}
    read = 0
    while read != count:
        if count is None and data[at : at + 1] == b"}":
            return items, at + 1
        name, at = _text(data, at)
        items[name], at = _typed(data, at, kind, depth) if kind else _value(data, at, depth)
        read += 1
    return items, at
