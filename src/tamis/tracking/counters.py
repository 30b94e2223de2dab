"""Instructions and clocks of the own thread, from the hardware counters that Linux offers (perf_event_open)."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

SYSTEM_CALLS = {"x86_64": 298, "aarch64": 241}  # of perf_event_open
ATTRIBUTE_BYTES = 112  # of perf_event_attr, its fifth version
CLOCKS, INSTRUCTIONS = 0, 1  # PERF_COUNT_HW_CPU_CYCLES, PERF_COUNT_HW_INSTRUCTIONS
GROUP_FORMAT = 1 << 3  # PERF_FORMAT_GROUP: one read returns all counters of a group
USER_CODE_ONLY = 1 << 5 | 1 << 6  # exclude_kernel, exclude_hv: allowed up to perf_event_paranoid = 2


class HardwareCounters:
    """Counts instructions and clocks of this thread, of user code only."""

    def __init__(self) -> None:
        """Open both counters as one group; raise OSError with the reason."""
        number = SYSTEM_CALLS.get(platform.machine())
        if not sys.platform.startswith("linux") or number is None:
            raise OSError(
                f"hardware counters are read on Linux on x86-64 or arm64 only, and this is {sys.platform} on {platform.machine()}"
            )
        self._files: list[int] = []
        for counter in (INSTRUCTIONS, CLOCKS):
            self._files.append(_open(number, counter, self._files[0] if self._files else -1, self._files))

    def read(self) -> tuple[int, int]:
        """Return instructions and clocks since the counters were opened."""
        _, instructions, clocks = struct.unpack("QQQ", os.read(self._files[0], 24))
        return instructions, clocks

    def close(self) -> None:
        """Close the counters."""
        while self._files:
            os.close(self._files.pop())


def _open(number: int, counter: int, group: int, opened: list[int]) -> int:
    attribute = bytearray(ATTRIBUTE_BYTES)
    struct.pack_into("IIQQQQQ", attribute, 0, 0, ATTRIBUTE_BYTES, counter, 0, 0, GROUP_FORMAT, USER_CODE_ONLY)
    system = ctypes.CDLL(None, use_errno=True)
    result = int(
        system.syscall(number, (ctypes.c_char * ATTRIBUTE_BYTES).from_buffer(attribute), 0, -1, group, 0)
    )
    if result < 0:
        reason = os.strerror(ctypes.get_errno())
        while opened:
            os.close(opened.pop())
        raise OSError(
            f"the kernel gives no access to hardware counters ({reason}): a virtual machine often has none, and "
            "/proc/sys/kernel/perf_event_paranoid must be 2 or less"
        )
    return result
