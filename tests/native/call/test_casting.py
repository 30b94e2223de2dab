"""Integer inputs and outputs."""

from __future__ import annotations

import numpy as np
import pytest

import tamis
from tamis._base import InputMismatchError
from tamis.bundle import pack


@pytest.fixture
def selector(parse_model, tmp_path):
    """Return a bundle that selects elements of an event by its own indices, and the index of the largest."""
    model = parse_model(
        """m (float[N, 5] x, int32[N, 2] which) => (float[N, 2] taken, int64[N, 1] place)
        { taken = GatherElements <axis = 1> (x, which)  place = ArgMax <axis = 1> (x) }"""
    )
    return pack(model, tmp_path / "selector.tamis").bundle


def test_integers_are_inputs_and_outputs(selector):
    x = np.arange(35, dtype=np.float32).reshape(7, 5) % 4
    which = np.tile(np.array([[4, -5]], np.int32), (7, 1))
    with tamis.open(selector, "native") as session:
        outputs = session.run(x, which)
        np.testing.assert_array_equal(outputs["taken"], x[:, [4, 0]])
        assert outputs["place"].dtype == np.int64
        np.testing.assert_array_equal(outputs["place"][:, 0], x.argmax(1))
        call = session.bind(x, which)
        which[:] = [1, 2]
        np.testing.assert_array_equal(call()[0], x[:, [1, 2]])


def test_integers_that_float32_cannot_hold_are_rejected(selector):
    x, which = np.zeros((1, 5), np.float32), np.array([[0, 2**24 + 1]], np.int32)
    with tamis.open(selector, "native") as session:
        with pytest.raises(InputMismatchError, match="16777217 was passed"):
            session.run(x, which)
        which[:] = 0
        call = session.bind(x, which)
        which[:] = 2**24 + 1
        with pytest.raises(InputMismatchError, match="16777217 was passed"):
            call()
