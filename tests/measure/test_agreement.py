from __future__ import annotations

import math

import numpy as np
import pytest

import tamis
from tamis._base import InputMismatchError
from tamis.bundle import Output, Tolerance, WorkingPoint, pack
from tamis.measure import verify
from tamis.measure.agreement import compare
from tamis.records import Agreement

SPEC = Output(name="y", shape=("N",), tolerance=Tolerance(absolute=0.0, relative=0.01))


def test_errors_and_matching_fractions_of_known_arrays():
    reference = np.array([1.0, 10.0, 100.0, 1000.0, 0.0])
    value = reference * np.array([1.0, 1.00005, 1.0005, 1.02, 1.0])
    found = compare(SPEC, value, reference)
    assert found.values == 5
    assert found.largest_absolute == pytest.approx(20.0)
    assert found.largest_relative == pytest.approx(0.02)
    assert found.matching == {"0.0001": 0.6, "0.001": 0.8, "0.01": 0.8, "0.05": 1.0}
    assert found.out_of_tolerance == 1


def test_nan_and_infinities_match_only_themselves():
    found = compare(SPEC, np.array([np.nan, np.inf, 1.0]), np.array([np.nan, np.inf, 1.0]))
    assert (found.largest_absolute, found.out_of_tolerance, found.matching["0.0001"]) == (0.0, 0, 1.0)
    found = compare(SPEC, np.array([np.nan, 1.0]), np.array([1.0, 0.0]))
    assert found.largest_relative == math.inf
    assert found.matching["0.05"] == 0.0


def test_arrays_of_different_shape_match_nowhere():
    found = compare(SPEC, np.zeros(3), np.zeros(4))
    assert found.out_of_tolerance == 4
    assert set(found.matching.values()) == {0.0}


@pytest.fixture
def bundle(parse_model, tmp_path):
    model = parse_model(
        "m (float[N, 2] x) => (float[N] score) { score = ReduceSum <axes = [1], keepdims = 0> (x) }", 11
    )
    points = [WorkingPoint(name="loose", threshold=0.5), WorkingPoint(name="tight", threshold=3.0)]
    return pack(model, tmp_path / "m.tamis", working_points=points).bundle


def test_verify_compares_decisions_at_every_working_point(bundle, engine_name):
    x = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)
    found = verify(bundle, engine_name, inputs={"x": x})
    assert found.passed
    assert found.events == 1000
    assert [(f.working_point, f.flips, f.decisions) for f in found.flips] == [
        ("loose", 0, 1000),
        ("tight", 0, 1000),
    ]
    assert found.flips[0].high == pytest.approx(0.00383, abs=1e-4)


def test_inputs_of_the_wrong_shape_are_a_user_error(bundle):
    with pytest.raises(InputMismatchError, match="dimension 1 is 3"):
        verify(bundle, inputs={"x": np.zeros((4, 3), np.float32)})


def test_agreement_round_trips_through_json(bundle):
    from tamis.records import Agreement

    found = verify(bundle)
    bad = found.model_copy(update={"outputs": (compare(SPEC, np.array([1.0]), np.array([0.0])),)})
    assert Agreement.model_validate_json(bad.model_dump_json()) == bad
    assert bad.outputs[0].largest_relative == math.inf
    assert tamis.verify is verify


def test_a_relative_error_of_a_tiny_value_is_marked_as_such():
    spec = Output(name="y", shape=("N",), tolerance=Tolerance(absolute=1e-5, relative=1e-3))
    reference = np.array([1.0, 1e-9, 0.5])
    tiny = compare(spec, np.array([1.0, 3e-9, 0.5]), reference)
    assert (tiny.largest_relative_at, tiny.is_tiny, tiny.out_of_tolerance) == (1e-9, True, 0)
    large = compare(spec, np.array([1.0, 1e-9, 0.6]), reference)
    assert (large.largest_relative_at, large.is_tiny, large.out_of_tolerance) == (0.5, False, 1)
    assert not compare(spec, reference, reference).is_tiny


def test_the_table_marks_tiny_values_and_says_what_decides():
    from tamis.report.agreement import agreement_table

    spec = Output(name="y", shape=("N",), tolerance=Tolerance(absolute=1e-5, relative=1e-3))
    for value, star in ((3e-9, True), (1e-9, False)):
        output = compare(spec, np.array([1.0, value]), np.array([1.0, 1e-9]))
        agreement = Agreement(bundle="m", engine="e", version="1", events=2, passed=True, outputs=(output,))
        table = agreement_table([agreement], "")
        assert ("2.00e+00*" in [cell.text for cell in table.rows[0].cells]) == star
        assert ("* Of a tiny value" in table.note) == star
