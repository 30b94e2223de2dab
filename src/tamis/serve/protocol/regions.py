"""Inputs and outputs in shared memory, as a request describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from tamis.serve.protocol.infer import InputTensor
from tamis.serve.protocol.messages import Fault, Parameter, Refusal, RequestedOutput
from tamis.serve.protocol.tensors import to_raw

REGION_NAME, REGION_OFFSET, REGION_SIZE = (
    "shared_memory_region",
    "shared_memory_offset",
    "shared_memory_byte_size",
)


class Regions(Protocol):
    """The registered regions of shared memory; a method raises Refusal where it fails."""

    def read(self, region: str, offset: int, size: int) -> memoryview:
        """Return a copy of a part of a region."""

    def write(self, region: str, offset: int, size: int, raw: memoryview) -> None:
        """Write to a part of a region."""


class RegionSlice(NamedTuple):
    """A part of a region, in bytes."""

    region: str
    offset: int
    size: int


def region_slice(parameters: Mapping[str, Parameter], what: str) -> RegionSlice | None:
    """Return where a tensor is in shared memory; None if the message carries it."""
    region = parameters.get(REGION_NAME)
    if region is None:
        return None
    if not isinstance(region, str):
        raise Refusal(Fault.INVALID, f"{REGION_NAME} of {what} is {region!r}; it must be a string")
    offset_and_size = []
    for name, value in (
        (REGION_OFFSET, parameters.get(REGION_OFFSET, 0)),
        (REGION_SIZE, parameters.get(REGION_SIZE)),
    ):
        if type(value) is not int or value < 0:
            raise Refusal(Fault.INVALID, f"{name} of {what} is {value!r}; it must be a number of bytes")
        offset_and_size.append(value)
    return RegionSlice(region, *offset_and_size)


def _required(regions: Regions | None) -> Regions:
    if regions is None:
        raise Refusal(
            Fault.UNIMPLEMENTED, "this server has no shared memory: send the tensors in the message"
        )
    return regions


def read_inputs(inputs: Sequence[InputTensor], regions: Regions | None) -> dict[str, memoryview]:
    """Return the bytes of the inputs that are in shared memory, by name."""
    raws = {}
    for tensor in inputs:
        if tensor.parameters and (place := region_slice(tensor.parameters, f"the input {tensor.name!r}")):
            if tensor.array is not None:
                raise Refusal(
                    Fault.INVALID, f"the input {tensor.name!r} has both data and a shared memory region"
                )
            raws[tensor.name] = _required(regions).read(*place)
    return raws


def output_places(outputs: Sequence[RequestedOutput], regions: Regions | None) -> dict[str, RegionSlice]:
    """Return where to write the outputs that are requested in shared memory, by name."""
    places = {}
    for one in outputs:
        if one.parameters and (place := region_slice(one.parameters, f"the output {one.name!r}")):
            _required(regions)
            places[one.name] = place
    return places


def write_outputs(
    outputs: Mapping[str, np.ndarray], places: Mapping[str, RegionSlice], regions: Regions | None
) -> None:
    """Write outputs to shared memory. The answer then has their names, types and shapes, but neither data nor parameters."""
    for name, (region, offset, size) in places.items():
        raw = to_raw(outputs[name])
        if len(raw) > size:
            raise Refusal(
                Fault.INVALID,
                f"the output {name!r} has {len(raw)} bytes; there are {size} in its part of the region {region!r}",
            )
        _required(regions).write(region, offset, len(raw), raw)
