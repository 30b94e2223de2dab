"""`tamis tune`: sizes compiled ahead are part of the plan."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tamis
from tamis.bundle import pack

SUM = """sum (float[N, P, 3] x) => (float[N, 3] y) {
    axes = Constant <value_ints = [1]> ()
    y = ReduceSum <keepdims = 0> (x, axes)
}"""


@pytest.fixture
def summed(tmp_path, parse_model):
    """A bundle that adds up a free number of particles."""
    path = tmp_path / "summed.tamis"
    pack(parse_model(SUM), path, dims={"P": 5})
    return path


@pytest.mark.slow
def test_plan_holds_sizes_that_are_compiled_wherever_the_bundle_is_opened(call, summed, tmp_path):
    tuned = tmp_path / "tuned.tamis"
    arguments = ("--engine", "native", "--batch", "1", "--dims", "P=4,200")
    code, out, _ = call("tune", summed, "-o", tuned, *arguments)
    assert code == 0
    assert "compiled ahead: P=4,200" in out
    code, out, _ = call("tune", tuned, "--explain", "--json")
    assert json.loads(out)["dims"] == {"P": [4, 200]}
    with tamis.open(tuned) as session:
        assert session.computed_by.startswith("native ")
        assert "than P 1 to 128, 200 on onnxruntime" in session.explanation
        for particles in (4, 200, 5, 6):
            x = np.random.default_rng(0).normal(size=(2, particles, 3)).astype(np.float32)
            np.testing.assert_allclose(session(x), x.sum(axis=1), rtol=1e-5, atol=1e-6)
    with tamis.open(tuned, dims={"P": (7,)}) as session:
        assert "than P 1 to 128 on onnxruntime" in session.explanation
    code, out, _ = call("serve", "--check", tuned)
    assert code == 0
    assert "events of other sizes than P 1 to 128, 200 on onnxruntime" in out


@pytest.mark.slow
def test_sizes_without_effect_are_told(call, summed, tmp_path):
    arguments = ("--engine", "onnxruntime", "--batch", "1", "--dims", "P=4")
    code, out, _ = call("tune", summed, "-o", tmp_path / "tuned.tamis", *arguments)
    assert code == 0
    assert "compiled ahead: P=4; onnxruntime needs none of them" in out


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ("Q=4", "the model has no free dimension 'Q'; known: N, P"),
        ("P=0", "write NAME=SIZE, NAME=SIZE,SIZE or NAME=FIRST..LAST, such as"),
        ("P", "write NAME=SIZE, NAME=SIZE,SIZE or NAME=FIRST..LAST, such as"),
        ("N=4", "dims has 'N', the number of events, which is free anyway"),
        (
            f"P={','.join(map(str, range(1, 2000)))}",
            "dims has 1999 combinations of sizes; at most 1024 are compiled",
        ),
    ],
)
def test_wrong_sizes_end_the_command_before_measuring(call, summed, tmp_path, dims, message):
    code, _, err = call("tune", summed, "-o", tmp_path / "tuned.tamis", "--dims", dims)
    assert code == 2
    assert message in err
    assert not (tmp_path / "tuned.tamis").exists()
