"""The example event of a bundle, from which the compiler takes all shapes."""

from __future__ import annotations

import numpy as np

from tamis.bundle import Bundle, Golden, rows_of


def example_event(bundle: Bundle, golden: Golden | None = None) -> dict[str, np.ndarray]:
    """Return the first golden event; the first batch of a model with a fixed batch size; all inputs of a model without a batch axis."""
    signature = bundle.manifest.signature
    values = (golden or bundle.golden).inputs
    inputs = {spec.name: values[spec.name] for spec in signature.inputs}
    return inputs if signature.rows == "none" else rows_of(inputs, slice(0, signature.fixed_batch or 1))
