"""Missing values: comparisons are false, computations stay missing, the values of other events do not change."""

import awkward as ak
import numpy as np
import pytest

from tamis.events import MISSING, Frame, Jagged, hold_missing, is_missing, with_missing
from tamis.trigger.stages import parse_expression

NAN = np.float32("nan")


def frame(values, counts, **more):
    offsets = np.append(0, np.cumsum(counts))
    columns = {"score": Jagged(offsets, np.array(values, np.float32)), **more}
    return Frame(columns, len(counts), None, hold_missing(columns.values()))


@pytest.fixture
def three():
    """Return an event with a missing and a low score, one with missing scores alone, and one with high scores."""
    met = np.array([10, 20, 30], np.float32)
    return frame([MISSING, 1, MISSING, MISSING, 7, 9], [2, 2, 2], MET_pt=met)


CASES = {
    "any(score > 0)": [True, False, True],
    "any(score < 5)": [True, False, False],
    "any(score != 1)": [False, False, True],
    "any(score == score)": [True, False, True],
    "any(not (score > 0))": [True, True, False],
    "all(score > 0)": [False, False, True],
    "count(missing(score))": [1, 2, 0],
    "any(missing(score * 2 + MET_pt))": [True, True, False],
    "any(score ** 0 == 1)": [True, False, True],
    "any(hypot(score, 1 / 0.0) > 0)": [True, False, True],
    "count(score)": [1, 0, 2],
    "count(not score)": [1, 2, 0],
    "any(score and MET_pt > 0)": [True, False, True],
    "any(5 < score < 8)": [False, False, True],
    "max(score) > 0": [True, False, True],
    "max(score) < 99": [True, False, True],
    "missing(max(score))": [False, True, False],
    "missing(sum(score))": [False, True, False],
    "missing(min(score))": [False, True, False],
    "sum(where(missing(score), 100, score))": [101, 200, 16],
    "missing(at(score, 0, 3))": [True, True, False],
    "at(score, 5, 3)": [3, 3, 3],
    "missing(-abs(exp(log(sqrt(at(score, 1, 3))))))": [False, True, False],
    "missing(MET_pt)": [False, False, False],
    "sum(score) > MET_pt": [False, False, False],
}


@pytest.mark.parametrize("text", CASES)
def test_missing_values_in_expressions(text, three):
    value, undecided = parse_expression(text)(three)
    assert value.tolist() == CASES[text]
    assert undecided is None


@pytest.mark.parametrize("text", CASES)
def test_other_events_get_what_they_get_without_missing_values(text, three):
    alone = Frame(three._parent, 1, slice(2, 3))
    assert parse_expression(text)(alone)[0].tolist() == CASES[text][2:]


def test_a_nan_beside_a_missing_value_is_still_undecided():
    both = frame([MISSING, NAN, MISSING, 2, 3], [2, 2, 1])
    value, undecided = parse_expression("any(score > 1)")(both)
    assert value.tolist() == [False, True, True]
    assert undecided.tolist() == [True, False, False]
    fault = parse_expression("any(score - NAN > 1)".replace("NAN", "(1 / 0.0 - 1 / 0.0)"))(both)[1]
    assert fault.tolist() == [True, True, True]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_missing_values_survive_conversions_and_no_computation_makes_one(kind):
    values = with_missing(np.array([1, 2, 3], kind), np.array([False, True, False]))
    assert values.dtype == kind
    for other in (np.float16, np.float32, np.float64):
        assert is_missing(values.astype(other).astype(kind)).tolist() == [False, True, False]
        assert is_missing(-values.astype(other)).tolist() == [False, True, False]
    with np.errstate(all="ignore"):
        made = [
            np.array([0], kind) / np.array([0], kind),
            np.log(np.array([-1], kind)),
            np.array([np.nan], kind),
        ]
    assert not any(is_missing(nan).any() for nan in made)


def test_integers_with_missing_values_become_float64():
    values = with_missing(np.array([5, 6]), np.array([True, False]))
    assert values.dtype == np.float64
    assert is_missing(values).tolist() == [True, False]
    assert not is_missing(np.array([1, 2])).any()


def test_missing_values_of_lists_are_found_in_their_structure():
    flat = with_missing(np.array([1, 2, 3], np.float32), np.array([False, True, False]))
    lists = ak.unflatten(flat, [2, 0, 1])  # as uproot reads a score
    assert is_missing(lists).to_list() == [[False, True], [], [False]]
    assert is_missing(ak.Array([[None, 1.0], []])).to_list() == [[True, False], []]  # as Parquet has it
    assert is_missing(ak.Array([[1, 2], []])).to_list() == [[False, False], []]
