"""The accuracy of the shipped models, compiled, against float64."""

from __future__ import annotations

import numpy as np
import pytest

import tamis
from tamis._base import registry
from tamis.bundle import Bundle

LARGEST_ERROR = 1e-6  # of an output's largest value


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names("tamis.bundles"))
def test_shipped_model_is_within_a_millionth_of_float64(name) -> None:
    bundle = Bundle.open(name)
    golden = bundle.golden
    events = [golden.inputs[spec.name] for spec in bundle.manifest.signature.inputs]
    with tamis.open(bundle, engine="native") as session:
        results = session.run(*events)
    for spec in bundle.manifest.signature.outputs:
        expected = golden.outputs[spec.name].astype(np.float64)
        error = np.abs(results[spec.name] - expected).max() / np.abs(expected).max()
        assert error <= LARGEST_ERROR, f"{spec.name} differs by {error:.1e} of its largest value"
