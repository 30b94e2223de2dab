"""Numbers of a training, whatever is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from tamis._base import UsageError


@dataclass(frozen=True)
class Recipe:
    """Numbers that every training has: Adam, a learning rate that decays, and when to stop."""

    learning_rate: float = 1e-3
    decay: float = 0.5  # factor on the learning rate, after every `patience_decay` epochs of no lower loss
    patience_decay: int = 2
    patience_stop: int = 6
    batch: int = 256
    epochs: int = 40
    weight_decay: float = 0.0
    warmup_epochs: int = 0  # epochs before which losses do not compare


R = TypeVar("R", bound=Recipe)


def with_numbers(recipe: R, epochs: int | None, batch: int | None = None) -> R:
    """Return the recipe with other numbers in it."""
    for value, what in ((epochs, "epochs"), (batch, "batch")):
        if value is not None and value < 1:
            raise UsageError(f"{what} is {value}; it has to be at least 1")
    return replace(recipe, epochs=epochs or recipe.epochs, batch=batch or recipe.batch)
