"""The scalar functions of generated code: what expressions may call, what a call costs, and how accurate it is.

Every function here is `f_<name>` in the C header, on every instruction set, and there are no others there
(`tests/native/test_function_table.py`). Accuracy is measured against float64 by `test_functions.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

SIMPLE, COSTLY = 1, 12  # instructions; a polynomial of degree 5 to 9 with its range reduction takes 10 to 20
EXACT, ROUNDED = 0.0, 0.5  # ulp: the result is a float anyway; correctly rounded
ROUNDED_BUT_TIES = 0.501  # rounded from double precision


@dataclass(frozen=True)
class ScalarFunction:
    """A function of one to three floats."""

    name: str
    arity: int
    cost: int  # instructions per vector, about: passes and estimates weigh expressions by it
    ulp: float  # largest error, in units in the last place


FUNCTIONS = {
    function.name: function
    for function in (
        # arithmetic; booleans are 0 and 1
        ScalarFunction("abs", 1, SIMPLE, EXACT),
        ScalarFunction("neg", 1, SIMPLE, EXACT),
        ScalarFunction("add", 2, SIMPLE, ROUNDED),
        ScalarFunction("sub", 2, SIMPLE, ROUNDED),
        ScalarFunction("mul", 2, SIMPLE, ROUNDED),
        ScalarFunction("div", 2, COSTLY, ROUNDED),
        ScalarFunction("fma", 3, SIMPLE, ROUNDED),  # a b + c
        ScalarFunction("fms", 3, SIMPLE, ROUNDED),  # a b - c
        ScalarFunction("fnma", 3, SIMPLE, ROUNDED),  # c - a b
        ScalarFunction("max", 2, SIMPLE, EXACT),  # of two operands the second one where either is NaN
        ScalarFunction("min", 2, SIMPLE, EXACT),
        ScalarFunction("sqrt", 1, COSTLY, ROUNDED),
        ScalarFunction("reciprocal", 1, SIMPLE, ROUNDED),
        ScalarFunction("floor", 1, SIMPLE, EXACT),
        ScalarFunction("ceil", 1, SIMPLE, EXACT),
        ScalarFunction("round", 1, SIMPLE, EXACT),  # ties to even
        ScalarFunction("trunc", 1, SIMPLE, EXACT),
        ScalarFunction("relu", 1, SIMPLE, EXACT),
        ScalarFunction("sign", 1, SIMPLE, EXACT),
        ScalarFunction("half", 1, SIMPLE, EXACT),  # rounded to float16
        # bits of integers
        ScalarFunction("bit_and", 2, SIMPLE, EXACT),
        ScalarFunction("bit_or", 2, SIMPLE, EXACT),
        ScalarFunction("bit_xor", 2, SIMPLE, EXACT),
        # comparisons
        ScalarFunction("greater", 2, SIMPLE, EXACT),
        ScalarFunction("less", 2, SIMPLE, EXACT),
        ScalarFunction("equal", 2, SIMPLE, EXACT),
        ScalarFunction("greater_equal", 2, SIMPLE, EXACT),
        ScalarFunction("less_equal", 2, SIMPLE, EXACT),
        ScalarFunction("not", 1, SIMPLE, EXACT),
        ScalarFunction("isnan", 1, SIMPLE, EXACT),
        ScalarFunction("where", 3, SIMPLE, EXACT),  # condition, then, else
        # polynomials of our own
        ScalarFunction("exp", 1, COSTLY, 1.5),
        ScalarFunction("expm1", 1, SIMPLE, 2.0),
        ScalarFunction("log", 1, COSTLY, 1.5),
        ScalarFunction("tanh", 1, COSTLY, 3.5),
        ScalarFunction("sigmoid", 1, COSTLY, 3.0),
        ScalarFunction("gate", 2, COSTLY, 5.0),  # sigmoid(a) tanh(b)
        ScalarFunction("erf", 1, COSTLY, 2.0),
        ScalarFunction("softplus", 1, SIMPLE, 3.0),
        ScalarFunction("sin", 1, COSTLY, 2.0),  # between -3 and 3
        ScalarFunction("cos", 1, COSTLY, 2.0),  # between -1.5 and 1.5
        # lane by lane in double precision
        ScalarFunction("tan", 1, SIMPLE, ROUNDED_BUT_TIES),
        ScalarFunction("asin", 1, SIMPLE, ROUNDED_BUT_TIES),
        ScalarFunction("acos", 1, SIMPLE, ROUNDED_BUT_TIES),
        ScalarFunction("atan", 1, SIMPLE, ROUNDED_BUT_TIES),
        ScalarFunction("sinh", 1, SIMPLE, ROUNDED_BUT_TIES),
        ScalarFunction("cosh", 1, SIMPLE, ROUNDED_BUT_TIES),
        ScalarFunction("asinh", 1, SIMPLE, ROUNDED_BUT_TIES),
        ScalarFunction("acosh", 1, SIMPLE, ROUNDED_BUT_TIES),
        ScalarFunction("atanh", 1, SIMPLE, ROUNDED_BUT_TIES),
        ScalarFunction("pow", 2, COSTLY, ROUNDED_BUT_TIES),
        ScalarFunction("fmod", 2, SIMPLE, EXACT),  # the sign of the dividend
        ScalarFunction("mod", 2, SIMPLE, ROUNDED),  # the sign of the divisor
    )
}
