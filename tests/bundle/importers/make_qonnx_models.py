"""Make the QONNX models of the tests, with the outputs of their own libraries; needs brevitas 0.13.4 and qonnx 1.0.0.

Run `python make_qonnx_models.py` beside this file; the tests need neither library.
"""

from pathlib import Path

import brevitas.nn as qnn
import numpy as np
import onnx
import torch
from brevitas.export import export_qonnx
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8ActPerTensorFloat,
    Int8WeightPerTensorFixedPoint,
    Int8WeightPerTensorFloat,
    Int16Bias,
    Uint8ActPerTensorFixedPoint,
    Uint8ActPerTensorFloat,
)
from onnx import helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx

FOLDER = Path(__file__).with_name("qonnx_models")
ROWS = 64
FIXED = (Int8WeightPerTensorFixedPoint, Int8ActPerTensorFixedPoint, Uint8ActPerTensorFixedPoint)
FLOAT = (Int8WeightPerTensorFloat, Int8ActPerTensorFloat, Uint8ActPerTensorFloat)


class Dense(torch.nn.Module):
    """A tagger of two layers."""

    def __init__(self, quantisers, bias):
        """Make the layers."""
        super().__init__()
        weight, signed, unsigned = quantisers
        self.input = qnn.QuantIdentity(act_quant=signed, bit_width=8, return_quant_tensor=True)
        self.dense_1 = qnn.QuantLinear(
            16,
            12,
            bias=True,
            weight_quant=weight,
            weight_bit_width=6,
            bias_quant=bias,
            return_quant_tensor=True,
        )
        self.relu = qnn.QuantReLU(act_quant=unsigned, bit_width=6, return_quant_tensor=True)
        self.dense_2 = qnn.QuantLinear(
            12, 5, bias=True, weight_quant=weight, weight_bit_width=6, bias_quant=bias
        )

    def forward(self, x):
        """Return the logits."""
        return self.dense_2(self.relu(self.dense_1(self.input(x))))


class Image(torch.nn.Module):
    """A convolution, a pool, a dense layer."""

    def __init__(self):
        """Make the layers."""
        super().__init__()
        weight, signed, unsigned = FIXED
        self.input = qnn.QuantIdentity(act_quant=signed, bit_width=6, return_quant_tensor=True)
        self.conv = qnn.QuantConv2d(
            2,
            4,
            3,
            padding=1,
            stride=2,
            bias=True,
            weight_quant=weight,
            weight_bit_width=4,
            bias_quant=Int16Bias,
        )
        self.relu = qnn.QuantReLU(act_quant=unsigned, bit_width=4)
        self.pool = torch.nn.MaxPool2d(2)
        self.dense = qnn.QuantLinear(16, 3, bias=False, weight_quant=weight, weight_bit_width=4)

    def forward(self, x):
        """Return the logits."""
        x = self.relu(self.conv(self.input(x)))
        return self.dense(self.pool(x).flatten(1))


def brevitas_models():
    """Yield names, models and inputs of Brevitas."""
    torch.manual_seed(0)
    for name, quantisers, bias in (
        ("fixed", FIXED, Int16Bias),
        ("fixed-float-bias", FIXED, None),
        ("float", FLOAT, Int16Bias),
    ):
        yield f"brevitas-{name}", Dense(quantisers, bias), torch.randn(ROWS, 16) * 2
    yield "brevitas-image", Image(), torch.randn(ROWS, 2, 8, 8) * 2


def operators():
    """Yield names, nodes and constants of models of one quantiser."""
    quant = {"signed": 1, "narrow": 0}
    base = {"s": np.float32(0.25), "z": np.float32(0), "b": np.float32(5)}
    for mode in ("ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"):
        yield f"quant-{mode.lower()}", "Quant", ["x", "s", "z", "b"], {**quant, "rounding_mode": mode}, base
    yield "quant-narrow", "Quant", ["x", "s", "z", "b"], {**quant, "narrow": 1}, base
    yield "quant-unsigned", "Quant", ["x", "s", "z", "b"], {**quant, "signed": 0}, base
    yield "quant-shifted", "Quant", ["x", "s", "z", "b"], {**quant, "signed": 0}, base | {"z": np.float32(7)}
    scales = np.array([[0.25, 0.5, 0.3, 1.0]], np.float32)
    yield "quant-channels", "Quant", ["x", "s", "z", "b"], quant, base | {"s": scales}
    yield "bipolar", "BipolarQuant", ["x", "s"], {}, {"s": np.float32(0.5)}
    trunc = base | {"t": np.float32(1.0), "c": np.float32(3)}
    yield "trunc", "Trunc", ["x", "s", "z", "b", "t", "c"], {"rounding_mode": "FLOOR", "signed": 1}, trunc


def main() -> None:
    """Write the models and what they compute."""
    FOLDER.mkdir(exist_ok=True)
    cases = {}
    for name, module, inputs in brevitas_models():
        module.train()
        for _ in range(20):
            module(inputs)
        module.eval()
        path = FOLDER / f"{name}.onnx"
        export_qonnx(module, args=inputs[:1], export_path=str(path))
        model = onnx.load(path)
        del model.metadata_props[:]
        for node in model.graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
        onnx.save(model, path)
        path.with_name(f"{path.name}.data").unlink(missing_ok=True)
        cases[f"{name}/x"] = inputs.numpy()
        cases[f"{name}/y"] = torch.cat([module(row[None]) for row in inputs]).detach().numpy()
    rng = np.random.default_rng(0)
    edges = np.array(
        [-4.125, -0.125, 0.0, -0.0, 0.125, 0.375, 0.625, 3.875, 9, -9, 0.12499999, -0.37499997], np.float32
    )
    x = np.concatenate([edges.reshape(3, 4), rng.normal(size=(ROWS, 4)).astype(np.float32) * 4])
    for name, kind, inputs, attributes, constants in operators():
        node = helper.make_node(kind, inputs, ["y"], domain="qonnx.custom_op.general", **attributes)
        graph = helper.make_graph(
            [node],
            name,
            [helper.make_tensor_value_info("x", 1, ["N", 4])],
            [helper.make_tensor_value_info("y", 1, ["N", 4])],
            [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
        )
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 2)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=8)
        onnx.save(model, FOLDER / f"{name}.onnx")
        fixed = ModelWrapper(model)
        fixed.set_tensor_shape("x", list(x.shape))
        fixed.set_tensor_shape("y", list(x.shape))
        cases[f"{name}/x"], cases[f"{name}/y"] = x, execute_onnx(fixed, {"x": x})["y"]
    np.savez_compressed(FOLDER / "cases.npz", **cases)


if __name__ == "__main__":
    main()
