"""A model as a shared object, for every processor that this host can stand in for."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.engines import out_of_tolerance
from tamis.native import example_event
from tamis.native.build import LEVELS, build
from tamis.native.call import open_kernel


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
@pytest.mark.parametrize("name", ["dense", "conv1d", "deep-jet", "attention", "image"])
def test_every_instruction_set_reproduces_the_golden_outputs_and_knows_no_batch(
    bundle_of, level, name, run_level
):
    bundle = bundle_of(name)
    signature = bundle.manifest.signature
    inputs = [bundle.golden.inputs[spec.name] for spec in signature.inputs]
    inputs = [np.resize(array, (41, *array.shape[1:])) for array in inputs]
    built = build(bundle.model_bytes, example_event(bundle), level=level)
    run_level(level)
    kernel = open_kernel(built)
    together = kernel(inputs)
    for spec, found in zip(signature.outputs, together, strict=True):
        golden = np.resize(bundle.golden.outputs[spec.name], found.shape)
        assert not out_of_tolerance(found, golden, spec.tolerance).any()
    for size in (1, 3, 8, 17, 40):
        for part, whole in zip(kernel([array[:size] for array in inputs]), together, strict=True):
            np.testing.assert_array_equal(part.view(np.uint32), whole[:size].view(np.uint32))


def test_shapes_and_effort_are_those_of_one_event(bundle_of):
    built = build(bundle_of("conv1d").model_bytes, example_event(bundle_of("conv1d")))
    assert built.inputs == ((1, 3, 20),)
    assert built.outputs == ((1,), (1, 5))
    assert built.cycles > 10 * 6 * 9 / 32
