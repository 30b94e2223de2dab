"""System shared memory: regions that a client on this machine created for its tensors.

A region is read and written with file operations, not mapped: otherwise a client that truncates its region would crash the
server. Only plain names in the system's folder of shared memory are opened, and no links are followed.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tamis._base import did_you_mean
from tamis.serve.protocol.messages import Fault, Refusal

FOLDER = Path("/dev/shm")  # noqa: S108 - of POSIX shared memory is on Linux
MAX_SHARED_REGIONS = 1024
_KEY = re.compile(r"/?[A-Za-z0-9._-]{1,200}")


@dataclass(frozen=True)
class Region:
    """A registered part of a shared memory object, in bytes."""

    name: str
    key: str
    offset: int
    byte_size: int
    descriptor: int


class SharedMemory:
    """The registered regions."""

    def __init__(self) -> None:
        """Start without regions."""
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Open a region; raise Refusal if that fails."""
        if name in self._regions:
            raise Refusal(Fault.EXISTS, f"the shared memory region {name[:200]!r} is registered already")
        if not name or len(self._regions) >= MAX_SHARED_REGIONS:
            raise Refusal(
                Fault.INVALID,
                f"a region needs a name, and at most {MAX_SHARED_REGIONS} regions can be registered",
            )
        if not _KEY.fullmatch(key) or key.strip("/") in {".", ".."}:
            raise Refusal(Fault.INVALID, f"{key[:200]!r} is not a valid key of shared memory")
        try:
            descriptor = os.open(FOLDER / key.lstrip("/"), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise Refusal(
                Fault.INVALID, f"the shared memory {key!r} cannot be opened: {error.strerror}"
            ) from error
        size = os.fstat(descriptor).st_size
        if offset < 0 or byte_size <= 0 or offset + byte_size > size:
            os.close(descriptor)
            raise Refusal(
                Fault.INVALID,
                f"{byte_size} bytes from {offset} are outside of the shared memory {key!r}, which has {size}",
            )
        self._regions[name] = Region(name, key, offset, byte_size, descriptor)

    def unregister(self, name: str = "") -> None:
        """Unregister one region, or all of them if `name` is empty."""
        for one in [name] if name else list(self._regions):
            region = self._regions.pop(one, None)
            if region is not None:
                os.close(region.descriptor)

    def status(self, name: str = "") -> list[Region]:
        """Return a registered region, or all of them."""
        return [self._find(name)] if name else list(self._regions.values())

    def _find(self, name: str) -> Region:
        try:
            return self._regions[name]
        except KeyError:
            hint = did_you_mean(name, list(self._regions))
            raise Refusal(
                Fault.INVALID, f"no shared memory region is called {name[:200]!r}; {hint}".rstrip("; ")
            ) from None

    def _within(self, name: str, offset: int, size: int) -> Region:
        region = self._find(name)
        if offset < 0 or size < 0 or offset + size > region.byte_size:
            raise Refusal(
                Fault.INVALID,
                f"{size} bytes from offset {offset} exceed the region {name!r} of {region.byte_size} bytes",
            )
        return region

    def read(self, name: str, offset: int, size: int) -> memoryview:
        """Return a copy of a part of a region."""
        region = self._within(name, offset, size)
        data = memoryview(np.empty(size, np.uint8))  # type: ignore[arg-type] # an array is a buffer
        done = os.preadv(region.descriptor, [data], region.offset + offset) if size else 0
        if done != size:
            raise Refusal(
                Fault.INVALID, f"the region {name!r} was truncated: only {done} of {size} bytes exist"
            )
        return data

    def write(self, name: str, offset: int, size: int, raw: memoryview | bytes) -> None:
        """Write an output to a part of a region."""
        if len(raw) > size:
            raise Refusal(
                Fault.INVALID,
                f"an output has {len(raw)} bytes; its place in the region {name!r} has {size}",
            )
        region = self._within(name, offset, size)
        if raw and os.fstat(region.descriptor).st_size < region.offset + offset + len(raw):
            raise Refusal(Fault.INVALID, f"the region {name!r} was truncated")
        os.pwrite(region.descriptor, raw, region.offset + offset)
