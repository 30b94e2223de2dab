"""A tagger's score that is one of its class probabilities."""

from __future__ import annotations

import numpy as np
import pytest

import tamis
from tamis._base import UsageError
from tamis.bundle import WorkingPoint, pack
from tamis.measure import evaluate_bundle, verify

TAGGER = "m (float[N, 3] x) => (float[N, 3] p, float[N, 3] p_2) { p = Softmax (x)\n p_2 = Identity (x) }"


@pytest.fixture
def tagger(parse_model, tmp_path):
    return lambda score, **options: (
        pack(
            parse_model(TAGGER), tmp_path / "m.tamis", inputs={"x": np.eye(3)}, score=score, **options
        ).bundle
    )


def test_one_column_of_an_output_can_be_the_score(tagger):
    point = WorkingPoint(name="tight", threshold=0.4)
    bundle = tagger("p:1", working_points=[point])
    assert bundle.manifest.score == "p_1"
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    with tamis.open(bundle) as session:
        outputs = session.run(x)
        np.testing.assert_array_equal(session(x), outputs["p"][:, 1])
    assert list(outputs) == ["p", "p_2", "p_1"]
    (flips,) = verify(bundle, "onnxruntime").flips
    assert flips.decisions == len(bundle.golden.inputs["x"])


def test_an_output_name_in_use_is_not_reused(tagger):
    assert tagger("p:2").manifest.score == "p_2_"


def test_columns_that_do_not_exist_are_reported(tagger):
    with pytest.raises(UsageError, match=r"the output p \(N×3\) does not have"):
        tagger("p:3")
    with pytest.raises(UsageError, match="column 'top' of p; expected an integer from 0"):
        tagger("p:top")
    with pytest.raises(UsageError, match="q:1"):
        tagger("q:1")


def test_a_score_with_several_columns_cannot_be_evaluated(parse_model, tmp_path, jet_file):
    model = parse_model(
        "m (float[N, 100, 3] x) => (float[N, 100] p) { k = Constant <value_ints = [2]> () p = ReduceSum <keepdims = 0> (x, k) }"
    )
    bundle = pack(model, tmp_path / "m.tamis", score="p", features={"x": "leading_jets"}).bundle
    file = str(jet_file("b.root"))
    with pytest.raises(UsageError, match=r"has 100 values per event.*--score p:0"):
        evaluate_bundle(bundle, [file], {"s": [file]})
