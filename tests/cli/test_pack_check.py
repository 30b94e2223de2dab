"""`pack` writes nothing if its check fails, and accepts every registered feature."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tamis import TamisError
from tamis.bundle import Bundle, pack


def _model():
    node = helper.make_node("Relu", ["x"], ["y"])
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3]) for n in "xy")
    graph = helper.make_graph([node], "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_failed_check_writes_nothing_and_keeps_the_old_bundle(tmp_path):
    target = tmp_path / "m.tamis"
    inputs = {"x": np.ones((4, 3), np.float32)}

    def reject(bundle):
        assert bundle.golden.outputs["y"].shape == (4, 3)
        raise TamisError("no")

    with pytest.raises(TamisError, match=r"^no$"):
        pack(_model(), target, inputs=inputs, check=reject)
    assert list(tmp_path.iterdir()) == []
    before = pack(_model(), target, inputs=inputs).bundle.manifest
    with pytest.raises(TamisError, match=r"^no$"):
        pack(_model(), target, inputs=inputs, description="newer", check=reject)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.tamis"]
    assert before.description == ""


@pytest.mark.parametrize("feature", ["lepton_event", "top_frames", "leading_jets"])
def test_any_registered_feature_can_compute_an_input(call, tmp_path, feature):
    import onnx

    onnx.save(_model(), tmp_path / "m.onnx")
    code, _, err = call("pack", tmp_path / "m.onnx", "-o", tmp_path / "m.tamis", "--feature", f"x={feature}")
    assert code == 0, err
    assert Bundle.open(tmp_path / "m.tamis").manifest.signature.inputs[0].feature == feature
