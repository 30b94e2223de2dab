"""Jets with high-level features: masses and multiplicities of the classes, and features of jets that are known."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.simulate import simulate_sample
from tamis.simulate.candidates import Candidates
from tamis.simulate.jets import anti_kt, four_momenta
from tamis.simulate.samples.jets_hlf import JET_CLASSES, JET_FEATURES, features
from tamis.simulate.substructure import soft_drop


@pytest.fixture(scope="module")
def block():
    """Return one block of 500 jets."""
    return next(simulate_sample("jets-hlf", 500, seed=11))


def column(block, feature, name=None):
    rows = slice(None) if name is None else block["label"] == JET_CLASSES.index(name)
    return block["features"][rows, JET_FEATURES.index(feature)]


def test_classes_are_balanced_shuffled_and_different_jets(block):
    assert np.bincount(block["label"]).tolist() == [100] * 5
    assert (np.diff(block["label"]) == 0).mean() < 0.4  # 0.2 if the order is random
    assert block["features"].dtype == np.float32
    assert np.isfinite(block["features"]).all()
    assert len(np.unique(block["features"], axis=0)) == 500
    assert ((block["pt"] > 800) & (block["pt"] < 1600)).all()
    assert (np.abs(block["eta"]) < 2.0).all()


def test_masses_and_multiplicities_are_those_of_the_particles(block):
    for name, mass_gev in (("W", 80.4), ("Z", 91.2), ("t", 172.5)):
        mass = column(block, "mass", name)
        near = np.abs(mass / mass_gev - 1.0) < 0.25  # the others have lost a prong, or have gained radiation
        assert near.mean() > 0.5
        assert np.median(mass[near]) == pytest.approx(mass_gev, rel=0.06)
    assert np.median(column(block, "multiplicity", "g")) > 1.5 * np.median(column(block, "multiplicity", "q"))
    assert np.median(column(block, "n2_b1", "W")) < np.median(column(block, "n2_b1", "g"))
    assert np.median(column(block, "c1_b2", "t")) > 2.0 * np.median(column(block, "c1_b2", "W"))


def test_variables_for_cuts_are_those_of_the_features(block):
    np.testing.assert_allclose(block["off_w"], np.abs(column(block, "mass") - 80.4), atol=1e-4)
    np.testing.assert_array_equal(block["multiplicity"], column(block, "multiplicity"))
    np.testing.assert_array_equal(column(block, "d2_b1"), column(block, "d2_a1_b1"))  # one definition


@pytest.mark.slow
def test_jets_depend_on_the_seed_and_not_on_the_number_of_workers(block):
    blocks = list(simulate_sample("jets-hlf", 520, seed=11, workers=2))
    assert [len(part["label"]) for part in blocks] == [500, 20]
    for name, values in block.items():
        np.testing.assert_array_equal(blocks[0][name], values)
    other = next(simulate_sample("jets-hlf", 20, seed=12))["features"]
    assert not np.isin(
        other[:, 0], np.concatenate([blocks[0]["features"][:, 0], blocks[1]["features"][:, 0]])
    ).any()


def test_features_of_two_prongs_with_soft_radiation():
    pt, phi = np.array([600.0, 400.0, 20.0]), np.array([0.0, 0.2, 0.7])
    zero, kind = np.zeros(3), np.full(3, 22)
    candidates = Candidates(np.zeros(3, int), kind, zero, pt, zero, phi, zero, zero, zero > 0)
    momenta = four_momenta(candidates)
    jets = anti_kt(candidates, momenta, 1, 0.8, 20.0)
    assert jets.multiplicity.tolist() == [3]
    found = dict(
        zip(JET_FEATURES, features(soft_drop(jets, momenta), momenta, np.array([0]))[0], strict=True)
    )
    assert found["multiplicity"] == 2  # the wide soft particle is groomed away
    assert found["mass"] == pytest.approx(np.sqrt(2 * 600 * 400 * (1 - np.cos(0.2))))
    assert found["zlogz"] == pytest.approx(0.6 * np.log(0.6) + 0.4 * np.log(0.4))
    assert [found[f"c1_b{beta}"] for beta in (0, 1, 2)] == pytest.approx([0.24, 0.24 * 0.2, 0.24 * 0.2**2])
    assert found["d2_b1"] == found["n2_b1"] == 0.0


def test_correlations_use_the_fifty_hardest_constituents():
    rng = np.random.default_rng(2)
    pt = np.sort(rng.uniform(10.0, 20.0, 70))[::-1]
    eta, phi, zero = rng.normal(0.0, 0.05, 70), rng.normal(0.0, 0.05, 70), np.zeros(70)
    candidates = Candidates(np.zeros(70, int), np.full(70, 22), zero, pt, eta, phi, zero, zero, zero > 0)
    momenta = four_momenta(candidates)
    jets = anti_kt(candidates, momenta, 1, 0.8, 20.0)
    groomed = soft_drop(jets, momenta)
    kept = groomed.constituents[:50]
    z = pt[kept] / pt[kept].sum()
    found = dict(zip(JET_FEATURES, features(groomed, momenta, np.array([0]))[0], strict=True))
    assert found["multiplicity"] == len(groomed.constituents) > 50
    assert found["c1_b0"] == pytest.approx(0.5 * (1.0 - (z**2).sum()))
