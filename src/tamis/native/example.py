"""An example event of a bundle: what tells the compiler all sizes."""

from __future__ import annotations

import numpy as np

from tamis.bundle import Bundle, Golden, rows_of


def example_event(bundle: Bundle, golden: Golden | None = None) -> dict[str, np.ndarray]:
    """Return the first golden event, or the first golden batch of a graph that takes no other; all where there is no batch."""
    signature = bundle.manifest.signature
    given = (golden or bundle.golden).inputs
    inputs = {spec.name: given[spec.name] for spec in signature.inputs}
    return inputs if signature.rows == "none" else rows_of(inputs, slice(0, signature.fixed_batch or 1))
