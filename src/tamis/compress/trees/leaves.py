"""Train the leaves of all trees together, and make them small integers while they are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tamis.compress.trees.growth import LevelTree
from tamis.compress.trees.options import TreeOptions
from tamis.zoo.training.loop import AfterEpoch

BULK = 0.02  # of the leaves on either side may be beyond the integers' range when it is chosen
WIDE = 0.7  # of the trees have leaves within the range
DECAY = 1e-5


@dataclass(frozen=True)
class IntegerLeaves:
    """Leaf `step * integers` of every tree, (trees, leaves, outputs), and what is added to the sum, in units of the step."""

    integers: np.ndarray
    bias: np.ndarray
    step: float


def train_leaves(
    trees: Sequence[LevelTree],
    codes: tuple[np.ndarray, np.ndarray],
    targets: tuple[np.ndarray, np.ndarray],
    start: np.ndarray,
    options: TreeOptions,
    after_epoch: AfterEpoch | None,
) -> IntegerLeaves:
    """Return the leaves, of which each tree and output has 2^bits neighbouring integers, chosen by the loss of the second rows.

    Targets are probabilities, whose first class has no output, or numbers.
    """
    torch.manual_seed(options.seed)
    numbers = [torch.from_numpy(np.stack([tree.reached(part) for tree in trees], 1)) for part in codes]
    wanted = [torch.from_numpy(part.astype(np.float32)) for part in targets]
    model = _Leaves(np.stack([tree.leaves for tree in trees]), start, wanted[0].shape[1] > len(start))
    half = max(1, options.epochs // 2)
    best: tuple[float, IntegerLeaves] | None = None
    for epoch in range(options.epochs):
        if epoch == half or options.epochs == 1:
            model.quantise(options.leaf_bits)
        within = epoch if epoch < half else epoch - half
        rate = options.learning_rate * (1 - within / max(half, options.epochs - half))
        optimizer = torch.optim.Adam([model.leaves, model.bias], lr=rate)
        losses = []
        for rows in torch.split(torch.randperm(len(numbers[0])), options.batch):
            loss = model.loss(numbers[0][rows], wanted[0][rows])
            optimizer.zero_grad()
            (loss + DECAY * model.leaves.square().sum()).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
        with torch.no_grad():
            held = float(model.loss(numbers[1], wanted[1]))
        if model.step and (best is None or held < best[0]):
            best = held, model.integers()
        if after_epoch is not None:
            after_epoch({"epoch": epoch + 1, "train_loss": float(np.mean(losses)), "validation_loss": held})
    assert best is not None  # noqa: S101 - the second half of the epochs is quantised
    return best[1]


class _Leaves:
    """Tables of leaves, with straight-through gradients once they are quantised."""

    def __init__(self, leaves: np.ndarray, start: np.ndarray, reference: bool) -> None:
        self.leaves = torch.nn.Parameter(torch.from_numpy(leaves.astype(np.float32)))
        self.bias = torch.nn.Parameter(torch.from_numpy(start.astype(np.float32)))
        self.reference = reference  # whether a first class has no output
        self.first = torch.arange(len(leaves)) * leaves.shape[1]
        self.step, self.lowest, self.bits = 0.0, torch.zeros(0), 0

    def quantise(self, bits: int) -> None:
        """Choose the step, a power of two, and the lowest integer of every tree and output."""
        bulk = self.leaves.detach().quantile(torch.tensor([BULK, 1 - BULK]), dim=1)  # (2, trees, outputs)
        span = float((bulk[1] - bulk[0]).quantile(WIDE))
        self.bits = bits
        self.step = float(2.0 ** np.rint(np.log2(max(span, 1e-6) / (2**bits - 1))))
        self.lowest = torch.round(bulk.mean(0) / self.step - (2**bits - 1) / 2)[:, None]

    def tables(self) -> Tensor:
        """Return the leaves as they are added."""
        if not self.step:
            return self.leaves
        return self.leaves + (self._integers() * self.step - self.leaves).detach()

    def _integers(self) -> Tensor:
        return torch.round(self.leaves / self.step - self.lowest).clamp(0, 2**self.bits - 1) + self.lowest

    def loss(self, numbers: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss of rows that reach leaves."""
        flat = self.tables().flatten(0, 1)
        bias: Tensor = self.bias
        if self.step:
            bias = self.bias + (torch.round(self.bias / self.step) * self.step - self.bias).detach()
        sums = functional.embedding_bag(numbers + self.first, flat, mode="sum") + bias
        if self.reference:
            sums = functional.pad(sums, (1, 0))
            return functional.cross_entropy(sums, wanted)
        return functional.mse_loss(sums, wanted)

    def integers(self) -> IntegerLeaves:
        """Return the integers; each tree's lowest one is zero, and the rest is in the bias."""
        with torch.no_grad():
            whole = self._integers().double().numpy()
            bias = torch.round(self.bias / self.step).double().numpy()
        lowest = whole.min(axis=1, keepdims=True)
        return IntegerLeaves(
            (whole - lowest).astype(np.int64), (bias + lowest.sum(axis=(0, 1))).astype(np.int64), self.step
        )
