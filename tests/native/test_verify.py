"""The verifier finds every kind of error that a pass can make, and a pass that makes one is stopped under `verifying()`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tamis.native.expression import Accumulator, Call, Load, Number
from tamis.native.passes import Pass, ProgramCondition, verifying
from tamis.native.program import Choice, Contract, Loop, Map, Pick, Program, Reduce
from tamis.native.verify import problems
from tamis.native.view import Buffer, Role, View

X = Buffer("x", 12, Role.INPUT)
Y = Buffer("y", 12, Role.OUTPUT)
W = Buffer("w", 12, Role.CONSTANT)
T = Buffer("t", 12)
x, y, w, t = (View.whole(buffer, (3, 4)) for buffer in (X, Y, W, T))
COPY = Map(Load(x), y)


def program(*statements, outputs=(Y,)) -> Program:
    return Program([X], list(outputs), {W: np.ones(12, np.float32)}, list(statements))


def test_a_copy_is_well_formed() -> None:
    assert list(problems(program(COPY))) == []


def test_a_loop_whose_views_advance_is_well_formed() -> None:
    step = Map(Load(x.turning(0, backward=False)), y.turning(0, backward=True))
    assert list(problems(program(Loop(3, (step,))))) == []


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ([Map(Load(t), y)], "reads elements of 't' that are not written yet"),
        ([Map(Load(x.moved(1)), y)], "covers elements 1 to 12"),
        ([Map(Load(x.slice(0, 0, 3, -1)), y)], "covers elements -8 to 3"),
        ([COPY, Map(Number(0.0, x.shape), x)], "writes to the input 'x'"),
        ([COPY, Map(Number(0.0, w.shape), w)], "writes to the constant 'w'"),
        ([Map(Load(x.slice(0, 0, 2)), y.slice(0, 0, 2))], "output 'y' is not written in full"),
        ([Map(Load(x.slice(0, 0, 2)), y)], "value has shape (2, 4), not (3, 4)"),
        ([Map(Call("add", (Load(x),), x.shape), y)], "add of 1 arguments"),
        ([Map(Call("besselj", (Load(x),), x.shape), y)], "besselj"),
        ([Map(Call("add", (Load(x), Load(x.at(0, 0))), x.shape), y)], "argument of shape (4,)"),
        ([Map(Accumulator(x.shape), y)], "accumulator 0 of 0"),
        ([COPY, Map(Load(y.slice(0, 0, 2)), y.slice(0, 1, 2))], "overwrites elements of 'y' that it reads"),
        ([Map(Load(replace(x, step=1)), y)], "outside of a loop"),
        ([COPY, Loop(4, (Map(Load(x.turning(0, backward=False)), y.turning(0, backward=False)),))], "iteration 3"),
        ([COPY, Loop(2, (Loop(2, (COPY,)),))], "loop inside a loop"),
        ([COPY, Reduce("sum", Load(x), View.whole(T, (4,)))], "result has shape (4,), not (3,)"),
        ([Pick(x.slice(0, 0, 1).expand((3, 4)), (Choice(w, 4, 4),), y)], "covers elements 0 to 15"),
        ([Contract(x.insert(0), 1, np.ones((1, 4, 3)), np.ones((1, 3)), y.insert(0))], "input has shape (1, 3), not (1, 4)"),
    ],
)  # fmt: skip
def test_errors_are_found(statements, message) -> None:
    assert any(message in one for one in problems(program(*statements)))


def test_a_constant_has_the_size_and_type_of_its_buffer() -> None:
    wrong = Program([X], [Y], {W: np.ones(11)}, [COPY])
    assert any("11 numbers of float64" in one for one in problems(wrong))


class DropStatements(Pass):
    """Return a program without statements."""

    name = "drop-statements"
    requires = (ProgramCondition("there is a loop", lambda found: iter([] if any(one.nested() for one in found.statements) else ["none"])),)  # fmt: skip

    def apply(self, program: Program) -> Program:
        """Drop them."""
        return replace(program, statements=[])


def test_a_pass_that_breaks_a_program_is_stopped() -> None:
    loop = program(COPY, Loop(2, (COPY,)))
    with verifying(), pytest.raises(AssertionError, match=r"after the pass drop-statements, .* not written in full"):  # fmt: skip
        DropStatements()(loop)


def test_a_pass_is_not_applied_where_a_condition_that_it_requires_does_not_hold() -> None:
    with (
        verifying(),
        pytest.raises(AssertionError, match=r"before the pass drop-statements, .* there is a loop"),
    ):
        DropStatements()(program(COPY))
