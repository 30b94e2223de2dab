"""Bodies that travel compressed: unpacked within a bound, packed on request."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

from tamis.serve.wire import Buffer

CODINGS = ("gzip", "deflate")
_STEP_BYTES = 1 << 20
_LEVEL = 1  # numbers hardly shrink with more


class BadCodingError(ValueError):
    """A body that cannot be unpacked, and the status of HTTP that says so."""

    def __init__(self, status: int, told: str) -> None:
        """Keep both."""
        super().__init__(told)
        self.status = status


def unpacked(body: Buffer, coding: str, most: int, reserve: Callable[[int], bool]) -> bytearray:
    """Return a body unpacked, of so many bytes at most; each step takes its memory before it is made."""
    if coding not in CODINGS:
        raise BadCodingError(
            415, f"bodies packed as {coding[:40]!r} are not understood; gzip and deflate are"
        )
    inflate = zlib.decompressobj(_window(body, coding))
    found, rest = bytearray(), body
    try:
        while not inflate.eof:
            step = inflate.decompress(rest, _STEP_BYTES)
            rest = inflate.unconsumed_tail
            if len(found) + len(step) > most:
                raise BadCodingError(413, f"the body has more than {most} bytes when unpacked")
            if not reserve(len(step)):
                raise BadCodingError(503, "too many bytes of requests are in the server; try again later")
            found += step
            if not step and not rest and not inflate.eof:
                raise BadCodingError(400, f"the body is cut short: its {coding} has no end")
    except zlib.error as error:
        raise BadCodingError(400, f"the body is no {coding}: {error}") from None
    if inflate.unused_data:
        raise BadCodingError(400, f"{len(inflate.unused_data)} bytes follow the end of the {coding}")
    return found


def _window(body: Buffer, coding: str) -> int:
    """Return zlib's name of a format; `deflate` comes with zlib's frame, and from some without."""
    if coding == "gzip":
        return zlib.MAX_WBITS | 16
    framed = len(body) >= 2 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return zlib.MAX_WBITS if framed else -zlib.MAX_WBITS


def packed(chunks: Iterable[Buffer], coding: str) -> bytes:
    """Return a body packed."""
    deflate = zlib.compressobj(_LEVEL, wbits=zlib.MAX_WBITS | (16 if coding == "gzip" else 0))
    return b"".join([*(deflate.compress(chunk) for chunk in chunks), deflate.flush()])


def wanted_coding(accepted: str) -> str:
    """Return which coding an Accept-Encoding asks for, or nothing."""
    for part in accepted.lower().split(","):
        name, _, weight = part.strip().partition(";")
        refused = weight.replace(" ", "") in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
        if name.strip() in CODINGS and not refused:
            return name.strip()
    return ""
