"""Every rounding and overflow mode against `ap_fixed.h` itself, compiled, on ties, negatives, huge values and odd widths."""

from __future__ import annotations

import importlib.util
import itertools
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tamis.fixedpoint import OVERFLOWS, ROUNDINGS, FixedFormat

WIDTHS = [(8, 3), (1, 1), (2, 5), (7, -2), (11, 11), (13, 20), (16, 6), (31, 9), (5, 0), (33, 7), (64, 32)]
PROGRAM = """
#include <cstdio>
#include <vector>
#include "ap_fixed.h"
template <class T, int W> void show(const std::vector<double>& values) {
  for (double value : values) {
    T x = value;
    ap_uint<64> bits = 0;
    for (int i = 0; i < W; ++i) bits[i] = x[i];
    std::printf("%llu\\n", (unsigned long long)bits.to_uint64());
  }
}
int main() {
  std::vector<double> values;
  double value;
  while (std::scanf("%la", &value) == 1) values.push_back(value);
CASES
}
"""

pytestmark = [pytest.mark.slow, pytest.mark.fpga]


def headers() -> Path:
    found = importlib.util.find_spec("hls4ml")
    if found is None or not found.submodule_search_locations:
        pytest.skip("ap_fixed.h comes with hls4ml, which is not installed")
    return Path(found.submodule_search_locations[0]) / "templates" / "vivado" / "ap_types"


def values() -> np.ndarray:
    rng = np.random.default_rng(17)
    ties = np.arange(-2000, 2001) / 2.0**8
    fine = [
        (np.arange(-40, 41) / 2.0 + offset) * 2.0**-place
        for place in (0, 5, 9, 10, 24)
        for offset in (0, 1e-9, -1e-9)
    ]
    powers = np.ldexp(1.0, np.arange(-70, 71))
    near = np.concatenate([powers, np.nextafter(powers, np.inf), np.nextafter(powers, 0)])
    spread = rng.normal(size=3000) * np.ldexp(1.0, rng.integers(-30, 80, 3000))
    return np.concatenate([ties, *fine, near, -near, spread, [0.0, 1e300, -1e300, 1e-300, -1e-300]])


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Return the bits of every case and value as the header computes them."""
    include, compiler = headers(), shutil.which("g++")
    if compiler is None:
        pytest.skip("comparing with ap_fixed.h takes g++, which is not installed")
    folder = tmp_path_factory.mktemp("hls")
    rows = []
    for width, integer, signed, rounding, overflow in cases():
        kind = "ap_fixed" if signed else "ap_ufixed"
        rows.append(f"  show<{kind}<{width},{integer},AP_{rounding},AP_{overflow}>, {width}>(values);")
    source = folder / "modes.cpp"
    source.write_text(PROGRAM.replace("CASES", "\n".join(rows)))
    command = [compiler, "-O0", "-w", "-std=c++14", f"-I{include}", str(source), "-o", str(folder / "modes")]
    subprocess.run(command, check=True, timeout=900)
    text = "\n".join(value.hex() for value in values().tolist())
    finished = subprocess.run([str(folder / "modes")], input=text, capture_output=True, text=True, check=True)
    return np.array(finished.stdout.split(), np.uint64).reshape(len(rows), -1)


def cases() -> list[tuple[int, int, bool, str, str]]:
    return [
        (width, integer, signed, rounding, overflow)
        for (width, integer), signed, rounding, overflow in itertools.product(
            WIDTHS, (True, False), ROUNDINGS, OVERFLOWS
        )
        if signed or width < 64
    ]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_a_mode_is_that_of_the_header(compiled: np.ndarray, rounding: str, overflow: str) -> None:
    given, compared = values(), 0
    for row, (width, integer, signed, *modes) in zip(compiled, cases(), strict=True):
        if modes != [rounding, overflow]:
            continue
        form = FixedFormat(width, integer, signed, rounding, overflow)
        mask = np.uint64(2**width - 1)
        found = form.quantise(given).view(np.uint64) & mask
        wrong = np.flatnonzero(found != row)
        assert not wrong.size, (
            f"{form}: {given[wrong[0]]!r} is {found[wrong[0]]:b}, in ap_fixed.h {row[wrong[0]]:b}"
        )
        compared += len(row)
    assert compared > 100_000
