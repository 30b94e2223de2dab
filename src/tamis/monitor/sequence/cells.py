"""Recurrent cells: LSTM, sLSTM and mLSTM (arXiv:2405.04517). Each takes one step; an mLSTM also takes chunks of a sequence at once.

Weights come as tensors by name, so that the rows of a batch may have weights of their own: (inputs, outputs), or (rows, inputs, outputs).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
State = tuple[Tensor, ...]
EXPONENT_MOST = 80.0  # exp of it is finite in float32
REMEMBERED = (3.0, 7.0)  # biases of forget gates at the begin: memories of 20 to 1,000 steps


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return x times the weights, (rows, outputs); each row may have its own."""
    if weight.ndim == 2:
        return x @ weight
    return (x.unsqueeze(-2) @ weight).squeeze(-2)


def log_sigmoid(x: Tensor) -> Tensor:
    """Return log(sigmoid(x)), finite for every x; exported in operators that every engine has."""
    if not torch.onnx.is_in_onnx_export():
        return torch.nn.functional.logsigmoid(x)
    return torch.clamp(x, max=0.0) - torch.log1p(torch.exp(-x.abs()))


class MemoryCell(ABC):
    """A recurrent cell of some width; it holds no weights. What it reads is computed for all steps of a sequence at once."""

    STATES: ClassVar[tuple[str, ...]]

    def __init__(self, inputs: int, width: int) -> None:
        """Keep the sizes."""
        self.inputs, self.width = inputs, width

    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights."""

    @abstractmethod
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of the state of one row, in the order of STATES; it begins with zeros."""

    @abstractmethod
    def recur(self, weights: Weights, read: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output (rows, width) and the state after one step that was read as `read`."""

    def read(self, weights: Weights, x: Tensor) -> Tensor:
        """Return what the gates get from the input."""
        return linear(x, weights["from_input"]) + weights["bias"]

    def step(self, weights: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output (rows, width) and the state after one step; rows may have weights of their own."""
        return self.recur(weights, self.read(weights, x), state)

    def sequence(self, weights: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the outputs (rows, steps, width) and the state after some steps, taken one by one."""
        outputs = []
        for read in self.read(weights, x).unbind(1):
            h, state = self.recur(weights, read, state)
            outputs.append(h)
        return torch.stack(outputs, 1), state

    def draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Return weights to begin the training with: uniform, and forget gates that give the units different memories."""
        drawn = {}
        for name, shape in self.shapes().items():
            bound = 1 / math.sqrt(shape[0]) if len(shape) > 1 else 0.0
            drawn[name] = (torch.rand(shape, generator=generator) * 2 - 1) * bound
        drawn["bias"][self.forget_gates] = torch.linspace(*REMEMBERED, len(drawn["bias"][self.forget_gates]))
        return drawn

    @property
    def forget_gates(self) -> slice:
        """Return which biases are those of forget gates."""
        return slice(self.width, 2 * self.width)


class GatedCell(MemoryCell):
    """Four gates in the order input, forget, value, output, which read the input and the last output."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights."""
        return {
            "from_input": (self.inputs, 4 * self.width),
            "from_state": (self.width, 4 * self.width),
            "bias": (4 * self.width,),
        }


class LstmMemoryCell(GatedCell):
    """The LSTM."""

    STATES = ("h", "c")

    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of the state."""
        return (self.width,), (self.width,)

    def recur(self, weights: Weights, read: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one step."""
        h, c = state
        i, f, z, o = (read + linear(h, weights["from_state"])).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(z)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)


class SLstmCell(GatedCell):
    """The sLSTM: exponential input gates, a normaliser n, and m, which keeps the exponentials finite."""

    STATES = ("h", "c", "n", "m")

    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of the state."""
        return ((self.width,),) * 4

    def recur(self, weights: Weights, read: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one step."""
        h, c, n, m = state
        i, f, z, o = (read + linear(h, weights["from_state"])).chunk(4, -1)
        kept = log_sigmoid(f) + m
        # Before the first step n is 0, and there is nothing whose scale m could be.
        largest = torch.where(n > 0, torch.maximum(kept, i), i)
        kept_part = torch.exp(torch.clamp(kept - largest, max=0.0))
        new_part = torch.exp(i - largest)
        c = kept_part * c + new_part * torch.tanh(z)
        n = kept_part * n + new_part
        h = torch.sigmoid(o) * c / n
        return h, (h, c, n, largest)


class MLstmCell(MemoryCell):
    """The mLSTM: a matrix C of keys and values for each head, with one input and one forget gate for each head."""

    STATES = ("C", "n", "m")

    def __init__(self, inputs: int, width: int, heads: int = 4, chunk: int = 64) -> None:
        """Keep the sizes; `chunk` steps of a sequence are computed together."""
        super().__init__(inputs, width)
        self.heads, self.head, self.chunk = heads, width // heads, chunk

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights."""
        return {
            "qkvo": (self.inputs, 4 * self.width),
            "from_input": (self.inputs, 2 * self.heads),
            "bias": (2 * self.heads,),
        }

    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of the state."""
        return (self.heads, self.head, self.head), (self.heads, self.head), (self.heads,)

    def read(self, weights: Weights, x: Tensor) -> Tensor:
        """Return queries, keys, values and output gates, and what the other gates get from the input."""
        return torch.cat([linear(x, weights["qkvo"]), super().read(weights, x)], -1)

    def recur(self, weights: Weights, read: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one step."""
        del weights  # all of them are used in reading
        c, n, m = state
        q, k, v, o = (
            part.reshape(-1, self.heads, self.head) for part in read[..., : 4 * self.width].chunk(4, -1)
        )
        i, f = read[..., 4 * self.width :].chunk(2, -1)
        k = k / math.sqrt(self.head)
        kept = log_sigmoid(f) + m
        m = torch.maximum(kept, i)
        kept_part, new_part = torch.exp(kept - m).unsqueeze(-1), torch.exp(i - m).unsqueeze(-1)
        c = kept_part.unsqueeze(-1) * c + (new_part * k).unsqueeze(-1) * v.unsqueeze(-2)
        n = kept_part * n + new_part * k
        read = (q.unsqueeze(-2) @ c).squeeze(-2)
        weight = torch.maximum((q * n).sum(-1).abs(), torch.exp(torch.clamp(-m, max=EXPONENT_MOST)))
        h = torch.sigmoid(o) * read / weight.unsqueeze(-1)
        return h.reshape(-1, self.width), (c, n, m)

    def sequence(self, weights: Weights, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the outputs (rows, steps, width) and the state after some steps, a chunk at once; weights are those of all rows."""
        rows, steps = x.shape[:2]
        q, k, v = (
            part.reshape(rows, steps, self.heads, self.head).transpose(1, 2)
            for part in (x @ weights["qkvo"][:, : 3 * self.width]).chunk(3, -1)
        )
        o = x @ weights["qkvo"][:, 3 * self.width :]
        i, f = super().read(weights, x).transpose(1, 2).chunk(2, 1)
        k, log_f = k / math.sqrt(self.head), log_sigmoid(f)
        outputs = []
        for begin in range(0, steps, self.chunk):
            part = slice(begin, begin + self.chunk)
            h, state = _chunk(
                q[:, :, part], k[:, :, part], v[:, :, part], i[..., part], log_f[..., part], state
            )
            outputs.append(h)
        h = torch.cat(outputs, 2).transpose(1, 2).reshape(rows, steps, self.width)
        return torch.sigmoid(o) * h, state

    @property
    def forget_gates(self) -> slice:
        """Return which biases are those of forget gates."""
        return slice(self.heads, 2 * self.heads)


def _chunk(q: Tensor, k: Tensor, v: Tensor, i: Tensor, log_f: Tensor, state: State) -> tuple[Tensor, State]:
    """Return outputs and state of a chunk: D_ij = F_i - F_j + i_j with F the running sum of log f, and what came before it."""
    c, n, m = state
    total = torch.cumsum(log_f, -1)
    pairs = total.unsqueeze(-1) - total.unsqueeze(-2) + i.unsqueeze(-2)
    later = torch.ones(pairs.shape[-2:], dtype=torch.bool, device=pairs.device).triu(1)
    pairs = pairs.masked_fill(later, -math.inf)
    before = total + m.unsqueeze(-1)
    largest = torch.maximum(pairs.amax(-1), before)
    scores = (q @ k.transpose(-1, -2)) * torch.exp(pairs - largest.unsqueeze(-1))
    old = torch.exp(before - largest).unsqueeze(-1)
    read = scores @ v + old * (q @ c)
    norm = scores.sum(-1, keepdim=True) + old * (q @ n.unsqueeze(-1))
    floor = torch.exp(torch.clamp(-largest, max=EXPONENT_MOST)).unsqueeze(-1)
    last = largest[..., -1]
    share = torch.exp(pairs[..., -1, :] - last.unsqueeze(-1)).unsqueeze(-1) * k
    kept = old[..., -1, :]
    return read / torch.maximum(norm.abs(), floor), (
        kept.unsqueeze(-1) * c + share.transpose(-1, -2) @ v, kept * n + share.sum(-2), last,
    )  # fmt: skip
