"""The shipped topology classifiers distinguish simulated events."""

from __future__ import annotations

import numpy as np
import pytest

import tamis
from tamis.bundle import Bundle
from tamis.events import Events
from tamis.features import columns_read, find_inputs, input_rows
from tamis.measure import verify
from tamis.simulate import SimulationSettings, simulate

TOPOLOGIES = ("topology-both", "topology-gru", "topology-hlf", "topology-lstm")


@pytest.fixture(scope="module")
def samples():
    def sample(process, n):
        return Events.concatenate(simulate(process, n, seed=77, settings=SimulationSettings(mu=20)))

    return {"qcd": sample("qcd-lepton", 25), "w": sample("w-lepton", 60), "ttbar": sample("ttbar", 80)}


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_shipped_classifiers_agree_with_float64_on_every_engine(name):
    bundle = Bundle.open(name)
    for engine in ("onnxruntime", "openvino", "torch"):
        assert verify(bundle, engine).passed
    assert bundle.text("CARD.md").startswith(f"# Model card: {name}")
    assert "names of training files" not in bundle.text("CARD.md")


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_it_distinguishes_simulated_events(name, samples):
    bundle = Bundle.open(name)
    features = find_inputs({spec.name: spec.feature for spec in bundle.manifest.signature.inputs})
    assert set(columns_read(features)) <= set(samples["w"].array.fields)
    with tamis.open(bundle) as session:
        found = {key: session.run(**input_rows(features, events).inputs) for key, events in samples.items()}
    means = {key: float(np.mean(outputs["score"])) for key, outputs in found.items()}
    assert means["qcd"] < 0.4 < 0.85 < min(means["w"], means["ttbar"])
    for number, key in ((1, "w"), (2, "ttbar")):
        assert np.mean(found[key]["probabilities"].argmax(1) == number) > 0.75


def test_the_shipped_classifiers_are_small():
    sizes = [f.stat().st_size for name in TOPOLOGIES for f in Bundle.open(name).path.iterdir()]
    assert sum(sizes) < 2_000_000
