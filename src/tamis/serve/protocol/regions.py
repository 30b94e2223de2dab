"""Inputs and outputs that lie in shared memory, as a request describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from tamis.serve.protocol.infer import InputTensor
from tamis.serve.protocol.messages import Fault, Parameter, Refusal, RequestedOutput
from tamis.serve.protocol.tensors import to_raw

REGION, OFFSET, SIZE = "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"


class Regions(Protocol):
    """What keeps regions of shared memory; every method raises Refusal where it cannot do what is asked."""

    def read(self, region: str, offset: int, size: int) -> memoryview:
        """Return a part of a region."""

    def write(self, region: str, offset: int, size: int, raw: memoryview) -> None:
        """Fill a part of a region."""


class RegionSlice(NamedTuple):
    """A part of a region."""

    region: str
    offset: int
    size: int


def region_slice(parameters: Mapping[str, Parameter], what: str) -> RegionSlice | None:
    """Return where an input or output is to be, None where it travels with its message."""
    region = parameters.get(REGION)
    if region is None:
        return None
    if not isinstance(region, str):
        raise Refusal(Fault.INVALID, f"{REGION} of {what} is {region!r}; it has to be a name")
    numbers = []
    for name, value in ((OFFSET, parameters.get(OFFSET, 0)), (SIZE, parameters.get(SIZE))):
        if type(value) is not int or value < 0:
            raise Refusal(Fault.INVALID, f"{name} of {what} is {value!r}; it has to be a number of bytes")
        numbers.append(value)
    return RegionSlice(region, *numbers)


def _needed(regions: Regions | None) -> Regions:
    if regions is None:
        raise Refusal(Fault.UNIMPLEMENTED, "this server has no shared memory")
    return regions


def read_inputs(inputs: Sequence[InputTensor], regions: Regions | None) -> dict[str, memoryview]:
    """Return the bytes of those inputs that lie in shared memory."""
    found = {}
    for given in inputs:
        if given.parameters and (place := region_slice(given.parameters, f"the input {given.name!r}")):
            if given.array is not None:
                raise Refusal(
                    Fault.INVALID, f"the input {given.name!r} came with data and lies in shared memory"
                )
            found[given.name] = _needed(regions).read(*place)
    return found


def output_places(wanted: Sequence[RequestedOutput], regions: Regions | None) -> dict[str, RegionSlice]:
    """Return where those outputs are to be that are wanted in shared memory."""
    found = {}
    for one in wanted:
        if one.parameters and (place := region_slice(one.parameters, f"the output {one.name!r}")):
            _needed(regions)
            found[one.name] = place
    return found


def write_outputs(
    outputs: Mapping[str, np.ndarray], places: Mapping[str, RegionSlice], regions: Regions | None
) -> dict[str, dict[str, Parameter]]:
    """Put outputs where they are to be; return what the answer says of them instead of their numbers."""
    told: dict[str, dict[str, Parameter]] = {}
    for name, (region, offset, size) in places.items():
        raw = to_raw(outputs[name])
        if len(raw) > size:
            raise Refusal(
                Fault.INVALID,
                f"the output {name!r} has {len(raw)} bytes; there are {size} for it in the region {region!r}",
            )
        _needed(regions).write(region, offset, len(raw), raw)
        told[name] = (
            {REGION: region, OFFSET: offset, SIZE: len(raw)} if offset else {REGION: region, SIZE: len(raw)}
        )
    return told
