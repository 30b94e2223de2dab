"""Segments, rows and their programs: computed one after the other, they give every element of the whole program."""

from __future__ import annotations

import numpy as np
import pytest
from tests.firmware.folded.conftest import make_gru, program, program_of
from tests.fixedpoint.conftest import NAMES

from tamis.firmware.folded.moves import origins, starts
from tamis.firmware.folded.parts import NOT_NEEDED, ElementRanges, parts_of, split_products
from tamis.firmware.folded.segments import segments_of
from tamis.firmware.lower import joined
from tamis.fixedpoint import emulate, grids
from tamis.fixedpoint.emulate import FixedPointArray, Integers
from tamis.fixedpoint.program import Linear


def known_of(program):
    whole = joined(grids(program))
    return ElementRanges(whole.low, whole.high, whole.fraction)


def values_of(program, rows=20, seed=1):
    """Return all elements of all values for random inputs."""
    rng = np.random.default_rng(seed)
    inputs = []
    for one in program.inputs:
        low, high = (np.ldexp(bound, one.fraction).astype(np.int64) for bound in (one.low, one.high))
        numbers = np.ldexp(rng.integers(low, high + 1, (rows, *one.shape)).astype(float), -one.fraction)
        fraction = max(0, int(one.fraction.max()))
        inputs.append(FixedPointArray(np.rint(np.ldexp(numbers, fraction)).astype(np.int64), fraction))
    return np.concatenate(
        [value.values().reshape(rows, -1) for value in program.evaluate(Integers(), inputs)], axis=1
    )


def check(program):
    values, found, known = values_of(program), origins(program), known_of(program)
    made = 0
    for segment in segments_of(program):
        varies = known.low[segment.writes] < known.high[segment.writes]
        segment.writes = segment.writes[varies]
        if not varies.any():
            continue
        for part in parts_of(program, segment, found, known):
            for row, results in zip(part.rows, part.results, strict=True):
                slots = np.stack(
                    [
                        np.full(len(values), source.constant)
                        if source.element < 0
                        else np.ldexp(values[:, source.element], source.exponent)
                        for source in row
                    ],
                    axis=1,
                )
                sizes = np.cumsum([one.shape[0] for one in part.program.inputs])[:-1]
                (seen,) = emulate(part.program, np.split(slots, sizes, axis=1))
                needed = np.array(results) != NOT_NEEDED
                expected = values[:, np.array(results)[needed]]
                np.testing.assert_array_equal(seen.values()[:, needed], expected)
                made += needed.sum()
    return made


@pytest.mark.parametrize("name", NAMES)
def test_rows_give_the_elements_of_the_program(name):
    check(program(name))


@pytest.mark.parametrize("seed", [3, 100])
def test_rows_of_images_with_other_weights(seed):
    assert check(program("image", seed)) > 100


def test_rows_of_a_recurrent_network():
    assert check(program_of(make_gru())) > 30


def test_a_convolution_is_one_row_for_each_position():
    image = program("image")
    (segment, pooling, *_) = segments_of(image)
    (part,) = parts_of(image, segment, origins(image), known_of(image))
    positions = next(step for step in image.steps if isinstance(step, Linear)).shape[:-1]
    assert len(part.rows) == np.prod(positions)
    assert {len(results) for results in part.results} == {4}  # the channels
    assert any(NOT_NEEDED in results for results in part.results)
    windows = parts_of(image, pooling, origins(image), known_of(image))
    assert max(len(part.rows) for part in windows) > 4


def test_groups_of_channels_are_parts_of_one_segment():
    image = program("image")
    segment = segments_of(image)[2]
    assert segment.name == "k2"
    parts = parts_of(image, segment, origins(image), known_of(image))
    assert [len(part.rows) for part in parts] == [len(parts[0].rows)] * 2


def test_the_product_of_a_row_is_found():
    dense = program("dense")
    segment = segments_of(dense)[0]
    (part,) = parts_of(dense, segment, origins(dense), known_of(dense))
    read, matrix, after = split_products(part)
    assert matrix.shape == (len(read), 6)
    assert not any(isinstance(step, Linear) for step in after.steps)


def test_elements_are_numbered_over_all_values():
    dense = program("dense")
    first = starts(dense)
    assert first[0] == 0
    assert first[1] == 8
    assert first[-1] == sum(int(np.prod(dense.shape(value))) for value in range(len(first) - 1))
