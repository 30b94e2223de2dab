"""The classification extension."""

import numpy as np
import pytest

from tamis.serve.protocol.classification import class_counts, classified
from tamis.serve.protocol.messages import Refusal, RequestedOutput


def test_each_row_is_ranked_separately():
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]], np.float32)
    classes = classified({"y": scores}, {"y": 2}, has_rows=True)["y"]
    assert classes.tolist() == [[b"0.700000:1", b"0.200000:2"], [b"0.500000:0", b"0.250000:1"]]


def test_labels_follow_the_indices_that_have_one():
    classes = classified(
        {"y": np.array([1, 3, 2], np.uint8)}, {"y": 9}, has_rows=False, labels={"y": ["cat", "dog"]}
    )
    assert classes["y"].tolist() == [b"3:1:dog", b"2:2", b"1:0:cat"]


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"])
def test_every_numeric_type_is_ranked_correctly(dtype):
    values = np.random.default_rng(3).permutation(100).astype(dtype)
    classes = classified({"y": values}, {"y": 100}, has_rows=False)["y"]
    assert [int(text.split(b":")[1]) for text in classes] == np.argsort(-values.astype(float)).tolist()


def test_nan_comes_last():
    values = np.array([np.nan, 1.0, -np.inf, np.inf])
    classes = classified({"y": values}, {"y": 4}, has_rows=False)["y"]
    assert [text.split(b":")[1] for text in classes][:2] == [b"3", b"1"]


def test_other_outputs_are_unchanged():
    other = np.ones(3)
    assert classified({"a": other, "y": np.ones(2)}, {"y": 1}, has_rows=False)["a"] is other


def test_empty_output_has_no_rows():
    assert classified({"y": np.empty((0, 3))}, {"y": 2}, has_rows=True)["y"].shape[0] == 0


@pytest.mark.parametrize("array", [np.array([b"a"], object), np.array([True]), np.ones(2, np.float16)])
def test_types_without_classes_are_rejected(array):
    with pytest.raises(Refusal, match="no classes"):
        classified({"y": array}, {"y": 1}, has_rows=False)


@pytest.mark.parametrize("count", [0, -1, True, "3", 1.5])
def test_invalid_class_counts_are_rejected(count):
    with pytest.raises(Refusal, match=r"classification .*; it must be an integer of at least 1"):
        class_counts((RequestedOutput("y", {"classification": count}),))


def test_classes_in_shared_memory_are_rejected():
    with pytest.raises(Refusal, match="only one"):
        class_counts((RequestedOutput("y", {"classification": 1, "shared_memory_region": "a"}),))
