"""The two anomaly detectors, layer by layer as published."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from tamis.bundle import Reference
from tamis.bundle.model import count_parameters
from tamis.zoo import AnomalyDetector, known_networks
from tamis.zoo.networks.graph_vae import Adjacency, propagate, propagate_narrow
from tamis.zoo.networks.layers import Standardise, chamfer, chamfer_for_training, constituent_mask, divergence
from tamis.zoo.training.export import AnomalyScore, export_detector
from tamis.zoo.training.runs import LATENT_SIZES

DETECTORS = known_networks(AnomalyDetector)
STD = torch.tensor([0.5, 0.4, 20.0])


def jets_of(count, seed=0):
    """Return jets with 1 to 100 constituents, ordered by pT."""
    rng = np.random.default_rng(seed)
    jets = np.zeros((count, 100, 3), np.float32)
    for jet in jets:
        n = int(rng.integers(1, 101))
        jet[:n, :2] = rng.normal(0, 0.3, (n, 2))
        jet[:n, 2] = np.sort(rng.exponential(20, n))[::-1] + 0.1
    return jets


@pytest.fixture
def build():
    def make(name, latent=8):
        torch.manual_seed(3)
        return DETECTORS[name].build(Standardise(torch.tensor([0.0, 0.1, 20.0]), STD.clone()), latent)

    return make


def trace(part, *inputs):
    """Return the output shape and the number of parameters of each layer."""
    layers = []

    def record(module, _inputs, output):
        layers.append((tuple(output.shape[1:]), sum(p.numel() for p in module.parameters())))

    hooks = [m.register_forward_hook(record) for m in part.children() if any(True for _ in m.parameters())]
    part(*inputs)
    for hook in hooks:
        hook.remove()
    return layers


def test_conv_vae_has_the_published_layers(build):
    model = build("conv-vae")
    assert trace(model.encoder, torch.zeros(2, 100, 3)) == [
        ((16, 98, 1), 160),
        ((20, 96), 980),
        ((24, 94), 1464),
        ((136,), 153_544),
        ((32,), 4384),
        ((8,), 264),
    ]
    assert trace(model.decoder, torch.zeros(2, 8)) == [
        ((32,), 288),
        ((136,), 4488),
        ((1128,), 154_536),
        ((20, 96), 1460),
        ((16, 98), 976),
        ((1, 100, 3), 145),
    ]


@pytest.mark.parametrize("latent", LATENT_SIZES)
def test_parameters_are_counted_in_the_exported_graph(build, latent):
    model = onnx.load_model_from_string(export_detector(build("conv-vae", latent), 0.0005))
    counts = count_parameters(model)
    assert counts["encoder"] == 160_796 + (latent - 8) * 33
    assert counts["decoder"] == 161_893 + (latent - 8) * 32
    assert set(counts) <= {"encoder", "decoder", "standardise", "other"}


def test_weights_that_the_exporter_renames_are_counted_in_their_part(build):
    counts = count_parameters(onnx.load_model_from_string(export_detector(build("graph-vae"), 0.0005)))
    assert counts["encoder"] == 64 + 272 + 12_808
    assert counts["decoder"] == 1152 + 38_700


def test_graph_vae_reconstructs_node_features(build):
    model = build("graph-vae")
    jets = torch.from_numpy(jets_of(4))
    assert model.encode(jets).shape == (4, 8)
    assert model.decode(model.encode(jets)).shape == (4, 100, 3)


def test_both_propagation_functions_apply_a_hat(build):
    jets = torch.from_numpy(jets_of(3)).double()
    adjacency, root = graph = Adjacency()(jets)
    a_hat = root * adjacency * root.transpose(1, 2)
    torch.testing.assert_close(propagate(graph, jets), a_hat @ jets)
    torch.testing.assert_close(propagate_narrow(graph, jets), a_hat @ jets)


def test_graph_vae_has_the_published_layers(build):
    model = build("graph-vae")
    jets = torch.from_numpy(jets_of(2))
    assert trace(model.encoder, jets, model.adjacency(jets)) == [
        ((100, 16), 64),
        ((100, 16), 272),
        ((8,), 12_808),
    ]
    assert trace(model.decoder, torch.zeros(2, 8)) == [((128,), 1152), ((300,), 38_700)]


def test_the_adjacency_matches_its_definition():
    jets = jets_of(3)
    adjacency, root = Adjacency()(torch.from_numpy(jets))
    for jet, found, scale in zip(jets, adjacency.numpy(), root.numpy(), strict=True):
        n = int((jet[:, 2] > 0).sum())
        gaps = ((jet[:n, None, :2] - jet[None, :n, :2]) ** 2).sum(2) / 0.4**2
        np.testing.assert_allclose(found[:n, :n], np.maximum(1 - gaps, 0), atol=1e-3)
        assert not found[n:].any()
        assert not found[:, n:].any()
        np.testing.assert_allclose(scale[:n, 0], found[:n].sum(1) ** -0.5, rtol=1e-4)


def slow_chamfer(x, y, mask):
    """Return the masked Chamfer distance, from loops over pairs."""
    found = []
    for left, right, real in zip(x / STD.numpy(), y / STD.numpy(), mask > 0, strict=True):
        a, b = left[real], right[real]
        forth = sum(min(((p - q) ** 2).sum() for q in b) for p in a)
        back = sum(min(((p - q) ** 2).sum() for p in a) for q in b)
        found.append((forth + back) / max(1, len(a)))
    return np.array(found)


def test_chamfer_ignores_the_padding():
    x = jets_of(4)
    y = x + np.random.default_rng(1).normal(0, 0.2, x.shape).astype(np.float32)
    mask = constituent_mask(torch.from_numpy(x))
    expected = slow_chamfer(x.astype(np.float64), y.astype(np.float64), mask.numpy())
    double = [torch.from_numpy(v).double() for v in (x, y)]
    found = chamfer(*double, mask.double(), STD.double())
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    single = chamfer(torch.from_numpy(x), torch.from_numpy(y), mask, STD)
    np.testing.assert_allclose(single.numpy(), expected, rtol=1e-4)
    y[:, -1] = 1e6 * (mask.numpy()[:, -1:] == 0)  # arbitrary values in the padding
    again = chamfer(torch.from_numpy(x).double(), torch.from_numpy(y).double(), mask.double(), STD.double())
    short = mask.numpy()[:, -1] == 0
    np.testing.assert_allclose(again.numpy()[short], expected[short], rtol=1e-9)


def test_a_jet_without_constituents_has_a_finite_score(build):
    for name in DETECTORS:
        found = AnomalyScore(build(name).eval(), 0.0005)(torch.zeros(2, 100, 3))
        assert all(torch.isfinite(value).all() for value in found)


def test_chamfer_for_training_has_the_same_value_and_gradient():
    x = torch.from_numpy(jets_of(5)).double()
    mask, std = constituent_mask(x), STD.double()
    results = []
    for function in (chamfer, chamfer_for_training):
        y = (x + torch.from_numpy(np.random.default_rng(1).normal(0, 0.2, x.shape))).requires_grad_()
        value = function(x, y, mask, std)
        value.sum().backward()
        results.append((value.detach(), y.grad))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-9, atol=1e-12)


def test_the_divergence_of_the_prior_from_itself_is_zero():
    assert divergence(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0
    value = divergence(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item()
    assert value == pytest.approx(0.5 * (1.0 + np.e - 2.0))


@pytest.mark.parametrize("name", DETECTORS)
def test_the_exported_graph_agrees_with_the_module_in_float64(build, name):
    model = build(name)
    jets = jets_of(4)
    found = Reference(onnx.load_model_from_string(export_detector(model, 0.0005)))({"jets": jets})
    with torch.no_grad():
        expected = AnomalyScore(model.double().eval(), 0.0005)(torch.from_numpy(jets).double())
    assert list(found) == list(AnomalyScore.OUTPUTS)
    for key, value in zip(AnomalyScore.OUTPUTS, expected, strict=True):
        np.testing.assert_allclose(found[key], value.numpy(), rtol=1e-6, atol=1e-8)
    total = found["reconstruction"] + 0.5 * 0.0005 * found["mu2"]
    np.testing.assert_allclose(found["score"], total, rtol=1e-6)
