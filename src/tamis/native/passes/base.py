"""What every pass is: a program in, an equivalent program out, with conditions that can be checked before and after."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import ClassVar

from tamis.native.program import Program
from tamis.native.verify import problems

_VERIFYING: ContextVar[bool] = ContextVar("verifying", default=False)


@contextmanager
def verifying() -> Iterator[None]:
    """Check programs before and after every pass while this is open; tests do, production does not."""
    token = _VERIFYING.set(True)
    try:
        yield
    finally:
        _VERIFYING.reset(token)


@dataclass(frozen=True)
class ProgramCondition:
    """A named predicate on programs; `violations` yields nothing where it holds."""

    name: str
    violations: Callable[[Program], Iterator[object]]


WELL_FORMED = ProgramCondition("the program is well-formed", problems)


class Pass(ABC):
    """A rewrite of programs: the result computes the same outputs from the same inputs.

    A subclass has a name, the conditions that it requires and ensures beyond a well-formed program, and `apply`.
    """

    name: ClassVar[str]
    requires: ClassVar[tuple[ProgramCondition, ...]] = ()
    ensures: ClassVar[tuple[ProgramCondition, ...]] = ()

    @abstractmethod
    def apply(self, program: Program) -> Program:
        """Return the rewritten program; the one that is given stays as it is."""

    def __call__(self, program: Program) -> Program:
        """Apply the pass; under `verifying()`, raise AssertionError for a program that breaks a condition."""
        if not _VERIFYING.get():
            return self.apply(program)
        _require(self.requires, program, f"before the pass {self.name}")
        result = self.apply(program)
        _require((WELL_FORMED, *self.ensures), result, f"after the pass {self.name}")
        if (result.inputs, result.outputs) != (program.inputs, program.outputs):
            raise AssertionError(f"after the pass {self.name}: inputs or outputs have changed")
        return result


def run_passes(program: Program, passes: Sequence[Pass]) -> Program:
    """Apply passes in their order."""
    if _VERIFYING.get():
        _require((WELL_FORMED,), program, "before all passes")
    for one in passes:
        program = one(program)
    return program


def _require(conditions: Sequence[ProgramCondition], program: Program, when: str) -> None:
    for condition in conditions:
        found = next(condition.violations(program), None)
        if found is not None:
            raise AssertionError(f"{when}, it does not hold that {condition.name}: {found}")
