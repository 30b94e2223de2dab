"""The protocol between processes of one machine: tensors are in memory that both map, and packets announce them.

A client creates a region of memory that cannot shrink, and passes it with its first packet. The tensors of a request begin at
the start of the region, those of the answer follow; one request is in flight at a time. The header of a request, a
`ModelInferRequest` without id and data, is sent once and is referred to by a number afterwards.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

LOCAL_SCHEME = "local:"
PACKET_MOST = 1 << 16
HELLO = b"tamis-local-1"  # sent with the region
WELCOME = b"W"
ASKS, ANSWERS, REFUSES, GROWS = b"A", b"Y", b"N", b"G"  # the first byte of a packet
# ASKS, number of the header, timeout in microseconds (0: none); followed by the header, the first time
ASK = struct.Struct("<cIQ")
REFUSAL = struct.Struct("<cI")  # REFUSES, gRPC status; followed by the message
GROWTH = struct.Struct("<cQ")  # GROWS, bytes that the request and its answer take
TENSOR_ALIGNMENT = 64


def places_of(sizes: Iterable[int], start: int = 0) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return begin and end of each tensor in the region, in bytes, and the end of the last one."""
    places = []
    for size in sizes:
        begin = -(-start // TENSOR_ALIGNMENT) * TENSOR_ALIGNMENT
        start = begin + size
        places.append((begin, start))
    return tuple(places), start
