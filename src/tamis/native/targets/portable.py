"""Any processor, through the vector extensions of gcc and clang."""

from pathlib import Path

from tamis.native.targets.target import Target

PORTABLE = Target(name="portable", header=Path(__file__).with_suffix(".h"), lanes=4, registers=16, sums=12)
