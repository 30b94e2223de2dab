"""Residual networks, in float and in eight bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tamis._base import UsageError
from tamis.zoo import QUANTISED, TAGGERS, train
from tamis.zoo.networks.resnet import resnet_50, small_resnet, turned
from tamis.zoo.networks.resnet_int8 import Rounded, RoundedResNet
from tamis.zoo.training.untrained import pack_untrained


@pytest.fixture(scope="module")
def trained():
    """A small network whose normalisations have seen something."""
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
def test_folding_changes_nothing_and_rounding_little(trained):
    torch.manual_seed(2)
    frames = images(64)
    rounded = RoundedResNet(trained).eval()
    stem, first = trained.stem, rounded.stem
    h = torch.rand(2, 3, 64, 64)
    folded = torch.nn.functional.conv2d(h, first.weight, first.bias, first.stride, first.padding)
    torch.testing.assert_close(folded, stem(h), rtol=1e-4, atol=1e-5)
    exact = trained(frames)
    rounded.calibrate(frames)
    near = rounded(frames)
    assert not torch.equal(exact, near)
    spread = float(exact.std())
    assert float((exact - near).abs().max()) < 0.5 * max(spread, 0.05)
    assert float(torch.corrcoef(torch.stack([exact, near]))[0, 1]) > 0.97


@torch.no_grad()
def test_activations_take_256_values_at_most(trained):
    rounding = Rounded()
    x = torch.linspace(0.0, 5.0, 10_000)
    assert torch.equal(rounding(x), x)
    rounding.settle()
    assert len(torch.unique(rounding(x))) <= 256
    assert float((rounding(x) - x).abs().max()) < 5.0 / 255


def test_rounding_passes_gradients_on(trained):
    rounded = RoundedResNet(trained)
    rounded.calibrate(images())
    rounded.train()
    rounded(images()).sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in rounded.parameters()
    )


def test_an_image_that_is_turned_has_the_same_pixels():
    frames = torch.rand(2, 3, 8, 8)
    seen = set()
    for seed in range(60):
        torch.manual_seed(seed)
        found = turned(frames)
        torch.testing.assert_close(found.flatten(2).sort()[0], frames.flatten(2).sort()[0])
        seen.add(tuple(found[0, 0, 0].tolist()))
    assert len(seen) == 8


def test_the_sizes_are_the_published_ones():
    count = sum(parameter.numel() for parameter in resnet_50().parameters())
    thousand_classes = 2048 * 1000 + 1000
    assert count - 2049 + thousand_classes == 25_557_032  # torchvision's resnet50
    assert sum(parameter.numel() for parameter in small_resnet(3).parameters()) == 174_673


def test_an_eight_bit_network_needs_a_trained_one(tmp_path):
    files = ["qcd.root"], tmp_path / "x.tamis"
    with pytest.raises(UsageError, match=r"--from top-resnet\.tamis\.training"):
        train("top-resnet-int8", *files, signal=["tops.root"])
    with pytest.raises(UsageError, match="holds no checkpoint"):
        train("top-resnet-int8", *files, signal=["tops.root"], start=tmp_path)
    with pytest.raises(UsageError, match="leave --from away"):
        train("top-resnet", *files, signal=["tops.root"], start=tmp_path)
    with pytest.raises(UsageError, match="no untrained model"):
        pack_untrained("resnet-50", tmp_path / "x.tamis")
    assert all(QUANTISED[name].features == TAGGERS["top-resnet"].features for name in QUANTISED)


def test_rows_are_seen_as_they_are_whatever_their_number(trained):
    frames = images(5)
    with torch.no_grad():
        one = torch.cat([trained(frames[i : i + 1]) for i in range(5)])
        np.testing.assert_allclose(one.numpy(), trained(frames).numpy(), atol=1e-5)
