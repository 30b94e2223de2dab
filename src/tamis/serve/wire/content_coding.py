"""HTTP content codings: decompress request bodies within a size limit, compress responses."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

from tamis.serve.wire import Buffer

CODINGS = ("gzip", "deflate")
_STEP_BYTES = 1 << 20
_LEVEL = 1  # floating-point data hardly shrinks at higher levels


class BadCodingError(ValueError):
    """A body that cannot be decompressed, with the HTTP status of the response."""

    def __init__(self, status: int, message: str) -> None:
        """Store the status beside the message."""
        super().__init__(message)
        self.status = status


def decompress_body(body: Buffer, coding: str, max_bytes: int, reserve: Callable[[int], bool]) -> bytearray:
    """Decompress a body of at most `max_bytes`; `reserve` is called before each step stores its bytes."""
    if coding not in CODINGS:
        raise BadCodingError(
            415, f"the content encoding {coding[:40]!r} is not supported; use gzip or deflate"
        )
    if coding == "gzip":
        window = zlib.MAX_WBITS | 16
    else:  # `deflate` should come in zlib's format (RFC 9110, 8.4.1.2), but some clients send it raw
        is_zlib = len(body) >= 2 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
        window = zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS
    inflate = zlib.decompressobj(window)
    result, rest = bytearray(), body
    try:
        while not inflate.eof:
            step = inflate.decompress(rest, _STEP_BYTES)
            rest = inflate.unconsumed_tail
            if len(result) + len(step) > max_bytes:
                raise BadCodingError(413, f"the body has more than {max_bytes} bytes when decompressed")
            if not reserve(len(step)):
                raise BadCodingError(503, "the server's memory for requests is full; try again later")
            result += step
            if not step and not rest and not inflate.eof:
                raise BadCodingError(400, f"the body is truncated: its {coding} data end early")
    except zlib.error as error:
        raise BadCodingError(400, f"the body is not valid {coding}: {error}") from None
    if inflate.unused_data:
        raise BadCodingError(400, f"{len(inflate.unused_data)} bytes follow the end of the {coding} data")
    return result


def compress_body(chunks: Iterable[Buffer], coding: str) -> bytes:
    """Return the chunks as one compressed body."""
    deflate = zlib.compressobj(_LEVEL, wbits=zlib.MAX_WBITS | (16 if coding == "gzip" else 0))
    return b"".join([*(deflate.compress(chunk) for chunk in chunks), deflate.flush()])


def accepted_coding(accept_encoding: str) -> str:
    """Return the first supported coding of an Accept-Encoding header, or an empty string."""
    for part in accept_encoding.lower().split(","):
        name, _, weight = part.strip().partition(";")
        is_refused = weight.replace(" ", "") in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
        if name.strip() in CODINGS and not is_refused:
            return name.strip()
    return ""
