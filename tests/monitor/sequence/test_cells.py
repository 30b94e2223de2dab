"""The cells of the recurrent monitors: their forms agree, and their exponentials stay finite."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from tamis.monitor.sequence.cells import LstmMemoryCell, MLstmCell, SLstmCell  # noqa: E402


def begin(cell, rows, dtype=torch.float32):
    return tuple(torch.zeros(rows, *shape, dtype=dtype) for shape in cell.state_shapes())


def step_by_step(cell, weights, x, state):
    return super(MLstmCell, cell).sequence(weights, x, state)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 3),
    steps=st.integers(1, 90),
    heads=st.integers(1, 3),
    head=st.integers(1, 9),
    chunk=st.integers(1, 160),
    strength=st.sampled_from([0.3, 1.0, 5.0]),
    seed=st.integers(0, 10**6),
)
def test_chunks_and_steps_of_an_mlstm_agree(rows, steps, heads, head, chunk, strength, seed):
    generator = torch.Generator().manual_seed(seed)
    cell = MLstmCell(5, heads * head, heads, chunk)
    weights = cell.draw(generator)
    weights["from_input"] *= strength
    x = torch.randn(rows, steps, 5, generator=generator)
    # The denominator is the modulus of a sum that may cancel: with a plain float32 the last digits are lost in either form.
    weights, x = {name: value.double() for name, value in weights.items()}, x.double()
    together, after = cell.sequence(weights, x, begin(cell, rows, torch.float64))
    single, state = step_by_step(cell, weights, x, begin(cell, rows, torch.float64))
    torch.testing.assert_close(together, single, rtol=1e-5, atol=1e-5)
    for one, other in zip(after, state, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 64, 100, 600])
def test_long_sequences_agree_in_single_precision(chunk):
    generator = torch.Generator().manual_seed(1)
    cell = MLstmCell(8, 32, 4, chunk)
    weights = cell.draw(generator)
    x = torch.randn(2, 600, 8, generator=generator)
    together, after = cell.sequence(weights, x, begin(cell, 2))
    single, state = step_by_step(cell, weights, x, begin(cell, 2))
    for one, other in zip((together, *after), (single, *state), strict=True):
        assert (one - other).abs().max() < 1e-5 * max(1.0, float(single.abs().max()))


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(1, 59), chunk=st.integers(1, 70), seed=st.integers(0, 10**6))
def test_a_sequence_goes_on_from_its_state(cut, chunk, seed):
    generator = torch.Generator().manual_seed(seed)
    for kind in (LstmMemoryCell, SLstmCell, MLstmCell):
        cell = MLstmCell(4, 8, 2, chunk) if kind is MLstmCell else kind(4, 8)
        weights = {name: value.double() for name, value in cell.draw(generator).items()}
        x = torch.randn(2, 60, 4, generator=generator).double()
        whole, _ = cell.sequence(weights, x, begin(cell, 2, torch.float64))
        first, state = cell.sequence(weights, x[:, :cut], begin(cell, 2, torch.float64))
        second, _ = cell.sequence(weights, x[:, cut:], state)
        torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [LstmMemoryCell, SLstmCell, MLstmCell])
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_large_inputs_stay_finite_with_their_gradients(kind, size):
    generator = torch.Generator().manual_seed(3)
    cell = kind(4, 8)
    weights = {name: value.requires_grad_() for name, value in cell.draw(generator).items()}
    x = torch.randn(2, 200, 4, generator=generator) * size
    h, state = cell.sequence(weights, x, begin(cell, 2))
    h.square().mean().backward()
    assert torch.isfinite(h).all()
    assert all(torch.isfinite(one).all() for one in state)
    assert all(torch.isfinite(value.grad).all() for value in weights.values())


def test_the_lstm_is_that_of_torch():
    generator = torch.Generator().manual_seed(4)
    cell = LstmMemoryCell(5, 6)
    weights = cell.draw(generator)
    known = torch.nn.LSTM(5, 6, batch_first=True)
    with torch.no_grad():
        known.weight_ih_l0.copy_(weights["from_input"].T)
        known.weight_hh_l0.copy_(weights["from_state"].T)
        known.bias_ih_l0.copy_(weights["bias"])
        known.bias_hh_l0.zero_()
    x = torch.randn(3, 20, 5, generator=generator)
    torch.testing.assert_close(cell.sequence(weights, x, begin(cell, 3))[0], known(x)[0])


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), strength=st.sampled_from([1.0, 10.0]))
def test_an_slstm_is_the_plain_formula_without_the_stabiliser(seed, strength):
    generator = torch.Generator().manual_seed(seed)
    cell = SLstmCell(3, 4)
    weights = {name: value.double() for name, value in cell.draw(generator).items()}
    x = torch.randn(1, 30, 3, generator=generator).double() * strength
    h, _ = cell.sequence(weights, x, begin(cell, 1, torch.float64))
    out, c, n = np.zeros(4), np.zeros(4), np.zeros(4)
    for k in range(30):
        gates = (
            x[0, k].numpy() @ weights["from_input"].numpy()
            + out @ weights["from_state"].numpy()
            + weights["bias"].numpy()
        )
        i, f, z, o = gates.reshape(4, 4)
        sigmoid = [1 / (1 + np.exp(-part)) for part in (f, o)]
        c, n = sigmoid[0] * c + np.exp(i) * np.tanh(z), sigmoid[0] * n + np.exp(i)
        out = sigmoid[1] * c / n
        np.testing.assert_allclose(h[0, k].numpy(), out, rtol=1e-8, atol=1e-8)


def test_rows_may_have_weights_of_their_own():
    generator = torch.Generator().manual_seed(5)
    for kind in (LstmMemoryCell, SLstmCell, MLstmCell):
        cell = kind(3, 8)
        each = [cell.draw(generator) for _ in range(2)]
        stacked = {name: torch.stack([one[name] for one in each]) for name in each[0]}
        x = torch.randn(2, 3, generator=generator)
        state = tuple(torch.rand(2, *shape, generator=generator) for shape in cell.state_shapes())
        h, _ = cell.step(stacked, x, state)
        for k in range(2):
            alone, _ = cell.step(each[k], x[k : k + 1], tuple(one[k : k + 1] for one in state))
            torch.testing.assert_close(alone[0], h[k])
