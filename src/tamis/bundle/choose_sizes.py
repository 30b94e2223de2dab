"""Choose sizes of free dimensions that a model takes, where none are named and the default ones do not fit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from tamis._base import ModelError
from tamis.bundle.reference import Reference
from tamis.bundle.sample import DEFAULT_FREE_DIMENSION, draw_inputs, free_sizes, inner_dims
from tamis.bundle.signature import Signature

LARGEST_TRIED = 128  # particles
SPARE_PARTICLES = 8  # particles beyond the smallest number, so that not all of them are neighbours of each


def choose_sizes(
    model: onnx.ModelProto, signature: Signature, dims: Mapping[str, int]
) -> tuple[dict[str, int], list[str]]:
    """Return sizes of the free dimensions within an event that are not in `dims`, and a note; neither if the default sizes fit, or none do."""
    names = [name for name in inner_dims(signature) if name not in dims]
    if not names:
        return {}, []
    evaluator = Reference(model, double=False, shapes_only=True)
    rng = np.random.default_rng(0)

    def takes(size: int) -> bool:
        sizes = free_sizes(signature, {**dims, **dict.fromkeys(names, size)}, 2)
        try:
            evaluator.trace(draw_inputs(signature, sizes, rng))
        except ModelError:
            return False
        return True

    if takes(DEFAULT_FREE_DIMENSION):
        return {}, []
    larger, smaller = (
        range(DEFAULT_FREE_DIMENSION + 1, LARGEST_TRIED + 1),
        range(DEFAULT_FREE_DIMENSION - 1, 0, -1),
    )
    least = next((size for size in (*larger, *smaller) if takes(size)), None)
    if least is None:
        return {}, []
    chosen = least + SPARE_PARTICLES if takes(least + SPARE_PARTICLES) else least
    why = f"the model takes {least}, but not {DEFAULT_FREE_DIMENSION}"
    return dict.fromkeys(names, chosen), [
        f"{' and '.join(f'{name}={chosen}' for name in names)}, as {why} (change it with --dims)"
    ]
