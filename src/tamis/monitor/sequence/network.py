"""The recurrent autoencoder: what the past blocks of a stream make likely for the next one.

A cell reads the steps one by one. At the first step of a block a bottleneck reduces its output, and the decoder reconstructs the steps of
that block from it, before it has seen them: an autoencoder that sees the step itself reconstructs faults, too. A running mean of the steps is
added to the reconstruction, so that the network learns only what a mean does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tamis.monitor.sequence.cells import (
    LstmMemoryCell,
    MemoryCell,
    MLstmCell,
    SLstmCell,
    State,
    Weights,
    linear,
)
from tamis.monitor.sequence.settings import CLIP, CONDITIONS

Kind = Literal["lstm", "xlstm"]


@dataclass(frozen=True)
class SequenceNetwork:
    """The shape of a recurrent autoencoder; its weights come from outside."""

    kind: Kind
    features: int
    width: int = 32
    latent: int = 8

    @property
    def cells(self) -> list[tuple[str, MemoryCell]]:
        """Return the cells, in their order: an xLSTM has an mLSTM and an sLSTM, each added to what it reads."""
        inputs = self.features + CONDITIONS
        if self.kind == "lstm":
            return [("lstm", LstmMemoryCell(inputs, self.width))]
        return [("mlstm", MLstmCell(self.width, self.width)), ("slstm", SLstmCell(self.width, self.width))]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights."""
        shapes: dict[str, tuple[int, ...]] = {}
        if self.kind == "xlstm":
            shapes |= {"read": (self.features + CONDITIONS, self.width), "read_bias": (self.width,)}
        for name, cell in self.cells:
            shapes |= {f"{name}.{key}": shape for key, shape in cell.shapes().items()}
        return shapes | {
            "encode": (self.width, self.latent),
            "encode_bias": (self.latent,),
            "decode": (self.latent + CONDITIONS, self.features),
            "decode_bias": (self.features,),
        }

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the states of the cells."""
        return {
            f"{name}_{state}": shape
            for name, cell in self.cells
            for state, shape in zip(cell.STATES, cell.state_shapes(), strict=True)
        }

    def draw(self, seed: int) -> dict[str, Tensor]:
        """Return weights to begin with: the decoder adds nothing yet to the running mean."""
        generator = torch.Generator().manual_seed(seed)
        weights = {
            name: torch.randn(shape, generator=generator) / shape[0] ** 0.5
            if len(shape) > 1
            else torch.zeros(shape)
            for name, shape in self.shapes().items()
        }
        for name, cell in self.cells:
            weights |= {f"{name}.{key}": value for key, value in cell.draw(generator).items()}
        weights["decode"].zero_()
        return weights

    def step(
        self, weights: Weights, change: Tensor, conditions: Tensor, state: State
    ) -> tuple[Tensor, State]:
        """Return the output of the cells (rows, width) and their states after one step."""
        return self._through(weights, change, conditions, state, lambda cell: cell.step)

    def sequence(
        self, weights: Weights, change: Tensor, conditions: Tensor, state: State
    ) -> tuple[Tensor, State]:
        """Return the outputs of the cells (rows, steps, width) and their states after some steps."""
        return self._through(weights, change, conditions, state, lambda cell: cell.sequence)

    def _through(
        self,
        weights: Weights,
        change: Tensor,
        conditions: Tensor,
        state: State,
        form: Callable[[MemoryCell], Callable[[Weights, Tensor, State], tuple[Tensor, State]]],
    ) -> tuple[Tensor, State]:
        x = torch.cat([torch.clamp(change, -CLIP, CLIP), conditions], -1)
        if self.kind == "xlstm":
            x = linear(x, weights["read"]) + weights["read_bias"]
        after: list[Tensor] = []
        for name, cell in self.cells:
            own = {
                key.removeprefix(f"{name}."): value
                for key, value in weights.items()
                if key.startswith(f"{name}.")
            }
            begin = len(after)
            h, states = form(cell)(own, x, state[begin : begin + len(cell.STATES)])
            after += states
            x = x + h if self.kind == "xlstm" else h
        return x, tuple(after)

    def expected(self, weights: Weights, output: Tensor, conditions: Tensor) -> Tensor:
        """Return what is expected of the next steps beyond the running mean."""
        latent = torch.tanh(linear(output, weights["encode"]) + weights["encode_bias"])
        return linear(torch.cat([latent, conditions], -1), weights["decode"]) + weights["decode_bias"]
