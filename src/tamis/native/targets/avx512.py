"""AVX-512, as Intel's server processors have it since 2017 (Skylake-SP) and AMD's since 2022 (Zen 4)."""

from pathlib import Path

from tamis.native.targets.avx2 import AVX2
from tamis.native.targets.target import Target

FEATURES = ("avx512f", "avx512dq", "avx512vl", "avx512bw", "avx512cd")

AVX512 = Target(
    name="avx512",
    header=Path(__file__).with_suffix(".h"),
    lanes=16,
    registers=32,
    sums=24,  # measured on ten models: 16 take 0.98 to 1.03 times as long, 20 up to 1.07, 12 up to 1.2, 28 up to 1.35
    wide_positions=4,
    halves=True,
    machine="x86_64",
    flags=(*AVX2.flags, *(f"-m{one}" for one in FEATURES), "-mprefer-vector-width=512"),
    needs=(*AVX2.needs, *FEATURES),
    checks=("avx512f", "avx512dq", "avx512vl", "avx512bw", "avx2", "fma"),
)
