"""The shipped models, compiled: how far they are from float64."""

from __future__ import annotations

import numpy as np
import pytest

import tamis
from tamis._base import registry
from tamis.bundle import Bundle

LARGEST_ERROR = 1e-6  # of an output's largest value


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names("tamis.bundles"))
def test_a_shipped_model_is_within_a_millionth_of_float64(name) -> None:
    bundle = Bundle.open(name)
    golden = bundle.golden
    events = [golden.inputs[spec.name] for spec in bundle.manifest.signature.inputs]
    with tamis.open(bundle, engine="native") as session:
        found = session.run(*events)
    for spec in bundle.manifest.signature.outputs:
        true = golden.outputs[spec.name].astype(np.float64)
        off = np.abs(found[spec.name] - true).max() / np.abs(true).max()
        assert off <= LARGEST_ERROR, f"{spec.name} is off by {off:.1e} of its largest value"
