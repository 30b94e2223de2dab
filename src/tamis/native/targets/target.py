"""A target: one instruction set that code is generated for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """An instruction set: its C header, what the compiler and the processor need, and the sizes that generated code is written for."""

    name: str
    header: Path = field(repr=False)  # defines the operations of docs/how-to/write-a-target.md
    lanes: int  # floats of a vector: 2, 4, 8 or 16
    registers: int  # vector registers
    sums: int  # accumulators of a block of a contraction; the other registers hold factors
    wide_positions: int = 1  # positions (or vectors of them) of a block where lanes are events
    halves: bool = False  # the header has half vectors: the type H, half, whole, all_half, fma_half
    near: int = 32768  # bytes of the first-level data cache
    machine: str = ""  # as `platform.machine()` and CMAKE_SYSTEM_PROCESSOR call it; empty: any
    flags: tuple[str, ...] = ()  # of the compiler
    needs: tuple[str, ...] = ()  # features of the processor, as /proc/cpuinfo calls them
    checks: tuple[str, ...] = ()  # the same, as __builtin_cpu_supports calls them

    def __post_init__(self) -> None:
        """Check the sizes."""
        if self.lanes not in (2, 4, 8, 16):
            raise ValueError(f"target {self.name}: {self.lanes} lanes; 2, 4, 8 or 16 are supported")
        if not 0 < self.sums < self.registers:
            raise ValueError(
                f"target {self.name}: {self.sums} accumulators must leave some of {self.registers} registers for factors"
            )

    def source(self) -> str:
        """Return the C that generated code begins with: vectors, this target's operations, moves and functions."""
        return _source(self.header, self.lanes)


@cache
def _source(header: Path, lanes: int) -> str:
    own = files("tamis.native.targets")
    vectors, scalars, moves, functions = (
        (own / name).read_text(encoding="utf-8")
        for name in ("vectors.h", "scalars.h", "moves.h", "functions.h")
    )
    lists = "".join(
        f"#define TAMIS_{name} {', '.join(map(str, places))}\n" for name, places in _shuffles(lanes).items()
    )
    head = f"#define TAMIS_LANES {lanes}\n{lists}"
    return "\n".join((head, vectors, scalars, header.read_text(encoding="utf-8"), moves, functions))


def _shuffles(lanes: int) -> dict[str, list[int]]:
    """Return the lane numbers of each shuffle of two vectors; those of the second vector begin at `lanes`."""
    both, half = 2 * lanes, lanes // 2
    lower, upper = range(half), range(half, lanes)
    fours = [lane + part * half for lane in range(half) for part in range(4)]
    pairs = [lane + part * lanes for lane in range(lanes) for part in range(2)]
    thirds = [3 * lane for lane in range(lanes)]
    return {
        "EVENS": [2 * lane for lane in range(lanes)],
        "ODDS": [2 * lane + 1 for lane in range(lanes)],
        "THIRDS": [lane if lane < both else 0 for lane in thirds],
        "MORE_THIRDS": [number if lane < both else lane - lanes for number, lane in enumerate(thirds)],
        "FIRST_TWO": [4 * lane + part for part in (0, 1) for lane in range(half)],
        "OTHER_TWO": [4 * lane + part for part in (2, 3) for lane in range(half)],
        "LOWER": [*lower, *(lanes + lane for lane in lower)],
        "UPPER": [*upper, *(lanes + lane for lane in upper)],
        "FOURS": fours[:lanes],
        "MORE_FOURS": fours[lanes:],
        "PAIRS": pairs[:lanes],
        "MORE_PAIRS": pairs[lanes:],
    }
