"""Compressed GRUs and LSTMs: the same bits on every engine, one format for all steps, and hardware of one cell."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from onnx import numpy_helper
from tests.conftest import exported
from torch import nn

from tamis.bundle import pack
from tamis.compress import CompressOptions, compress
from tamis.engines import open as open_session
from tamis.firmware.emulator import Emulator
from tamis.fixedpoint import count_program

STEPS, FEATURES = 4, 2


class Tagger(nn.Module):
    """A recurrent layer and a score."""

    def __init__(self, kind, hidden=4, layers=1, *, whole=False, both=False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.rnn = getattr(nn, kind)(FEATURES, hidden, layers, batch_first=True, bidirectional=both)
        self.whole = whole
        self.out = nn.Linear(hidden * (1 + both) * (STEPS if whole else 1), 1)

    def forward(self, x):
        y = self.rnn(x)[0]
        return torch.sigmoid(3 * self.out(y.flatten(1) if self.whole else y[:, -1]))[:, 0]


def made(folder, module, **options):
    """Return the parent and the compressed bundle."""
    x = np.random.default_rng(2).normal(size=(3000, STEPS, FEATURES)).astype(np.float32)
    np.savez(folder / "rows.npz", x=x)
    model = exported(module, torch.from_numpy(x[:2]), names=("x",))
    parent = pack(model, folder / "parent.tamis", inputs={"x": x[:64]}, score="score").bundle
    chosen = CompressOptions(**{"epochs": 0, "seed": 1} | options)
    return parent, compress(parent, folder / "small.tamis", [str(folder / "rows.npz")], chosen)


def outputs(bundle, engine, x):
    with open_session(bundle, engine) as session:
        return np.array(session.run(x=x)["score"])


KINDS = {
    "gru": Tagger("GRU"),
    "lstm": Tagger("LSTM"),
    "stack": Tagger("GRU", layers=2, whole=True),
    "both": Tagger("LSTM", both=True, whole=True),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def eight(kind, tmp_path_factory):
    return made(tmp_path_factory.mktemp(kind), KINDS[kind])


def core(bundle):
    """Return the integer program of a bundle."""
    row = {"x": bundle.golden.inputs["x"][:1]}
    return Emulator(bundle.model, row).graph.program


def test_eight_bits_are_close_to_the_parent_and_equal_on_every_engine(eight):
    parent, small = eight
    assert small.figures["error"].value < 0.1
    x = np.random.default_rng(3).normal(size=(200, STEPS, FEATURES)).astype(np.float32)
    expected = outputs(small.bundle, "onnxruntime", x)
    for engine in ("native", "torch", "firmware"):
        np.testing.assert_allclose(outputs(small.bundle, engine, x), expected, rtol=1e-6)
    assert np.abs(outputs(parent, "onnxruntime", x) - expected).max() < 0.1


def test_a_missing_value_has_no_score_and_leaves_the_other_rows_alone(eight):
    bundle = eight[1].bundle
    x = bundle.golden.inputs["x"][:5].copy()
    expected = outputs(bundle, "onnxruntime", x)
    x[2, 1, 0] = np.nan
    for engine in ("onnxruntime", "native", "torch", "firmware"):
        found = outputs(bundle, engine, x)
        assert np.isnan(found).tolist() == [False, False, True, False, False]
        np.testing.assert_allclose(np.delete(found, 2), np.delete(expected, 2), rtol=1e-6)


def test_weights_are_stored_and_counted_once(eight, kind):
    _, small = eight
    constants = small.bundle.model.graph.initializer
    weights = sum(numpy_helper.to_array(one).size for one in constants if one.name.endswith("weight"))
    layers = count_program(core(small.bundle))
    parameters = sum(one.numel() for name, one in KINDS[kind].named_parameters() if "weight" in name)
    assert weights == parameters
    tables = 64 * 64  # at most, of all layers
    assert parameters <= sum(layer.weights for layer in layers) < parameters + tables
    assert sum(layer.macs for layer in layers) > parameters * (STEPS - 1)


def test_training_prunes_and_quantises(tmp_path):
    _, small = made(tmp_path, KINDS["gru"], epochs=3, prune=0.5, weights=6, activations=6, inputs=6)
    kept = sum(cost.weights_kept for cost in small.costs) / sum(cost.weights for cost in small.costs)
    assert kept < 0.55
    assert [cost.layer for cost in small.costs] == ["rnn_input", "rnn_state", "/out/Gemm"]


@pytest.mark.slow
def test_widths_are_trained_against_their_cost(tmp_path):
    _, small = made(tmp_path, KINDS["gru"], epochs=4, cost="ebops", beta=0.5)
    dense = 8 * 8 * small.macs_of_parent
    assert sum(cost.ebops for cost in small.costs) < 0.7 * dense


@pytest.mark.parametrize("recurrent", ["gru", "lstm"])
def test_sixteen_bits_lose_next_to_nothing_and_are_exact_in_float64(recurrent, tmp_path):
    parent, small = made(tmp_path, KINDS[recurrent], weights=16, activations=16, inputs=16)
    x = np.random.default_rng(3).normal(size=(200, STEPS, FEATURES)).astype(np.float32)
    expected = outputs(small.bundle, "onnxruntime", x)
    np.testing.assert_array_equal(outputs(small.bundle, "firmware", x), expected)
    for engine in ("native", "torch"):  # `native` rounds to float32
        np.testing.assert_allclose(outputs(small.bundle, engine, x), expected, atol=2e-5)
    assert np.abs(outputs(parent, "onnxruntime", x) - expected).max() < 1e-4


@pytest.mark.slow
@pytest.mark.fpga
@pytest.mark.skipif(shutil.which("verilator") is None, reason="verilator is not installed")
@pytest.mark.parametrize("reuse", [60, 400])
def test_hardware_goes_step_by_step(eight, reuse, tmp_path):
    from tamis.firmware.project import Request, build_firmware

    _, small = eight
    request = Request(240.0, reuse=reuse, verify=True, synthesise=False, vectors=500)
    record = build_firmware(small.bundle, tmp_path / "fw", request)
    assert [one.differing for one in record.agreement] == [0]
    assert any(layer.name.endswith("_steps") for layer in record.layers)
