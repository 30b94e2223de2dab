"""Residual networks in float32 and in 8 bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tamis._base import UsageError
from tamis.zoo import TrainingOptions, UntrainedNetwork, find_network, train
from tamis.zoo.networks.resnet import resnet_50, small_resnet, turn_images
from tamis.zoo.networks.resnet_int8 import QuantisedActivations, QuantisedResNet
from tamis.zoo.training.packing import pack_untrained


@pytest.fixture(scope="module")
def trained():
    """Return a small network whose batch normalisations have statistics."""
    torch.manual_seed(1)
    net = small_resnet(3)
    with torch.no_grad():
        for _ in range(8):
            net(images())
    return net.eval()


def images(n=16):
    x = torch.rand(n, 3, 64, 64)
    return torch.where(x > 0.97, 20.0 * torch.rand(n, 3, 64, 64), torch.zeros(()))


@torch.no_grad()
def test_folding_is_exact_and_rounding_changes_little(trained):
    torch.manual_seed(2)
    frames = images(64)
    quantised = QuantisedResNet(trained).eval()
    stem, first = trained.stem, quantised.stem
    h = torch.rand(2, 3, 64, 64)
    folded = torch.nn.functional.conv2d(h, first.weight, first.bias, first.stride, first.padding)
    torch.testing.assert_close(folded, stem(h), rtol=1e-4, atol=1e-5)
    exact = trained(frames)
    quantised.calibrate(frames)
    near = quantised(frames)
    assert not torch.equal(exact, near)
    spread = float(exact.std())
    assert float((exact - near).abs().max()) < 0.5 * max(spread, 0.05)
    assert float(torch.corrcoef(torch.stack([exact, near]))[0, 1]) > 0.97


@torch.no_grad()
def test_activations_have_at_most_256_values(trained):
    rounding = QuantisedActivations()
    x = torch.linspace(0.0, 5.0, 10_000)
    assert torch.equal(rounding(x), x)
    rounding.finish_calibration()
    assert len(torch.unique(rounding(x))) <= 256
    assert float((rounding(x) - x).abs().max()) < 5.0 / 255


def test_gradients_pass_through_the_rounding(trained):
    quantised = QuantisedResNet(trained)
    quantised.calibrate(images())
    quantised.train()
    quantised(images()).sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in quantised.parameters()
    )


def test_turned_images_have_the_same_pixels_in_eight_orientations():
    frames = torch.rand(2, 3, 8, 8)
    seen = set()
    for seed in range(60):
        torch.manual_seed(seed)
        found = turn_images(frames)
        torch.testing.assert_close(found.flatten(2).sort()[0], frames.flatten(2).sort()[0])
        seen.add(tuple(found[0, 0, 0].tolist()))
    assert len(seen) == 8


def test_networks_have_the_published_sizes():
    count = sum(parameter.numel() for parameter in resnet_50().parameters())
    thousand_classes = 2048 * 1000 + 1000
    assert count - 2049 + thousand_classes == 25_557_032  # torchvision's resnet50
    assert sum(parameter.numel() for parameter in small_resnet(3).parameters()) == 174_673


def test_an_8_bit_network_starts_from_a_trained_one(tmp_path):
    arguments = {"background": ["qcd.root"], "signal": ["tops.root"]}, tmp_path / "x.tamis"
    start = TrainingOptions(start=tmp_path)
    with pytest.raises(UsageError, match=r"--from top-resnet\.tamis\.training"):
        train("top-resnet-int8", *arguments)
    with pytest.raises(UsageError, match="holds no checkpoint"):
        train("top-resnet-int8", *arguments, start)
    with pytest.raises(UsageError, match="omit --from"):
        train("top-resnet", *arguments, start)
    for name in ("top-resnet-int8", "top-resnet-int8-tuned"):
        assert find_network(name).features == find_network("top-resnet").features


def test_an_untrained_network_says_so_on_its_card(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'resnet50'"):
        train("resnet-50", [], tmp_path / "x.tamis")
    with pytest.raises(UsageError, match="omit the files"):
        train("resnet50", ["qcd.root"], tmp_path / "x.tamis")
    small = UntrainedNetwork(
        name="small",
        description="The small residual network, untrained",
        build=lambda: small_resnet(3),
        shape=(3, 32, 32),
    )
    packed = pack_untrained(small, tmp_path / "small.tamis")
    assert "**Untrained.**" in packed.bundle.text("CARD.md")
    assert packed.bundle.manifest.training == {"model": "small", "seed": 1, "trained": False}


def test_scores_do_not_depend_on_the_batch_size(trained):
    frames = images(5)
    with torch.no_grad():
        single = torch.cat([trained(frames[i : i + 1]) for i in range(5)])
        np.testing.assert_allclose(single.numpy(), trained(frames).numpy(), atol=1e-5)
