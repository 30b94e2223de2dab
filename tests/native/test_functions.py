"""The functions that generated code calls: how far they are from the true value, in units of the last place."""

from __future__ import annotations

import ctypes
import math
from importlib.resources import files

import numpy as np
import pytest

from tamis.native.build import LEVELS, compile_shared, find_compiler

NAMES = ("exp", "expm1", "log", "tanh", "sigmoid", "erf", "softplus", "sin", "cos")
POINTS = 200_000


def erf(x: np.ndarray) -> np.ndarray:
    return np.frompyfunc(math.erf, 1, 1)(x).astype(np.float64)


# the true function, where it is looked at, and the units that it may be off
TRUTH = {
    "exp": (np.exp, (-87.0, 88.7), 1.5),
    "expm1": (np.expm1, (-87.0, 88.0), 2.0),
    "log": (np.log, (1e-38, 1e4), 1.5),
    "tanh": (np.tanh, (-9.5, 9.5), 3.5),
    "sigmoid": (lambda x: 1.0 / (1.0 + np.exp(-x)), (-80.0, 80.0), 3.0),
    "erf": (erf, (-4.5, 4.5), 2.0),
    "softplus": (lambda x: np.logaddexp(0.0, x), (-60.0, 60.0), 3.0),
    "sin": (np.sin, (-3.0, 3.0), 2.0),
    "cos": (np.cos, (-1.5, 1.5), 2.0),
}


@pytest.fixture(scope="module", params=LEVELS, ids=lambda level: level.name)
def call(request, tmp_path_factory, run_level):
    """Return what applies a function of one instruction set to an array."""
    level = request.param
    code = (
        f"#define TAMIS_LANES {level.target.lanes}\n"
        + files("tamis.native.c").joinpath("vector.h").read_text()
    )
    for name in (*NAMES, "gate"):
        given, read = (
            ("const float *x, ", "ld(x + i)")
            if name != "gate"
            else ("const float *x, const float *z, ", "ld(x + i), ld(z + i)")
        )
        code += (
            f'\n__attribute__((visibility("default"))) void each_{name}({given}float *y, long n) '
            f"{{ for (long i = 0; i < n; i += TAMIS_LANES) st(y + i, f_{name}({read})); }}"
        )
    path = tmp_path_factory.mktemp("functions") / "functions.so"
    compile_shared(find_compiler(), code, path, level.flags)
    run_level(level)
    library = ctypes.CDLL(str(path))

    def apply(name: str, *values: np.ndarray) -> np.ndarray:
        count = len(values[0])
        given = np.zeros((len(values) + 1, -(-count // 16) * 16), np.float32)
        given[:-1, :count] = values
        run = getattr(library, f"each_{name}")
        run(*(ctypes.c_void_p(one.ctypes.data) for one in given), ctypes.c_long(given.shape[1]))
        return given[-1, :count]

    return apply


def test_a_gate_is_right_to_a_few_units_of_the_last_place(call):
    rng = np.random.default_rng(3)
    a, b = rng.uniform(-40, 40, POINTS), rng.uniform(-9, 9, POINTS)
    b[::2] = rng.choice([-1, 1], POINTS // 2) * np.exp(rng.uniform(np.log(1e-6), 1, POINTS // 2))
    a, b = a.astype(np.float32), b.astype(np.float32)
    true = np.tanh(b.astype(np.float64)) / (1.0 + np.exp(-a.astype(np.float64)))
    off = np.abs(call("gate", a, b) - true) / np.spacing(np.abs(true).astype(np.float32))
    worst = int(off.argmax())
    assert off[worst] <= 5.0, f"gate({a[worst]!r}, {b[worst]!r}) is {off[worst]:.2f} units off"


@pytest.mark.parametrize(
    ("a", "b", "y"),
    [(np.inf, np.inf, 1.0), (0.0, -np.inf, -0.5), (np.nan, 1.0, np.nan), (1.0, np.nan, np.nan), (3.0, 0.0, 0.0)],
)  # fmt: skip
def test_a_gate_at_its_ends(call, a, b, y):
    np.testing.assert_array_equal(call("gate", np.array([a]), np.array([b])), np.float32([y]))


def test_a_closed_gate_lets_nothing_through(call):
    assert abs(float(call("gate", np.array([-np.inf]), np.array([5.0]))[0])) < 1e-20


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_right_to_a_few_units_of_the_last_place(call, name):
    truth, (low, high), units = TRUTH[name]
    rng = np.random.default_rng(3)
    even = rng.uniform(low, high, POINTS // 2)
    least = max(low, 1e-6) if low > 0 else 1e-6
    small = np.exp(rng.uniform(np.log(least), np.log(high), POINTS // 2)) * (
        1 if low > 0 else rng.choice([-1, 1], POINTS // 2)
    )
    x = np.concatenate([even, small.clip(low, high)]).astype(np.float32)
    true = truth(x.astype(np.float64))
    off = np.abs(call(name, x) - true) / np.spacing(np.abs(true).astype(np.float32))
    worst = int(off.argmax())
    assert off[worst] <= units, f"{name}({x[worst]!r}) is {off[worst]:.2f} units off"


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
def test_functions_at_their_ends(call, name, x, y):
    np.testing.assert_array_equal(call(name, np.array([x])), np.float32([y]))
