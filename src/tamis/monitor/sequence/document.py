"""`sequence.json` of a bundle: the parameters of a recurrent monitor, from which a further beam mode can be added, and its limits."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import numpy as np

from tamis._base import BundleError, Document, parse_document
from tamis.bundle import Bundle

SEQUENCE_FILE = "sequence.json"


class NumberArray(Document):
    """An array of float32 numbers."""

    shape: tuple[int, ...]
    data: str  # base64, little-endian

    @classmethod
    def of(cls, values: np.ndarray) -> NumberArray:
        """Return an array as text."""
        own = np.asarray(values, "<f4")
        return cls(shape=own.shape, data=base64.b64encode(own.tobytes()).decode())

    def values(self) -> np.ndarray:
        """Return the array."""
        return np.frombuffer(base64.b64decode(self.data), "<f4").reshape(self.shape).copy()


class SequenceMode(Document):
    """One beam mode of a recurrent monitor."""

    scatter: tuple[float, float]  # of the steps of a block: the usual mean, and its limit
    peak: tuple[float, float]  # the largest, and its limit
    parameters: dict[str, NumberArray]  # of the graph


class SequenceModel(Document):
    """The parameters of a recurrent monitor."""

    kind: str
    width: int
    latent: int
    modes: dict[int, SequenceMode]

    def parameters(self) -> dict[int, dict[str, np.ndarray]]:
        """Return the parameters of the graph, by mode and name."""
        return {
            mode: {name: array.values() for name, array in one.parameters.items()}
            for mode, one in self.modes.items()
        }


def sequence_of(bundle: Bundle) -> SequenceModel:
    """Return the parameters of the recurrent monitor of a bundle."""
    if SEQUENCE_FILE not in bundle.manifest.files:
        raise BundleError(
            f"{bundle.path} has no {SEQUENCE_FILE}: it is not a recurrent monitor; train one with `tamis train lar-lstm`"
        )
    return parse_document(bundle.text(SEQUENCE_FILE), SequenceModel, str(bundle.path / SEQUENCE_FILE))


def as_arrays(parameters: Mapping[str, np.ndarray]) -> dict[str, NumberArray]:
    """Return arrays as text, by name."""
    return {name: NumberArray.of(values) for name, values in parameters.items()}
