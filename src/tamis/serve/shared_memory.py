"""System shared memory: regions that a client on this machine made, and lets tensors lie in.

A region is read and written by the system's calls for files, not mapped: a client that shortens its region would otherwise
take the server down with it. Nothing but plain names in the system's folder of such regions is opened, and no link followed.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tamis._base import did_you_mean
from tamis.serve.protocol.messages import Fault, Refusal

FOLDER = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is on Linux
REGIONS_MOST = 1024
_KEY = re.compile(r"/?[A-Za-z0-9._-]{1,200}")


@dataclass(frozen=True)
class Region:
    """A part of a shared memory object that was registered."""

    name: str
    key: str
    offset: int
    byte_size: int
    descriptor: int


class SharedMemory:
    """The regions that are registered."""

    def __init__(self) -> None:
        """Know none."""
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Open a region."""
        if name in self._regions:
            raise Refusal(Fault.EXISTS, f"the shared memory region {name[:200]!r} is registered already")
        if not name or len(self._regions) >= REGIONS_MOST:
            raise Refusal(
                Fault.INVALID, f"a region needs a name, and there may be {REGIONS_MOST} of them at most"
            )
        if not _KEY.fullmatch(key) or key.strip("/") in {".", ".."}:
            raise Refusal(Fault.INVALID, f"{key[:200]!r} is no plain key of shared memory")
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
                f"{byte_size} bytes from {offset} are not within the shared memory {key!r}, which has {size}",
            )
        self._regions[name] = Region(name, key, offset, byte_size, descriptor)

    def unregister(self, name: str = "") -> None:
        """Let go of a region, or of all."""
        for gone in [name] if name else list(self._regions):
            region = self._regions.pop(gone, None)
            if region is not None:
                os.close(region.descriptor)

    def status(self, name: str = "") -> list[Region]:
        """Return what is registered: one region, or all."""
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
                f"{size} bytes from {offset} are not within the region {name!r}, which has {region.byte_size}",
            )
        return region

    def read(self, name: str, offset: int, size: int) -> memoryview:
        """Return a copy of what lies in a region."""
        region = self._within(name, offset, size)
        found = memoryview(np.empty(size, np.uint8))  # type: ignore[arg-type] # an array is a buffer
        done = os.preadv(region.descriptor, [found], region.offset + offset) if size else 0
        if done != size:
            raise Refusal(
                Fault.INVALID, f"the region {name!r} has become shorter: {done} of {size} bytes are there"
            )
        return found

    def write(self, name: str, offset: int, size: int, raw: memoryview | bytes) -> None:
        """Lay an output where the client wants it."""
        if len(raw) > size:
            raise Refusal(
                Fault.INVALID,
                f"an output has {len(raw)} bytes; the client has room for {size} in the region {name!r}",
            )
        region = self._within(name, offset, size)
        if raw and os.fstat(region.descriptor).st_size < region.offset + offset + len(raw):
            raise Refusal(Fault.INVALID, f"the region {name!r} has become shorter")
        os.pwrite(region.descriptor, raw, region.offset + offset)
