"""The functions that generated code calls: their error in units in the last place (ulp), for every target."""

from __future__ import annotations

import ctypes
import math
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tamis.cbuild import COMPILE_FLAGS, compile_shared, find_compiler
from tamis.native.functions import FUNCTIONS
from tamis.native.targets import NATIVE_TARGETS, Target

NAMES = (
    "exp", "expm1", "log", "tanh", "sigmoid", "erf", "softplus", "sin", "cos",
    "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh",
)  # fmt: skip
PAIRS = ("gate", "pow")  # functions of two numbers
POINTS = 200_000

# For targets of another machine: a program that applies the function number argv[1] to argv[2] floats per argument.
FOREIGN_MAIN = """
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    if (argc < 3) return 2;
    const long n = atol(argv[2]);
    float *x = malloc(4 * n), *z = malloc(4 * n), *y = malloc(4 * n);
    if (fread(x, 4, n, stdin) != (size_t)n) return 3;
    if (fread(z, 4, n, stdin) != (size_t)n) z = NULL;
    switch (atoi(argv[1])) { CASES }
    return fwrite(y, 4, n, stdout) != (size_t)n;
}
"""


def erf(x: np.ndarray) -> np.ndarray:
    return np.frompyfunc(math.erf, 1, 1)(x).astype(np.float64)


# the exact function and the interval that is tested; the largest error allowed is in the table of functions
EXACT_FUNCTIONS = {
    "exp": (np.exp, (-87.0, 88.7)),
    "expm1": (np.expm1, (-87.0, 88.0)),
    "log": (np.log, (1e-38, 1e4)),
    "tanh": (np.tanh, (-9.5, 9.5)),
    "sigmoid": (lambda x: 1.0 / (1.0 + np.exp(-x)), (-80.0, 80.0)),
    "erf": (erf, (-4.5, 4.5)),
    "softplus": (lambda x: np.logaddexp(0.0, x), (-60.0, 60.0)),
    "sin": (np.sin, (-3.0, 3.0)),
    "cos": (np.cos, (-1.5, 1.5)),
    "tan": (np.tan, (-1e6, 1e6)),
    "asin": (np.arcsin, (-1.0, 1.0)),
    "acos": (np.arccos, (-1.0, 1.0)),
    "atan": (np.arctan, (-1e3, 1e3)),
    "sinh": (np.sinh, (-89.0, 89.0)),
    "cosh": (np.cosh, (-89.0, 89.0)),
    "asinh": (np.arcsinh, (-1e6, 1e6)),
    "acosh": (np.arccosh, (1.0, 1e6)),
    "atanh": (np.arctanh, (-0.9999999, 0.9999999)),
}


def source(target: Target) -> str:
    """Return the target's headers, and a function each_NAME for each function."""
    code = target.source()
    for name in (*NAMES, *PAIRS):
        arguments = "const float *x, const float *z, " if name in PAIRS else "const float *x, "
        values = "ld(x + i), ld(z + i)" if name in PAIRS else "ld(x + i)"
        code += (
            f'\n__attribute__((visibility("default"))) void each_{name}({arguments}float *y, long n) '
            f"{{ for (long i = 0; i < n; i += TAMIS_LANES) st(y + i, f_{name}({values})); }}"
        )
    return code


def local_runner(target: Target, folder: Path, require_target):
    path = folder / "functions.so"
    compile_shared(find_compiler(), source(target), path, target.flags)
    require_target(target)
    library = ctypes.CDLL(str(path))

    def run(name: str, arrays: np.ndarray) -> np.ndarray:
        result = np.empty(arrays.shape[1], np.float32)
        pointers = [ctypes.c_void_p(one.ctypes.data) for one in (*arrays, result)]
        getattr(library, f"each_{name}")(*pointers, ctypes.c_long(len(result)))
        return result

    return run


