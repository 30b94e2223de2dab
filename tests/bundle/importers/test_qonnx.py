"""QONNX models compute what Brevitas and QONNX's own library compute, see make_qonnx_models.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tamis._base import ModelError
from tamis.bundle import Bundle, Reference, pack
from tamis.bundle.importers import expand_qonnx, is_qonnx
from tamis.fixedpoint import split_graph

FOLDER = Path(__file__).with_name("qonnx_models")
CASES = np.load(FOLDER / "cases.npz")
NAMES = sorted({key.split("/")[0] for key in CASES})


def opened(name):
    return expand_qonnx(onnx.load(FOLDER / f"{name}.onnx"), name)


def by_rows(call, model, x):
    """Call with the rows that the model takes: Brevitas exports for one."""
    size = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    return np.concatenate([call(x[i : i + 1]) for i in range(len(x))]) if size else call(x)


@pytest.mark.parametrize("name", NAMES)
def test_the_bits_are_those_of_the_library(name):
    model = opened(name)
    onnx.checker.check_model(model, full_check=True)
    assert not is_qonnx(model)
    session = ort.InferenceSession(model.SerializeToString())
    feed = session.get_inputs()[0].name
    result = by_rows(lambda x: session.run(None, {feed: x})[0], model, CASES[f"{name}/x"])
    if name in ("brevitas-fixed-float-bias", "brevitas-float"):  # sums in float32, whose order differs
        np.testing.assert_allclose(result, CASES[f"{name}/y"], rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(result, CASES[f"{name}/y"])


PROGRAMS = (
    "bipolar", "brevitas-fixed", "brevitas-image", "quant-ceil", "quant-floor", "quant-narrow", "quant-round", "quant-shifted",
    "quant-unsigned",
)  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_fixed_point_models_are_programs(name):
    from tamis.firmware.emulator import Emulator

    model, x = opened(name), CASES[f"{name}/x"]
    feed = model.graph.input[0].name
    result = Emulator(model, {feed: x[:1]})({feed: x})
    np.testing.assert_array_equal(next(iter(result.values())), CASES[f"{name}/y"])


def test_packed_as_a_bundle(tmp_path):
    pack(FOLDER / "brevitas-fixed.onnx", tmp_path / "b.tamis")
    bundle = Bundle.open(tmp_path / "b.tamis")
    assert not is_qonnx(bundle.model)
    x = bundle.golden.inputs
    np.testing.assert_array_equal(Reference(bundle.model)(x)["linear_1"], bundle.golden.outputs["linear_1"])


def test_sums_with_biases_of_floats_are_told():
    model = opened("brevitas-fixed-float-bias")
    with pytest.raises(ModelError, match=r"Gemm of .*: its sums need"):
        split_graph(model, {model.graph.input[0].name: CASES["brevitas-fixed-float-bias/x"][:1]})


def quantiser(
    kind="Quant", domain="qonnx.custom_op.general", opset=17, bits=5.0, mode="ROUND", width_is_input=False
):
    from onnx import helper, numpy_helper

    node = helper.make_node(kind, ["x", "s", "z", "b"], ["y"], domain=domain, rounding_mode=mode)
    values = {"s": 0.5, "z": 0.0} | ({} if width_is_input else {"b": bits})
    inputs = [helper.make_tensor_value_info("x", 1, ["N", 4])]
    inputs += [helper.make_tensor_value_info("b", 1, [])] * width_is_input
    graph = helper.make_graph(
        [node], "m", inputs, [helper.make_tensor_value_info("y", 1, ["N", 4])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in values.items()],
    )  # fmt: skip
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(domain, 1)]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "FloatQuant"}, "FloatQuant of 'y' .* is not supported"),
        ({"opset": 9}, "ONNX opset 9; export it with 11 or later"),
        ({"bits": 40.0}, "has 40.0 bits; supported is one integer from 1 to 32"),
        ({"bits": 4.5}, "has 4.5 bits"),
        ({"mode": "STOCHASTIC"}, "rounds by 'STOCHASTIC'; supported are ROUND"),
        ({"width_is_input": True}, "the width of the quantiser 'y' is not constant"),
    ],
)
def test_what_cannot_be_expanded_is_told(options, message):
    with pytest.raises(ModelError, match=f"^m.onnx.*{message}"):
        expand_qonnx(quantiser(**options), "m.onnx")
