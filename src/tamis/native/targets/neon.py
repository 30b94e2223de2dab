"""NEON (Advanced SIMD), which every 64-bit Arm processor has."""

from pathlib import Path

from tamis.native.targets.target import Target

NEON = Target(
    name="neon",
    header=Path(__file__).with_suffix(".h"),
    lanes=4,
    registers=32,
    sums=24,  # as for AVX-512, which has as many registers; not measured
    wide_positions=4,
    machine="aarch64",
)
