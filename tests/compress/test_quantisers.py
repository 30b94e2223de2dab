"""Quantisers in training: the values of the fixed-point format, and gradients of values and widths."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tamis.compress.export import format_of
from tamis.compress.quantisers import TensorQuantiser, WeightQuantiser, power, round_to
from tamis.fixedpoint import FixedFormat


def test_powers_of_two_are_exact():
    exponents = torch.arange(-126, 128)
    np.testing.assert_array_equal(power(exponents).double().numpy(), np.exp2(exponents.double().numpy()))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("is_input", [True, False])
def test_a_tensor_is_quantised_as_its_format_says(signed, is_input):
    quantiser = TensorQuantiser((3,), 6, signed=signed, is_input=is_input, trained=False)
    quantiser.enable(torch.full((3,), -3.0 if signed else 0.0), torch.full((3,), 3.0))
    values = torch.cat([torch.randn(200, 3) * 3, torch.arange(-30, 30)[:, None].expand(-1, 3) / 32.0])
    expected = format_of(quantiser)(values.double().numpy())
    np.testing.assert_array_equal(quantiser(values).double().numpy(), expected)
    assert str(format_of(quantiser)).endswith("RND_CONV,SAT>" if is_input else "RND,SAT>")


@pytest.mark.parametrize(("per", "shape"), [("tensor", ()), ("channel", (8, 1))])
def test_weights_are_quantised_as_their_formats_say(per, shape):
    weight = torch.randn(8, 5) * torch.logspace(-2, 1, 8)[:, None]
    quantiser = WeightQuantiser(weight, 5, per, 0, trained=False)
    quantiser.enable(weight)
    largest = np.abs(weight.double().numpy()).max(axis=None if per == "tensor" else 1).reshape(shape)
    integer = np.floor(np.log2(largest)).astype(np.int64) + 2
    form = FixedFormat(np.full_like(integer, 5), integer, rounding="RND", overflow="SAT")
    np.testing.assert_array_equal(quantiser(weight).double().numpy(), form(weight.double().numpy()))


def test_gradients_pass_straight_through_and_widths_follow_the_error():
    values = torch.tensor([0.30, -0.55, 0.80], requires_grad=True)
    fraction = torch.tensor(2.0, requires_grad=True)
    (round_to(values, fraction) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    np.testing.assert_array_equal(values.grad, [1.0, 2.0, 3.0])
    errors = np.array([0.30 - 0.25, -0.55 + 0.50, 0.80 - 0.75])
    assert float(fraction.grad) == pytest.approx(np.log(2) * (errors * [1, 2, 3]).sum(), rel=1e-5)


def test_saturated_values_have_no_gradient():
    quantiser = TensorQuantiser((1,), 4, signed=True, is_input=False, trained=False)
    quantiser.enable(torch.tensor([-0.9]), torch.tensor([0.9]))
    values = torch.tensor([[0.5], [5.0], [-5.0]], requires_grad=True)
    quantiser(values).sum().backward()
    np.testing.assert_array_equal(values.grad[:, 0], [1, 0, 0])


def test_widths_are_trained_against_their_cost():
    torch.manual_seed(4)
    weight = torch.randn(16, 16)
    quantiser = WeightQuantiser(weight, 8, "weight", 0, trained=True)
    quantiser.enable(weight)
    optimiser = torch.optim.Adam(quantiser.parameters(), 0.05)
    target = weight.clone()
    target[:8] = 0  # the loss does not see these weights
    for _ in range(200):
        quantised = quantiser(weight)
        loss = (quantised[8:] - target[8:]).square().mean() + 1e-4 * quantiser.bits(weight).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    bits = quantiser.bits(weight).detach()
    assert bits[:8].mean() < 0.5
    assert bits[8:].mean() > bits[:8].mean() + 0.5
    assert bits[8:].mean() < 7
