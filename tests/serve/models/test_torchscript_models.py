"""TorchScript models: inputs and outputs matched by index or name."""

from __future__ import annotations

import io

import numpy as np
import pytest

from tamis._base import ModelError, TamisError
from tamis.serve.models.folders import find_models
from tamis.serve.models.model import OpeningSettings
from tamis.serve.models.opening import open_models
from tamis.serve.models.torchscript_models import input_order

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
CONFIG = """
platform: "pytorch_libtorch"
max_batch_size: 8
input [ {{ name: "{0}" data_type: TYPE_FP32 dims: [ 2 ] }}, {{ name: "{1}" data_type: TYPE_FP32 dims: [ 2 ] }} ]
output [ {{ name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 2 ] }} ]
dynamic_batching {{ }}
"""
A, B = np.array([[5, 7]], np.float32), np.array([[1, 2]], np.float32)


class Minus(torch.nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left - right


class Both(torch.nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return left - right, left + right


class Named(torch.nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": left + right, "difference": left - right}


def scripted(module: torch.nn.Module) -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(module), file)
    return file.getvalue()


def opened(folder):
    (model,) = open_models(find_models([folder.parent])["m"], OpeningSettings())
    return model


@pytest.mark.parametrize(
    ("names", "arrays"),
    [
        (("INPUT__0", "INPUT__1"), (A, B)),
        (("b__1", "a__0"), (B, A)),
        (("right", "left"), (B, A)),
        (("p", "q"), (A, B)),
    ],
)
def test_inputs_are_matched_by_name_or_index(write_model, names, arrays):
    model = opened(write_model("m", CONFIG.format(*names), "model.pt", v1=scripted(Minus())))
    assert model.spec.platform == "pytorch_libtorch"
    for array in arrays:
        array.flags.writeable = False
    assert model.instances[0](list(arrays))[0].tolist() == [[4, 5]]


def test_outputs_are_matched_by_index_or_name(write_model):
    config = CONFIG.format("INPUT__0", "INPUT__1")
    second = config.replace("OUTPUT__0", "OUTPUT__1")
    assert opened(write_model("m", second, "model.pt", v1=scripted(Both()))).instances[0]([A, B])[
        0
    ].tolist() == [[6, 9]]
    named = config.replace("OUTPUT__0", "difference")
    assert opened(write_model("m", named, "model.pt", v1=scripted(Named()))).instances[0]([A, B])[
        0
    ].tolist() == [[4, 5]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("OUTPUT__0", "OUTPUT__3"), "forward returns 1 outputs; the configuration names OUTPUT__3"),
        (("dims: [ 2 ] } ]\ndynamic", "dims: [ 3 ] } ]\ndynamic"), "the model returns FP32"),
    ],
)
def test_missing_or_wrong_outputs_are_rejected(write_model, change, message):
    config = CONFIG.format("INPUT__0", "INPUT__1")
    assert change[0] in config
    with pytest.raises(TamisError, match=message):
        opened(write_model("m", config.replace(*change), "model.pt", v1=scripted(Minus())))


def test_file_that_is_not_a_model_is_rejected(write_model):
    with pytest.raises(ModelError, match="the engine torch cannot run this model"):
        opened(write_model("m", CONFIG.format("a", "b"), "model.pt", v1=b"nothing"))


def test_another_engine_is_refused_and_torch_is_taken(write_model):
    folder = write_model("m", CONFIG.format("a", "b"), "model.pt", v1=scripted(Minus()))
    with pytest.raises(
        ModelError, match=r"native cannot serve 'm': .*model\.pt is TorchScript, which only torch runs"
    ):
        open_models(find_models([folder.parent])["m"], OpeningSettings("native"))
    (model,) = open_models(find_models([folder.parent])["m"], OpeningSettings("torch"))
    assert model.spec.facts["engine"] == f"torch {torch.__version__}"
    assert model.spec.facts["verified"] == "no: TorchScript has no reference"


def test_configuration_is_required(write_model):
    with pytest.raises(ModelError, match="only ONNX models declare them"):
        opened(write_model("m", None, "model.pt", v1=scripted(Minus())))


def test_unmatched_input_names_are_rejected():
    with pytest.raises(ModelError, match="must be numbered 0 to 1"):
        input_order(["a__0", "a__2"], ["x", "y"], "config.pbtxt")
    with pytest.raises(ModelError, match="forward has no argument 'lefd'"):
        input_order(["lefd", "right"], ["left", "right"], "config.pbtxt")
