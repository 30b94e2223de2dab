"""Options of a distillation: wrong ones are named."""

from __future__ import annotations

import pytest

from tamis._base import UsageError
from tamis.compress import DistilOptions
from tamis.compress.distillation.options import parse_size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"student": "trees"}, "expected one of dense, conv, particles"),
        ({"loss": "huber"}, "of mae, mse"),
        ({"student": "conv", "size": (4,)}, "as in 8,16"),
        ({"student": "particles", "size": (4, 8)}, "as in 32,12,16"),
        ({"size": (0,)}, "expected numbers of at least 1"),
        ({"tail": -1.0}, "expected at least 0"),
        ({"epochs": 0}, "expected at least 1 of both"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(UsageError, match=message):
        DistilOptions(**options)


def test_a_size_is_numbers():
    assert parse_size("64, 16") == (64, 16)
    with pytest.raises(UsageError, match="not of the form 64,16"):
        parse_size("64x16")
