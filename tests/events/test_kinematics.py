"""Angles, distances and pairs against slow and obvious formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tamis.events.kinematics import (
    delta_phi,
    delta_phi_of_floats,
    delta_r_squared,
    expand_ranges,
    pairs_by_offsets,
    pairs_in_event,
    pseudorapidity,
    wrap_phi,
)

RNG = np.random.default_rng(7)
ANGLES = RNG.uniform(-3 * np.pi, 3 * np.pi, 2000)


def angle(phi):
    return math.atan2(math.sin(phi), math.cos(phi))


def test_wrapped_azimuths_are_the_same_direction_in_the_half_open_range():
    found = wrap_phi(ANGLES)
    np.testing.assert_allclose(found, [angle(phi) for phi in ANGLES], atol=1e-14)
    assert found.min() >= -np.pi
    assert found.max() < np.pi
    assert wrap_phi(np.array([np.pi]))[0] == -np.pi


def test_a_difference_of_azimuths_is_the_short_way_around():
    found = delta_phi(ANGLES[:1000], ANGLES[1000:])
    expected = [angle(one - two) for one, two in zip(ANGLES[:1000], ANGLES[1000:], strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-14)
    assert np.abs(found).max() <= np.pi


def test_a_difference_that_needs_no_wrapping_is_exact():
    one, two = RNG.uniform(-1, 1, (2, 500)).astype(np.float32)
    np.testing.assert_array_equal(delta_phi(one, two), one - two)
    assert delta_phi(one, two).dtype == np.float32


def test_the_difference_of_two_floats_is_that_of_arrays():
    one, two = RNG.uniform(-np.pi, np.pi, (2, 1000))
    found = [delta_phi_of_floats(a, b) for a, b in zip(one.tolist(), two.tolist(), strict=True)]
    np.testing.assert_array_equal(found, delta_phi(one, two))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_have_no_direction(value):
    assert math.isnan(delta_phi_of_floats(value, 0.1))
    with np.errstate(invalid="ignore"):
        assert np.isnan(delta_phi(np.array([value]), np.array([0.1])))[0]


def test_delta_r_squared_wraps_the_azimuth():
    found = delta_r_squared(np.array([1.0]), np.array([3.1]), np.array([0.6]), np.array([-3.1]))
    assert found[0] == pytest.approx(0.4**2 + (2 * np.pi - 6.2) ** 2)


def test_pseudorapidity_is_that_of_the_polar_angle_and_finite_along_the_beam():
    pt, pz = RNG.uniform(0.1, 100, 300), RNG.uniform(-500, 500, 300)
    np.testing.assert_allclose(pseudorapidity(pt, pz), -np.log(np.tan(np.arctan2(pt, pz) / 2)), atol=1e-9)
    np.testing.assert_array_equal(pseudorapidity(np.zeros(2), np.array([7.0, -7.0])), [1e5, -1e5])


def test_ranges_are_expanded_to_their_elements():
    owner, element = expand_ranges(np.array([5, 0, 9]), np.array([2, 0, 3]))
    assert owner.tolist() == [0, 0, 2, 2, 2]
    assert element.tolist() == [5, 6, 9, 10, 11]


def test_both_ways_to_build_pairs_give_every_pair_of_one_event():
    other = np.sort(RNG.integers(0, 12, 40))
    event = RNG.integers(0, 12, 25)
    expected = [(i, j) for i, one in enumerate(event) for j, two in enumerate(other) if one == two]
    found = pairs_in_event(event, other)
    assert list(zip(*(indices.tolist() for indices in found), strict=True)) == expected
    offsets = np.searchsorted(other, np.arange(13))
    by_offsets = pairs_by_offsets(event, offsets)
    assert list(zip(*(indices.tolist() for indices in by_offsets), strict=True)) == expected
    assert [len(indices) for indices in pairs_in_event(event[:0], other)] == [0, 0]
