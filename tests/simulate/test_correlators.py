"""Energy correlation functions against loops over triplets, and against FastJet contrib."""

from __future__ import annotations

import itertools
import math

import awkward as ak
import fastjet
import numpy as np
import pytest

from tamis.simulate.correlators import correlators
from tamis.simulate.jets import grouped


def distance(one, other):
    """Return the distance in rapidity and azimuth of two constituents (pT, rapidity, phi)."""
    apart = abs(one[2] - other[2])
    return math.hypot(one[1] - other[1], min(apart, 2 * math.pi - apart))


def by_loops(constituents):
    """Return the ratios of one jet from the definitions in arXiv:1305.0007, 1409.6298 and 1609.07483."""
    total = sum(pt for pt, _, _ in constituents)

    def e2(beta):
        pairs = itertools.combinations(constituents, 2)
        return sum(a[0] * b[0] / total**2 * distance(a, b) ** beta for a, b in pairs)

    def e3(beta, smallest=3):
        value = 0.0
        for a, b, c in itertools.combinations(constituents, 3):
            angles = sorted([distance(a, b), distance(b, c), distance(a, c)])
            value += a[0] * b[0] * c[0] / total**3 * math.prod(angles[:smallest]) ** beta
        return value

    return {
        **{f"c1_b{b}": e2(b) for b in (0, 1, 2)},
        **{f"c2_b{b}": e3(b) / e2(b) ** 2 for b in (1, 2)},
        **{f"d2_b{b}": e3(b) / e2(b) ** 3 for b in (1, 2)},
        **{f"d2_a1_b{b}": e3(1) / e2(b) ** (3 / b) for b in (1, 2)},
        **{f"m2_b{b}": e3(b, 1) / e2(b) for b in (1, 2)},
        **{f"n2_b{b}": e3(b, 2) / e2(b) ** 2 for b in (1, 2)},
    }


@pytest.fixture(scope="module")
def jets():
    """Return 40 jets (constituents, 3) of 3 to 12 constituents around phi = pi, and the same padded to 15."""
    rng = np.random.default_rng(5)
    found, padded = [], np.zeros((3, 40, 15))
    for row in range(40):
        n = 3 + row % 10
        phi = (rng.normal(np.pi, 0.3, n) + np.pi) % (2 * np.pi) - np.pi
        jet = np.column_stack([rng.exponential(20.0, n), rng.normal(0.5, 0.3, n), phi])
        found.append(jet)
        padded[:, row, :n] = jet.T
    return found, padded


def test_ratios_agree_with_loops_over_pairs_and_triplets(jets):
    found, padded = jets
    ratios = correlators(*padded).ratios()
    for row, jet in enumerate(found):
        expected = by_loops(jet.tolist())
        assert {name: values[row] for name, values in ratios.items()} == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "function", "beta"),
    [
        *((f"{kind}_b{beta}", kind, beta) for kind in ("c2", "d2", "m2", "n2") for beta in (1, 2)),
        ("c1_b1", "c1", 1),
        ("d2_a1_b2", "d2", 2),
    ],
)
def test_ratios_agree_with_fastjet_contrib(jets, name, function, beta):
    found, padded = jets
    pt, rapidity, phi = (np.concatenate([jet[:, k] for jet in found]) for k in range(3))
    massless = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(rapidity), pt * np.cosh(rapidity)])
    offsets = np.concatenate([[0], np.cumsum([len(jet) for jet in found])])
    sequence = fastjet.ClusterSequence(
        grouped(massless, offsets), fastjet.JetDefinition(fastjet.cambridge_algorithm, 1000.0)
    )
    options = {"func": "generalizedD2", "alpha": 1} if name.startswith("d2_a1") else {"func": function}
    expected = sequence.exclusive_jets_energy_correlator(njets=1, beta=beta, **options)
    assert correlators(*padded).ratios()[name] == pytest.approx(
        ak.to_numpy(ak.flatten(expected, axis=None)), rel=1e-6
    )


def test_jets_with_few_constituents_have_zeros_instead_of_nan():
    pt = np.array([[0.0, 0.0, 0.0], [50.0, 0.0, 0.0], [30.0, 20.0, 0.0]])
    place = np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.1, 0.4, 0.0]])
    found = correlators(pt, place, place)
    ratios = found.ratios()
    assert all(np.isfinite(values).all() for values in ratios.values())
    assert ratios["c1_b0"] == pytest.approx([0.0, 0.0, 0.6 * 0.4])
    assert ratios["c1_b2"] == pytest.approx([0.0, 0.0, 0.6 * 0.4 * 2 * 0.3**2])
    for kind in ("c2", "d2", "d2_a1", "m2", "n2"):
        assert not ratios[f"{kind}_b1"].any()  # no triplets


def test_no_jets_give_empty_arrays():
    assert correlators(*np.zeros((3, 0, 5))).ratios()["n2_b2"].shape == (0,)
