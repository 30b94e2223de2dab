"""Substructure against FastJet and against known configurations."""

import fastjet
import numpy as np
import pytest

from tamis.simulate.candidates import Candidates
from tamis.simulate.jets import anti_kt, four_momenta, grouped
from tamis.simulate.substructure import soft_drop, subjettiness


def candidates(event, pt, eta, phi) -> Candidates:
    zero = np.zeros(len(pt))
    kind = np.full(len(pt), 22)
    return Candidates(np.asarray(event), kind, zero, *map(np.asarray, (pt, eta, phi)), zero, zero, zero > 0)


@pytest.fixture
def sprays():
    """Return jets of many, one and two particles, in two events."""
    rng = np.random.default_rng(3)
    n = 120
    pt = np.concatenate([np.sort(rng.exponential(20, n))[::-1], [300.0, 150.0, 100.0]])
    eta = np.concatenate([rng.normal(0, 0.3, n), [2.0, -2.0, -2.0]])
    phi = np.concatenate([rng.normal(0, 0.3, n), [0.0, 1.0, 1.5]])
    found = candidates([0] * n + [1] * 3, pt, eta, phi)
    momenta = four_momenta(found)
    return anti_kt(found, momenta, 2, 0.8, 20.0), momenta


def test_soft_drop_agrees_with_fastjet(sprays):
    jets, momenta = sprays
    sequence = fastjet.ClusterSequence(
        grouped(momenta[:, jets.constituents], jets.offsets),
        fastjet.JetDefinition(fastjet.cambridge_algorithm, 1000.0),
    )
    expected = sequence.exclusive_jets_softdrop_grooming(beta=0.0, symmetry_cut=0.1, R0=0.8).msoftdrop
    assert soft_drop(jets, momenta).mass == pytest.approx(np.asarray(expected), abs=1e-3)


def test_groomed_constituents_add_up_to_the_groomed_jet(sprays):
    jets, momenta = sprays
    groomed = soft_drop(jets, momenta)
    assert groomed.offsets[-1] == len(groomed.constituents) < len(jets.constituents)
    for jet in range(len(jets)):
        rows = groomed.constituents[groomed.offsets[jet] : groomed.offsets[jet + 1]]
        assert momenta[:, rows].sum(axis=1) == pytest.approx(groomed.momenta[:, jet], rel=1e-9, abs=1e-6)
        assert set(rows) <= set(jets.constituents[jets.offsets[jet] : jets.offsets[jet + 1]])
        assert (np.diff(np.hypot(*momenta[:2, rows])) <= 0).all()


def test_two_prongs_have_no_tau2_and_a_known_mass():
    found = candidates([0, 0], [200.0, 100.0], [0.0, 0.0], [0.0, 0.5])
    momenta = four_momenta(found)
    jets = anti_kt(found, momenta, 1, 0.8, 20.0)
    taus = subjettiness(jets, momenta, 2, 0.8)
    assert taus[0, 1] == pytest.approx(0.0, abs=1e-9)
    assert taus[0, 0] > 0.1
    mass = np.sqrt(2 * 200 * 100 * (1 - np.cos(0.5)))
    assert jets.mass == pytest.approx([mass])
    assert soft_drop(jets, momenta).mass == pytest.approx([mass])


def test_events_without_jets_give_empty_arrays():
    found = candidates([0], [5.0], [0.0], [0.0])
    momenta = four_momenta(found)
    jets = anti_kt(found, momenta, 3, 0.8, 20.0)
    assert len(jets) == 0
    assert soft_drop(jets, momenta).mass.shape == (0,)
    assert len(soft_drop(jets, momenta).constituents) == 0
    assert subjettiness(jets, momenta, 3, 0.8).shape == (0, 3)
