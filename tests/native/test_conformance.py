"""ONNX's own conformance cases: none is computed wrong, and most are computed.

Their axes, sizes and other numbers that shapes depend on are inputs, and stay inputs: the compiler holds them at the values of the example.
`python -m pytest tests/native/test_conformance.py -m slow -s` prints how many are computed, and why the others are rejected.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import pytest

from tamis._base import ModelError
from tamis.native import CompiledModel, Ways, compile_model
from tamis.native.limits import LARGEST_EXACT_INTEGER
from tamis.native.targets import find_target

pytestmark = pytest.mark.slow

LEAST_FRACTION = 0.89  # of the cases that are computed: 1087 of 1211 of onnx 1.23
IN_ONE_FILE = 100  # modules
# Functions of the header are called instead of inlined, which takes a quarter of the time to compile.
FAST_FLAGS = ("-Dalways_inline=unused", "-w")
WAYS = Ways(wide=(), narrow=(1,))


@dataclass(frozen=True)
class OnnxCase:
    """A model of one operator with arrays for it."""

    name: str
    model: onnx.ModelProto
    inputs: list[np.ndarray]
    outputs: list[np.ndarray]
    relative: float
    absolute: float

    @property
    def event(self) -> dict[str, np.ndarray]:
        """Return the inputs by name."""
        return {one.name: array for one, array in zip(self.model.graph.input, self.inputs, strict=True)}


def conformance_cases() -> Iterator[OnnxCase]:
    """Yield the cases whose inputs and outputs are arrays of numbers, without those that expand another one."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    for case in found:
        inputs, outputs = case.data_sets[0]
        arrays = (*inputs, *outputs)
        is_plain = all(
            isinstance(one, np.ndarray | np.generic) and one.dtype.kind in "fiub" for one in arrays
        )
        if is_plain and "expanded" not in case.name and len(inputs) == len(case.model.graph.input):
            yield OnnxCase(
                case.name, case.model, list(map(np.asarray, inputs)), list(map(np.asarray, outputs)), case.rtol, case.atol
            )  # fmt: skip


def compiled(case: OnnxCase) -> CompiledModel:
    """Return a compiled case; ModelError if it is rejected."""
    made = compile_model(case.model, case.event, find_target("portable"), WAYS)
    for name in set(made.graph.inputs) - set(made.graph.held):
        array = case.event[name]
        if (
            array.dtype.kind in "iu"
            and array.size
            and np.abs(array.astype(float)).max() > LARGEST_EXACT_INTEGER
        ):
            raise ModelError("an input has integers that are not exact as floats")  # as a call does
    return made


def difference(found: np.ndarray, expected: np.ndarray, case: OnnxCase) -> str:
    """Return how a result differs from that of the case, '' if it does not; integers have to be equal."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return f"{found.dtype}{found.shape}, expected {expected.dtype}{expected.shape}"
    exact = expected.dtype.kind in "biu"
    tolerance = (0.0, 0.0) if exact else (case.relative, case.absolute)
    same = np.isclose(found.astype(np.float64), expected.astype(np.float64), *tolerance, equal_nan=True)
    return "" if same.all() else f"{found[~same][:3]}, expected {expected[~same][:3]}"


def why(error: ModelError) -> str:
    """Return the reason of an error without names."""
    text = re.sub(r"the node '[^']*' ", "", str(error)).split("; ")[0]
    return re.sub(r"'[^']*'", "...", text).removeprefix("the native engine does not compile ")


def test_no_conformance_case_is_wrong_and_most_are_computed(build_of, tmp_path) -> None:
    made: dict[str, CompiledModel] = {}
    rejected: dict[str, list[str]] = defaultdict(list)
    cases = {case.name: case for case in conformance_cases()}
    for name, case in cases.items():
        try:
            made[name] = compiled(case)
        except ModelError as error:
            rejected[why(error)].append(name)
    wrong, names = [], list(made)
    for first in range(0, len(names), IN_ONE_FILE):
        part, folder = names[first : first + IN_ONE_FILE], tmp_path / str(first)
        folder.mkdir()
        runs = build_of(
            {name: made[name].module for name in part}, folder, find_target("portable"), "-O0", FAST_FLAGS
        )
        for name in part:
            graph, case = made[name].graph, cases[name]
            results = runs[name]([case.event[one][None] for one in graph.inputs])
            for output, result, expected in zip(graph.outputs, results, case.outputs, strict=True):
                kind = graph.types[output]
                with np.errstate(all="ignore"):
                    found = result.reshape(kind.shape).astype(kind.dtype)
                problem = difference(found, expected, case)
                wrong += [f"{name}: {output} is {problem}"] if problem else []
    right = len(made) - len({one.split(":")[0] for one in wrong})
    table = [
        f"{len(found):4} {reason}: {', '.join(found[:3])}"
        for reason, found in sorted(rejected.items(), key=lambda one: -len(one[1]))
    ]
    report = "\n".join([f"{right} of {len(cases)} cases are right, {len(wrong)} wrong", *wrong, *table])
    print(report)
    assert not wrong, report
    assert right >= LEAST_FRACTION * len(cases), report
