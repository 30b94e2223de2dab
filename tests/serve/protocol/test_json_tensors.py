"""Conversion between JSON lists and arrays."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tamis.serve.protocol.json_tensors import array_of, data_of
from tamis.serve.protocol.messages import Refusal
from tamis.serve.protocol.tensors import DATATYPES, datatype_of

PLAIN = [name for name in DATATYPES if name not in {"FP16", "BF16", "BYTES"}]


@given(st.data(), st.sampled_from(PLAIN), st.booleans())
def test_round_trip(data, datatype, nested):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
    elements = {"allow_nan": False, "allow_infinity": False} if DATATYPES[datatype].kind == "f" else None
    array = data.draw(hnp.arrays(DATATYPES[datatype], shape, elements=elements))
    sent = array.tolist() if nested else data_of(array, "y")
    result = array_of(json.loads(json.dumps(sent)), datatype, shape, "data")
    assert datatype_of(result.dtype) == datatype
    np.testing.assert_array_equal(result, array)


def test_strings():
    result = array_of(["a", "µ", ""], "BYTES", [3], "data")
    assert result.tolist() == [b"a", "µ".encode(), b""]
    assert data_of(result, "y") == ["a", "µ", ""]


@pytest.mark.parametrize(
    ("data", "datatype", "shape", "message"),
    [
        ([[1, 2, 3], [4, 5]], "INT32", [2, 3], r"data\[1\] is a list of 2.* 3 values"),
        ([[1, 2], [3, 4], [5, 6]], "INT32", [2, 3], "data is a list of 3.* 2 values"),
        ([1, [2]], "INT32", [2], "value 1 of data is a list"),
        ([[1], 2], "INT32", [2, 1], r"data\[1\] is 2; expected a list of 1"),
        ([[[1]], [[2]]], "INT32", [2, 1], r"value 0 of data is a list"),
        ([1, 2], "INT32", [3], "2 values; the shape .3. needs 3"),
        ([1, 256], "UINT8", [2], "value 1 of data is 256, out of range for UINT8"),
        ([-1], "UINT64", [1], "is -1, out of range for UINT64"),
        ([10**400], "INT64", [1], "a number of 1329 bits"),
        ([1.0], "INT8", [1], "is 1.0; INT8 needs an integer"),
        ([True], "INT8", [1], "is True; INT8 needs an integer"),
        ([1], "BOOL", [1], "is 1; BOOL needs true or false"),
        ([None], "FP32", [1], "is None; FP32 needs a number"),
        (["1"], "FP32", [1], "is '1'; FP32 needs a number"),
        ([0, 1e39], "FP32", [2], "value 1 of data is 1e.39, out of range for FP32"),
        ([10**400], "FP64", [1], "out of range for FP64"),
        ([math.inf], "FP64", [1], "value 0 of data is inf"),
        ([1], "BYTES", [1], "needs a string"),
        (["\ud800"], "BYTES", [1], "surrogate"),
        ([1.0], "FP16", [1], "JSON cannot hold"),
        ({"a": 1}, "FP32", [1], "data is an object; it must be a list"),
        ([1], "FP23", [1], "no data type 'FP23'.*FP32"),
        ([1], "FP32", [1 << 50], "elements"),
        ([5], "INT32", [0], "a list of 1"),
    ],
)
def test_invalid_data_is_rejected_with_its_location(data, datatype, shape, message):
    with pytest.raises(Refusal, match=message) as result:
        array_of(data, datatype, shape, "data")
    assert len(str(result.value)) < 300


@pytest.mark.parametrize(
    ("array", "message"),
    [(np.ones(2, np.float16), "JSON cannot hold"), (np.array([b"\xff"], object), "not UTF-8")],
)
def test_outputs_that_json_cannot_hold_are_rejected(array, message):
    with pytest.raises(Refusal, match=message):
        data_of(array, "y")
