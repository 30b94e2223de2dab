"""Inputs and outputs that are no floats."""

from __future__ import annotations

import numpy as np
import pytest

import tamis
from tamis._base import InputMismatchError
from tamis.bundle import pack


@pytest.fixture
def chosen(parse_model, tmp_path):
    """Return a model of which event takes which of its own elements, and where the largest is."""
    model = parse_model(
        """m (float[N, 5] x, int32[N, 2] which) => (float[N, 2] taken, int64[N, 1] place)
        { taken = GatherElements <axis = 1> (x, which)  place = ArgMax <axis = 1> (x) }"""
    )
    return pack(model, tmp_path / "chosen.tamis").bundle


def test_whole_numbers_go_in_and_come_out(chosen):
    x = np.arange(35, dtype=np.float32).reshape(7, 5) % 4
    which = np.tile(np.array([[4, -5]], np.int32), (7, 1))
    with tamis.open(chosen, "native") as session:
        found = session.run(x, which)
        np.testing.assert_array_equal(found["taken"], x[:, [4, 0]])
        assert found["place"].dtype == np.int64
        np.testing.assert_array_equal(found["place"][:, 0], x.argmax(1))
        call = session.bind(x, which)
        which[:] = [1, 2]
        np.testing.assert_array_equal(call()[0], x[:, [1, 2]])


def test_numbers_that_floats_do_not_hold_are_refused(chosen):
    x, which = np.zeros((1, 5), np.float32), np.array([[0, 2**24 + 1]], np.int32)
    with tamis.open(chosen, "native") as session:
        with pytest.raises(InputMismatchError, match="16777217 was given"):
            session.run(x, which)
        which[:] = 0
        call = session.bind(x, which)
        which[:] = 2**24 + 1
        with pytest.raises(InputMismatchError, match="16777217 was given"):
            call()
