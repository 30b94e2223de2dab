"""`verify` says what its numbers mean and what decides."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest

from tamis.bundle import pack


def test_one_line_says_what_decides(call, bundle_of):
    code, out, _ = call("verify", bundle_of("dense").path, "--engine", "onnxruntime")
    assert code == 0
    text = " ".join(out.split())
    found = re.search(
        r"What decides: \|error\| <= absolute \+ relative tolerance, .*\(score (\S+) \+ 0\.1 %\)\.", text
    )
    assert float(found[1]) == pytest.approx(
        bundle_of("dense").manifest.signature.outputs[0].tolerance.absolute, rel=0.05
    )


def test_the_relative_error_of_a_tiny_value_is_marked(call, parse_model, tmp_path):
    cancels = "m (float[N, 2] x) => (float[N] y) { a = Constant <value_ints = [1]> () \n y = ReduceSum <keepdims = 0> (x, a) }"
    onnx.save(parse_model(cancels), tmp_path / "m.onnx")
    x = np.array([[1.0, 2.0], [3.0, 4.0], [0.1, -0.1000001], [5.0, 1.0]], np.float32)
    np.savez(tmp_path / "x.npz", x=np.concatenate([x, x + 0.5]))
    packed = call("pack", tmp_path / "m.onnx", "--inputs", tmp_path / "x.npz", "-o", tmp_path / "m.tamis")
    assert packed[0] == 0
    rough = "m (float[N, 2] x) => (float[N] y) { a = Constant <value_ints = [1]> () \n t = Constant <value = float {1.0e-6}> () \n s = ReduceSum <keepdims = 0> (x, a) \n y = Add (s, t) }"
    from tamis.bundle import Bundle, write_bundle

    bundle = Bundle.open(tmp_path / "m.tamis")
    shifted = parse_model(rough).SerializeToString()
    write_bundle(tmp_path / "r.tamis", bundle.manifest, shifted, bundle.golden)
    code, out, err = call("verify", tmp_path / "r.tamis", "--engine", "onnxruntime")
    assert code == 0, err
    assert re.search(r"\d\.\d\de[+-]\d\d\*", out)
    assert "* of a tiny value, for which the absolute tolerance decides" in out


def test_an_engine_that_cannot_run_a_model_is_no_failure_among_all(call, tmp_path, parse_model):
    model = parse_model("m (float[N, 2, 2] x) => (float[N] y) { y = Det (x) }")  # an operator of few engines
    pack(model, tmp_path / "m.tamis")
    code, out, err = call("verify", tmp_path / "m.tamis")
    assert code == 0
    assert "agreement with float64 on 64 events" in out
    assert out.count("cannot run it") == err.count("left out: ") >= 2
    code, _, err = call("verify", tmp_path / "m.tamis", "--engine", "native")
    assert code == 7
    assert "Det" in err
