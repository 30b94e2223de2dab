"""AVX2 and FMA, as Intel's processors have them since 2013 (Haswell) and AMD's since 2017 (Zen)."""

from pathlib import Path

from tamis.native.targets.target import Target

AVX2 = Target(
    name="avx2",
    header=Path(__file__).with_suffix(".h"),
    lanes=8,
    registers=16,
    sums=12,
    machine="x86_64",
    flags=("-mavx2", "-mfma", "-mf16c", "-mbmi", "-mbmi2", "-mlzcnt", "-mpopcnt"),
    needs=("avx2", "fma", "f16c", "bmi1", "bmi2"),
    checks=("avx2", "fma"),
)
