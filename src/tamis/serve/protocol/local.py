"""Requests between processes of one machine: tensors lie in memory that both map, and a packet says that they do.

A client makes a region of memory that cannot shrink, and hands it over with its first packet. Each request's tensors begin at
the start of the region, and its answer's behind them; one request is under way at a time. What stays the same from request
to request, the `ModelInferRequest` without id and numbers, travels once and has a number from then on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

SCHEME = "local:"
PACKET_MOST = 1 << 16
HELLO = b"tamis-local-1"  # and the region
WELCOME = b"W"
ASK = struct.Struct(
    "<cIQ"
)  # ASKS, the head's number, microseconds until it is of no use, 0 for ever; and the head, at first
ASKS, ANSWERS, REFUSES, GROWS = b"A", b"Y", b"N", b"G"
REFUSAL = struct.Struct("<cI")  # REFUSES, the status; and why
GROWTH = struct.Struct("<cQ")  # GROWS, the bytes that the request and its answer take
ALIGNED = 64


def places_of(sizes: Iterable[int], start: int = 0) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return where tensors lie, from where to where, and the end of the last."""
    places = []
    for size in sizes:
        begin = -(-start // ALIGNED) * ALIGNED
        start = begin + size
        places.append((begin, start))
    return tuple(places), start
