"""Lists of JSON against arrays."""

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
def test_what_went_out_comes_in_again(data, datatype, nested):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
    elements = {"allow_nan": False, "allow_infinity": False} if DATATYPES[datatype].kind == "f" else None
    array = data.draw(hnp.arrays(DATATYPES[datatype], shape, elements=elements))
    sent = array.tolist() if nested else data_of(array, "y")
    found = array_of(json.loads(json.dumps(sent)), datatype, shape, "data")
    assert datatype_of(found.dtype) == datatype
    np.testing.assert_array_equal(found, array)


def test_strings():
    found = array_of(["a", "µ", ""], "BYTES", [3], "data")
    assert found.tolist() == [b"a", "µ".encode(), b""]
    assert data_of(found, "y") == ["a", "µ", ""]


@pytest.mark.parametrize(
    ("data", "datatype", "shape", "told"),
    [
        ([[1, 2, 3], [4, 5]], "INT32", [2, 3], r"data\[1\] is a list of 2.* 3 values"),
        ([[1, 2], [3, 4], [5, 6]], "INT32", [2, 3], "data is a list of 3.* 2 values"),
        ([1, [2]], "INT32", [2], "value 1 of data is a list"),
        ([[1], 2], "INT32", [2, 1], r"data\[1\] is 2; a list of 1"),
        ([[[1]], [[2]]], "INT32", [2, 1], r"value 0 of data is a list"),
        ([1, 2], "INT32", [3], "2 values; the shape .3. takes 3"),
        ([1, 256], "UINT8", [2], "value 1 of data is 256, more than UINT8 holds"),
        ([-1], "UINT64", [1], "is -1, more than UINT64"),
        ([10**400], "INT64", [1], "a number of 1329 bits"),
        ([1.0], "INT8", [1], "is 1.0; INT8 takes a whole number"),
        ([True], "INT8", [1], "is True; INT8 takes a whole number"),
        ([1], "BOOL", [1], "is 1; BOOL takes true or false"),
        ([None], "FP32", [1], "is None; FP32 takes a number"),
        (["1"], "FP32", [1], "is '1'; FP32 takes a number"),
        ([0, 1e39], "FP32", [2], "value 1 of data is 1e.39, more than FP32"),
        ([10**400], "FP64", [1], "more than FP64"),
        ([math.inf], "FP64", [1], "value 0 of data is inf"),
        ([1], "BYTES", [1], "takes a string"),
        (["\ud800"], "BYTES", [1], "surrogate"),
        ([1.0], "FP16", [1], "binary data only"),
        ({"a": 1}, "FP32", [1], "data is an object; it has to be a list"),
        ([1], "FP23", [1], "no data type 'FP23'.*FP32"),
        ([1], "FP32", [1 << 50], "elements"),
        ([5], "INT32", [0], "a list of 1"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(data, datatype, shape, told):
    with pytest.raises(Refusal, match=told) as found:
        array_of(data, datatype, shape, "data")
    assert len(str(found.value)) < 300


@pytest.mark.parametrize(
    ("array", "told"),
    [(np.ones(2, np.float16), "binary data only"), (np.array([b"\xff"], object), "no UTF-8")],
)
def test_what_json_cannot_hold_is_refused_on_the_way_out(array, told):
    with pytest.raises(Refusal, match=told):
        data_of(array, "y")
