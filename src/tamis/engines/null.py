"""The null engine: no work at all, so that a measurement of it is a measurement of the harness."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tamis.bundle import Signature
from tamis.engines.engine import Arrays, Engine, Options, Runner


class NullEngine(Engine):
    """Hands out zeros of the right shape. It is never verified, and nothing may be decided with it."""

    name = "null"
    computes = False

    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Look at nothing but the shapes of the outputs."""
        del model, options
        kept: dict[tuple[int, ...], Arrays] = {}

        def run(arrays: Arrays) -> Arrays:
            shape = arrays[0].shape
            if shape not in kept:
                kept[shape] = _zeros(signature, shape[0] if shape else 1)
            return kept[shape]

        return _NullRunner(run)

    @classmethod
    def version(cls) -> str:
        """Return our own version: there is no library behind it."""
        from tamis._base import library_versions

        return library_versions(("tamis",)).get("tamis", "")


class _NullRunner(Runner):
    """Leaves bound buffers as they are."""

    def bind(self, arrays: Arrays, results: Arrays) -> Callable[[], object]:
        """Return a call that does nothing."""
        del arrays, results
        return _nothing


def _nothing() -> None:
    pass


def _zeros(signature: Signature, events: int) -> Arrays:
    def shape(dims: tuple[int | str, ...]) -> tuple[int, ...]:
        inner = tuple(d if isinstance(d, int) else 1 for d in dims)
        return (events, *inner[1:]) if signature.rows != "none" else inner

    return [np.zeros(shape(spec.shape), spec.dtype) for spec in signature.outputs]
