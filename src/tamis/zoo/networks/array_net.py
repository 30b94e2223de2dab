"""What a model of arrays has to tell: its outputs, and in training its loss."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class ArrayNet(nn.Module, ABC):
    """A network with its preprocessing inside."""

    @abstractmethod
    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the outputs, as the graph has them."""

    @abstractmethod
    def losses(self, inputs: tuple[Tensor, ...], target: Tensor) -> dict[str, Tensor]:
        """Return `loss`, which training makes small, and what else is worth a look."""
