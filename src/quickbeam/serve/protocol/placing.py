"""Tensors that lie in shared memory: where a request says that they are, or are to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quickbeam.serve.protocol.infer import Head
from quickbeam.serve.protocol.messages import Fault, Parameter, Refusal

REGION, OFFSET, SIZE = "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"


def place_of(parameters: Mapping[str, Parameter], what: str) -> tuple[str, int, int]:
    """Return region, offset and size."""
    region, offset, size = parameters.get(REGION), parameters.get(OFFSET, 0), parameters.get(SIZE)
    if not isinstance(region, str) or not isinstance(offset, int) or not isinstance(size, int):
        raise Refusal(
            Fault.INVALID,
            f"{what} lies in shared memory: {REGION} has to be a name, {OFFSET} and {SIZE} whole numbers",
        )
    return region, offset, size


def placed_in(head: Head) -> dict[str, dict[str, Any]]:
    """Return the outputs that are to be laid into shared memory, with their parameters."""
    found = {one.name: dict(one.parameters) for one in head.wanted if REGION in one.parameters}
    for name, parameters in found.items():
        place_of(parameters, f"the output {name!r}")
    return found