def foreign_runner(target: Target, folder: Path):
    compiler, emulator = f"{target.machine}-linux-gnu-gcc", f"qemu-{target.machine}"
    for tool in (compiler, emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool} (Debian's gcc-{target.machine}-linux-gnu and qemu-user)")
    names = (*NAMES, *PAIRS)
    calls = [
        f"case {number}: each_{name}({'x, z, y' if name in PAIRS else 'x, y'}, n); break;"
        for number, name in enumerate(names)
    ]
    file, program = folder / "functions.c", folder / "functions"
    file.write_text(source(target) + FOREIGN_MAIN.replace("CASES", " ".join(calls)))
    command = [compiler, *COMPILE_FLAGS, *target.flags, "-static", str(file), "-o", str(program), "-lm"]
    subprocess.run(command, check=True, timeout=300)

    def run(name: str, arrays: np.ndarray) -> np.ndarray:
        command = [emulator, str(program), str(names.index(name)), str(arrays.shape[1])]
        done = subprocess.run(command, input=arrays.tobytes(), capture_output=True, check=True, timeout=300)
        return np.frombuffer(done.stdout, np.float32)

    return run


@pytest.fixture(scope="module", params=NATIVE_TARGETS, ids=lambda target: target.name)
def call(request, tmp_path_factory, require_target):
    """Return a function that applies one vector function to arrays, on a target."""
    target, folder = request.param, tmp_path_factory.mktemp("functions")
    if target.machine in ("", platform.machine()):
        run = local_runner(target, folder, require_target)
    else:
        run = foreign_runner(target, folder)

    def apply(name: str, *values: np.ndarray) -> np.ndarray:
        count = len(values[0])
        arrays = np.zeros((len(values), -(-count // 16) * 16), np.float32)
        arrays[:, :count] = values
        return run(name, arrays)[:count]

    return apply


def test_gate_is_accurate_to_a_few_ulp(call):
    rng = np.random.default_rng(3)
    a, b = rng.uniform(-40, 40, POINTS), rng.uniform(-9, 9, POINTS)
    b[::2] = rng.choice([-1, 1], POINTS // 2) * np.exp(rng.uniform(np.log(1e-6), 1, POINTS // 2))
    a, b = a.astype(np.float32), b.astype(np.float32)
    exact = np.tanh(b.astype(np.float64)) / (1.0 + np.exp(-a.astype(np.float64)))
    off = np.abs(call("gate", a, b) - exact) / np.spacing(np.abs(exact).astype(np.float32))
    worst = int(off.argmax())
    assert off[worst] <= FUNCTIONS["gate"].ulp, (
        f"gate({a[worst]!r}, {b[worst]!r}) is off by {off[worst]:.2f} ulp"
    )


@pytest.mark.parametrize(
    ("a", "b", "y"),
    [(np.inf, np.inf, 1.0), (0.0, -np.inf, -0.5), (np.nan, 1.0, np.nan), (1.0, np.nan, np.nan), (3.0, 0.0, 0.0)],
)  # fmt: skip
def test_gate_at_infinities_nan_and_zero(call, a, b, y):
    np.testing.assert_array_equal(call("gate", np.array([a]), np.array([b])), np.float32([y]))


def test_closed_gate_is_nearly_zero(call):
    assert abs(float(call("gate", np.array([-np.inf]), np.array([5.0]))[0])) < 1e-20


@pytest.mark.parametrize(("name", "function"), [("sin", np.sin), ("cos", np.cos), ("tan", np.tan)])
def test_angles_of_any_size(call, name, function):
    rng = np.random.default_rng(5)
    x = np.exp(rng.uniform(np.log(300.0), np.log(3e38), 20_000)) * rng.choice([-1, 1], 20_000)
    x = x.astype(np.float32)
    exact = function(x.astype(np.float64))
    off = np.abs(call(name, x) - exact) / np.spacing(np.abs(exact).astype(np.float32))
    assert off.max() <= 0.501, f"{name}({x[off.argmax()]!r}) is off by {off.max():.3f} ulp"


def test_powers(call):
    rng = np.random.default_rng(6)
    x = np.exp(rng.uniform(-40, 40, POINTS)).astype(np.float32)
    y = (rng.uniform(-80, 80, POINTS) / np.abs(np.log(x)).clip(1)).astype(np.float32)
    x[::3], y[::3] = rng.uniform(-50, 50, len(x[::3])).round(), rng.integers(-8, 9, len(x[::3]))
    with np.errstate(all="ignore"):
        exact = x.astype(np.float64) ** y
    fits = np.isfinite(exact) & (np.abs(exact) < 3e38) & (np.abs(exact) > 1e-37)
    off = np.abs(call("pow", x, y)[fits] - exact[fits]) / np.spacing(np.abs(exact[fits]).astype(np.float32))
    assert off.max() <= FUNCTIONS["pow"].ulp
    with np.errstate(all="ignore"):
        for a in (0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, np.inf, -np.inf, np.nan):
            for b in (0.0, 1.0, -1.0, 2.0, 3.0, -3.0, 0.5, -0.5, np.inf, -np.inf, np.nan):
                want = np.float32(a) ** np.float32(b)
                got = call("pow", np.array([a]), np.array([b]))[0]
                np.testing.assert_array_equal(got, want, err_msg=f"pow({a}, {b})")
                assert np.isnan(got) or np.signbit(got) == np.signbit(want), (a, b)


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_accurate_to_a_few_ulp(call, name):
    function, (low, high) = EXACT_FUNCTIONS[name]
    rng = np.random.default_rng(3)
    even = rng.uniform(low, high, POINTS // 2)
    least = max(low, 1e-6) if low > 0 else 1e-6
    small = np.exp(rng.uniform(np.log(least), np.log(high), POINTS // 2)) * (
        1 if low > 0 else rng.choice([-1, 1], POINTS // 2)
    )
    x = np.concatenate([even, small.clip(low, high)]).astype(np.float32)
    exact = function(x.astype(np.float64))
    off = np.abs(call(name, x) - exact) / np.spacing(np.abs(exact).astype(np.float32))
    worst = int(off.argmax())
    assert off[worst] <= FUNCTIONS[name].ulp, f"{name}({x[worst]!r}) is off by {off[worst]:.2f} ulp"


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("exp", np.inf, np.inf), ("exp", -np.inf, 0.0), ("exp", np.nan, np.nan), ("exp", 0.0, 1.0),
        ("expm1", np.inf, np.inf), ("expm1", -np.inf, -1.0), ("expm1", np.nan, np.nan), ("expm1", 0.0, 0.0),
        ("log", 0.0, -np.inf), ("log", -1.0, np.nan), ("log", np.inf, np.inf), ("log", np.nan, np.nan), ("log", 1.0, 0.0),
        ("tanh", np.inf, 1.0), ("tanh", -np.inf, -1.0), ("tanh", np.nan, np.nan), ("tanh", 0.0, 0.0),
        ("sigmoid", np.inf, 1.0), ("sigmoid", np.nan, np.nan), ("sigmoid", 0.0, 0.5),
        ("erf", np.inf, 1.0), ("erf", -np.inf, -1.0), ("erf", np.nan, np.nan), ("erf", 0.0, 0.0),
        ("softplus", 100.0, 100.0), ("softplus", -np.inf, 0.0), ("softplus", np.nan, np.nan),
        ("sin", np.inf, np.nan), ("cos", -np.inf, np.nan), ("sin", 0.0, 0.0), ("cos", 0.0, 1.0),
    ],
)  # fmt: skip
def test_functions_at_infinities_nan_and_zero(call, name, x, y):
    np.testing.assert_array_equal(call(name, np.array([x])), np.float32([y]))
