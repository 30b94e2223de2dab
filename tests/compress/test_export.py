"""Compressed graphs: the same bits in float32 engines, in float64 and in int64; sums that would not be exact; costs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from tamis._base import ModelError, VerificationError
from tamis.bundle import Reference
from tamis.bundle.model import read_signature
from tamis.compress.export import export_network, layer_costs
from tamis.compress.graph import find_layers
from tamis.compress.network import CompressedNetwork, Widths
from tamis.compress.prove import prove_exact
from tamis.compress.prune import prune_network
from tamis.engines import Options, find_engine


def layered(model, rows, widths, *, prepare=lambda network: None):
    """Return the quantised network and the exported graph with the results of all layers as outputs."""
    found = find_layers(model, "the model")
    network = CompressedNetwork(found, [rows], widths)
    prepare(network)
    network.enable([rows])
    exported = export_network(network)
    shown = onnx.ModelProto()
    shown.CopyFrom(exported)
    for layer in (
        one for one in found.layers if one.output not in [value.name for value in exported.graph.output]
    ):
        shown.graph.output.append(helper.make_tensor_value_info(layer.output, 1, ["N", *range_names(layer)]))
    return found, network, exported, shown


def range_names(layer):
    return [f"{layer.output}_{axis}" for axis in range(1 if layer.operator != "Conv" else layer.rank - 1)]


def uneven(network):
    """Give every trained width a value of its own."""
    generator = torch.Generator().manual_seed(3)
    for name, parameter in network.named_parameters():
        if name.endswith("fewer"):
            parameter.data.copy_(torch.rand(parameter.shape, generator=generator))


@pytest.mark.parametrize(
    ("widths", "prepare"),
    [
        (Widths(), lambda network: None),
        (Widths(5, 6, 7, per="channel"), lambda network: None),
        (Widths(8, 8, 8, per="weight", trained=True), uneven),
        (Widths(6, 8, 10, per="channel", trained=True), uneven),
    ],
    ids=["tensor", "channel", "trained-weight", "trained-channel"],
)
def test_engines_the_reference_and_integers_give_the_same_bits(tagger, rows_file, emulate, widths, prepare):
    rows = np.load(rows_file)["x"]
    found, _, exported, shown = layered(tagger.model, rows, widths, prepare=prepare)
    integers = emulate(exported, {"x": rows})
    reference = Reference(shown)({"x": rows})
    signature = read_signature(shown, "the model")
    for engine in ("onnxruntime", "native", "torch"):
        runner = find_engine(engine).load(shown.SerializeToString(), signature, Options())
        outputs = dict(zip([one.name for one in shown.graph.output], runner.run([rows]), strict=True))
        for layer in found.layers:
            expected = integers[layer.output]
            np.testing.assert_array_equal(reference[layer.output], expected)
            np.testing.assert_array_equal(outputs[layer.output].astype(np.float64), expected, err_msg=engine)
            assert len(np.unique(expected)) > 100


def test_the_network_in_training_computes_what_is_exported(tagger, rows_file):
    rows = np.load(rows_file)["x"]
    _, network, exported, _ = layered(
        tagger.model, rows, Widths(6, 6, 6, per="weight", trained=True), prepare=uneven
    )
    logits = Reference(exported).trace({"x": rows})[network.heads[0][2]]
    with torch.no_grad():
        np.testing.assert_array_equal(network(torch.from_numpy(rows))[2].double().numpy(), logits)


CONVOLUTIONS = """conv (float[N, 3, 20] x) => (float[N, 4] score) {
    a = Conv <kernel_shape = [3], pads = [1, 1]> (x, w1, b1)
    b = Relu (a)
    c = AveragePool <kernel_shape = [2], strides = [2]> (b)
    d = Conv <kernel_shape = [3]> (c, w2)
    e = Relu (d)
    f = Flatten (e)
    score = MatMul (f, w3)
}"""


@pytest.fixture
def convolutions(parse_model):
    return parse_model(CONVOLUTIONS, w1=(16, 3, 3), b1=(16,), w2=(16, 16, 3), w3=(128, 4))


@pytest.mark.parametrize("trained", [False, True])
def test_convolutions_give_the_same_bits(convolutions, trained):
    rows = np.random.default_rng(1).normal(size=(500, 3, 20)).astype(np.float32) * np.float32(
        [[0.1], [1], [20]]
    )
    widths = Widths(6, 7, 8, per="channel", trained=trained)
    found, _, exported, shown = layered(
        convolutions, rows, widths, prepare=uneven if trained else lambda network: None
    )
    assert [layer.operator for layer in found.layers] == ["Conv", "Conv", "MatMul"]
    assert prove_exact(exported, found, {"x": rows}, "the model") == 256 * (16 * 20 + 16 * 8 + 4)
    reference = Reference(shown)({"x": rows})
    runner = find_engine("native").load(shown.SerializeToString(), read_signature(shown, "m"), Options())
    outputs = dict(zip([one.name for one in shown.graph.output], runner.run([rows]), strict=True))
    for layer in found.layers:
        np.testing.assert_array_equal(outputs[layer.output].astype(np.float64), reference[layer.output])


def test_wide_inputs_of_convolutions_follow_their_channels(convolutions):
    """A channel of small values keeps its precision beside one of large values."""
    rows = np.random.default_rng(1).normal(size=(500, 3, 20)).astype(np.float32) * np.float32(
        [[0.001], [1], [1000]]
    )
    _, network, *_ = layered(convolutions, rows, Widths())
    assert network.tensor_quantisers[0].shift.flatten().diff().min() > 8


@pytest.mark.parametrize("trained", [False, True])
def test_removed_channels_leave_the_graph_and_change_nothing(convolutions, trained):
    rows = np.random.default_rng(1).normal(size=(300, 3, 20)).astype(np.float32)

    def prune(network):
        uneven(network)
        prune_network(network, 0.5, structured=True)

    widths = Widths(6, 7, 8, per="channel", trained=trained)
    found, network, exported, _ = layered(convolutions, rows, widths, prepare=prune)
    sizes = {one.name: tuple(one.dims) for one in exported.graph.initializer}
    first, second = int(network.bias_mask(0).sum()), int(network.bias_mask(1).sum())
    assert first + second == 16
    assert sizes["w1"] == (first, 3, 3)
    assert sizes["w2"][1] == first
    with torch.no_grad():
        expected = network(torch.from_numpy(rows))[0].double().numpy()
    np.testing.assert_array_equal(Reference(exported)({"x": rows})["score"], expected)
    assert prove_exact(exported, found, {"x": rows}, "the model") > 0


def test_a_graph_that_is_not_exact_is_not_written(tagger, rows_file):
    rows = np.load(rows_file)["x"]
    found, _, exported, _ = layered(tagger.model, rows, Widths())
    weight = next(one for one in exported.graph.initializer if one.name == found.layers[1].weight)
    values = onnx.numpy_helper.to_array(weight) * np.float32(1.1)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    with pytest.raises(VerificationError, match="differs between onnxruntime and the float64 reference"):
        prove_exact(exported, found, {"x": rows}, "the model")


def test_costs_of_a_layer_are_those_counted_by_hand(parse_model):
    model = parse_model("m (float[N, 2] x) => (float[N, 2] y) { y = MatMul (x, w) }", w=(2, 2))
    weight = np.float32([[1.0, 0.0], [0.4375, -0.625]])  # in eighths of 1.0 with 5 bits: 1, 0, 7/16, -5/8
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w"))
    rows = np.random.default_rng(0).uniform(-0.999, 0.999, (400, 2)).astype(np.float32)
    network = CompressedNetwork(find_layers(model, "m"), [rows], Widths(6, 4, 4))
    network.enable([rows])
    (cost,) = layer_costs(network)
    assert (cost.weights, cost.weights_kept, cost.macs) == (4, 3, 3)
    # the odd parts of the weights are 1, 7 and 5: 1, 3 and 3 bits, times 4 bits of the inputs; 7 is 8 - 1, 5 is 4 + 1
    assert cost.ebops == (1 + 3 + 3) * 4
    assert cost.lut == (1 + 2 + 2) * 4
    assert cost.input_format == "fixed<4,1,RND_CONV,SAT>"
    assert cost.weight_bits == (2, 4)


def test_sixteen_bits_lose_nothing_and_are_exact_in_float64(tagger, rows_file, emulate):
    rows = np.load(rows_file)["x"]
    found, network, exported, _ = layered(tagger.model, rows, Widths(16, 16, 16))
    assert prove_exact(exported, found, {"x": rows}, "the model") > 0
    integers = emulate(exported, {"x": rows})
    reference = Reference(exported).trace({"x": rows})
    for layer in found.layers:
        np.testing.assert_array_equal(
            reference[layer.output + "/float64"], integers[layer.output + "/float64"]
        )
    parent = Reference(tagger.model)({"x": rows})
    made = Reference(exported)({"x": rows})
    for name, values in parent.items():
        np.testing.assert_allclose(made[name], values, atol=2e-3)
    assert network.widths.weights == 16


def test_convolutions_of_sixteen_bits_are_rejected_with_the_bits_that_are_too_many(convolutions):
    rows = np.random.default_rng(1).normal(size=(100, 3, 20)).astype(np.float32)
    with pytest.raises(
        ModelError,
        match=r"sums to \d\d bits with 16-bit weights .* engines have no AveragePool in float64: take \d+ bits less",
    ):
        layered(convolutions, rows, Widths(16, 16, 16))
