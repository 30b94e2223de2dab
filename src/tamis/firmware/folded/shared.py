"""Logic that serves several rows in turn: what it consists of, and when its results are there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.firmware.folded.products import ProductPlan
from tamis.firmware.folded.windows import Window
from tamis.firmware.folded.wires import ElementSource
from tamis.fixedpoint import FixedGrid


@dataclass(frozen=True)
class SharedLogic:
    """Logic that serves rows of elements in turn: products first, if there are any, and alkaid's pipeline after them."""

    module: str  # alkaid's
    slots: FixedGrid  # what the logic reads in each turn
    rows: tuple[tuple[ElementSource, ...], ...]  # the elements of each row in the slots
    results: tuple[tuple[int, ...], ...]  # the elements that each row makes
    used: np.ndarray  # which slots, or sums of the products, alkaid's module reads
    stages: int
    writes: FixedGrid  # of a row
    copies: int = 1
    products: ProductPlan | None = None
    products_stages: int = 0  # from the last address to the sums
    windows: tuple[Window | None, ...] = (None,)  # of each copy

    @property
    def turns(self) -> int:
        """Rows that each copy serves."""
        return -(-len(self.rows) // self.copies)

    def served(self, copy: int) -> range:
        """Return the rows that a copy serves, in the order of its turns."""
        return range(copy * self.turns, min((copy + 1) * self.turns, len(self.rows)))

    @property
    def stride(self) -> int:
        """Cycles that a row takes."""
        return self.products.cycles * self.products.groups if self.products else 1

    @property
    def first_result(self) -> int:
        """The cycle, counted from that in which the event entered, in which the results of the first row are there."""
        return (self.stride + self.products_stages if self.products else 2) + self.stages

    @property
    def last_result(self) -> int:
        """The cycle in which the results of the last row are there."""
        return self.first_result + (self.turns - 1) * self.stride
