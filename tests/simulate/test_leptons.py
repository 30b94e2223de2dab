"""Leptons and b-tags in simulated events."""

import awkward as ak
import numpy as np
import pytest

from tamis._base import UsageError
from tamis.simulate import SimulationSettings, simulate
from tamis.simulate.blocks import Task, make_block
from tamis.simulate.candidates import Candidates
from tamis.simulate.filters import IsolatedParticle, make_passing
from tamis.simulate.flavour import quark_content
from tamis.simulate.generator import generator
from tamis.simulate.leptons import neutral_density
from tamis.simulate.seeds import Seeds
from tamis.simulate.settings import generator_lines

LEPTON_COLUMNS = (
    "pt",
    "eta",
    "phi",
    "mass",
    "charge",
    "pdgId",
    "pfRelIso03_all",
    "dxy",
    "dz",
    "genPartIdx",
    "genPartFlav",
)


@pytest.fixture(scope="module")
def w(simulated):
    return simulated("w-lepton", 250, mu=5)


@pytest.fixture(scope="module")
def ttbar(simulated):
    return simulated("ttbar", 250)


def flat(events, name):
    return ak.to_numpy(ak.flatten(events[name]))


def test_muons_are_the_muon_candidates(w):
    cands = w.collection("PFCands")
    expected = cands[(np.abs(cands.pdgId) == 13) & (cands.pt > 3)]
    for name, column in (
        ("pt", "pt"),
        ("eta", "eta"),
        ("charge", "charge"),
        ("pdgId", "pdgId"),
        ("dxy", "d0"),
    ):
        assert ak.to_list(w[f"Muon_{name}"]) == ak.to_list(expected[column])


def test_electrons_are_candidates_sorted_by_descending_pt(w, qcd):
    for events in (w, qcd):
        for event in range(0, len(events), 10):
            pt = events["Electron_pt"][event].to_numpy()
            assert np.isin(pt, events["PFCands_pt"][event].to_numpy()).all()
            assert np.all(np.diff(pt) <= 0)
            assert np.all(pt > 5)


@pytest.mark.parametrize("prefix", ["Muon", "Electron"])
def test_all_columns_of_a_collection_have_the_same_length(w, prefix):
    counts = ak.to_list(ak.num(w[f"{prefix}_pt"]))
    assert sum(counts) > 0
    for name in LEPTON_COLUMNS:
        assert ak.to_list(ak.num(w[f"{prefix}_{name}"])) == counts


def test_isolation_is_the_sum_in_the_cone(w):
    """The pile-up correction reduces the neutral sum: isolation is between the charged and the full sum."""
    checked = 0
    for event in range(len(w)):
        cands = w.collection("PFCands")[event]
        pt, eta, phi, charge = (cands[n].to_numpy() for n in ("pt", "eta", "phi", "charge"))
        for k in range(len(w["Muon_pt"][event])):
            muon_pt = w["Muon_pt"][event][k]
            d_phi = (phi - w["Muon_phi"][event][k] + np.pi) % (2 * np.pi) - np.pi
            near = (np.hypot(eta - w["Muon_eta"][event][k], d_phi) < 0.3) & (pt != muon_pt)
            found = w["Muon_pfRelIso03_all"][event][k]
            assert pt[near & (charge != 0)].sum() / muon_pt - 1e-3 <= found <= pt[near].sum() / muon_pt + 1e-3
            checked += 1
    assert checked > 50


def test_density_is_the_median_over_cells():
    eta, phi = np.meshgrid(np.arange(-2.25, 2.5, 0.5), -np.pi + 2 * np.pi * (np.arange(12) + 0.5) / 12)
    eta, phi = eta.ravel(), phi.ravel()
    zero = np.zeros(len(eta))
    pt = np.where(np.arange(len(eta)) < 10, 1000.0, 2.0)  # a few jets do not change the median
    cells = Candidates(zero.astype(int), zero + 22, zero, pt, eta, phi, zero, zero, zero > 1)
    assert neutral_density(cells, 2) == pytest.approx([2.0 / (0.5 * 2 * np.pi / 12), 0.0])


def test_leptons_from_w_are_isolated_and_prompt_but_not_those_from_heavy_flavour(w, simulated):
    hard = w["Muon_pt"] > 23
    assert np.mean(ak.to_numpy(ak.flatten(w["Muon_pfRelIso03_all"][hard])) < 0.3) > 0.9
    assert np.mean(ak.to_numpy(ak.flatten(w["Muon_genPartFlav"][hard])) == 1) > 0.95
    heavy = simulated("qcd-lepton", 15)
    hard = heavy["Muon_pt"] > 20
    assert set(ak.to_list(ak.flatten(heavy["Muon_genPartFlav"][hard]))) <= {4, 5}
    assert np.median(ak.to_numpy(ak.flatten(heavy["Muon_pfRelIso03_all"][hard]))) > 0.3


def test_matched_generated_leptons_have_the_same_type(ttbar):
    for prefix, kind in (("Muon", 13), ("Electron", 11)):
        index, gen = ttbar[f"{prefix}_genPartIdx"], ttbar.collection("GenPart")
        is_matched = index >= 0
        matched = gen[index[is_matched]]
        assert ak.all(np.abs(matched.pdgId) == kind)
        assert ak.all(np.abs(matched.pt / ttbar[f"{prefix}_pt"][is_matched] - 1) < 0.5)
        assert ak.all((ttbar[f"{prefix}_genPartFlav"] == 0) == ~is_matched)
        assert set(ak.to_list(ak.flatten(ttbar[f"{prefix}_genPartFlav"][is_matched]))) <= {1, 3, 4, 5, 15}


def test_hadrons_fake_electrons_at_the_documented_rate(qcd, simulated):
    kind, hard = np.abs(qcd["PFCands_pdgId"]), qcd["PFCands_pt"] > 5
    fake = ak.sum(ak.num(qcd["Electron_pt"])) - ak.sum((kind == 11) & hard)
    expected = 0.003 * ak.sum((kind == 211) & hard)
    assert abs(fake - expected) < 4 * np.sqrt(expected)
    fakes = simulated("qcd-fake", 12)  # in this process all hadrons do
    hadrons = (np.abs(fakes["PFCands_pdgId"]) == 211) & (fakes["PFCands_pt"] > 5)
    electrons = (np.abs(fakes["PFCands_pdgId"]) == 11) & (fakes["PFCands_pt"] > 5)
    assert ak.to_list(ak.sum(hadrons | electrons, axis=1)) == ak.to_list(ak.num(fakes["Electron_pt"]))


def test_b_tags_have_the_documented_efficiencies(ttbar):
    flavour, tag = flat(ttbar, "Jet_hadronFlavour"), flat(ttbar, "Jet_btag")
    central = np.abs(flat(ttbar, "Jet_eta")) < 2.5
    assert set(flavour) == {0, 4, 5}
    assert np.all((tag == -1) == ~central)
    for kind, efficiency in ((5, 0.70), (4, 0.12), (0, 0.01)):
        of_kind = tag[central & (flavour == kind)]
        assert abs(np.mean(of_kind > 0.5) - efficiency) < 4 * np.sqrt(
            efficiency * (1 - efficiency) / len(of_kind)
        )
    assert np.sum(central & (flavour == 5)) > 1.5 * len(ttbar)  # nearly two b jets per event


@pytest.mark.parametrize(
    ("number", "content"),
    [(511, 5), (-5122, 5), (531, 5), (411, 4), (-4122, 4), (443, 4), (211, 3), (130, 3), (2212, 3), (20413, 4), (10521, 5),
     (5, 0), (22, 0), (13, 0), (5101, 0), (4103, 0), (21, 0)],
)  # fmt: skip
def test_quark_content_of_hadrons(number, content):
    assert quark_content(np.array([number])) == [content]


def test_a_filter_keeps_exactly_the_passing_collisions():
    make = generator(generator_lines("qcd-fake", SimulationSettings()))
    selection = IsolatedParticle(kinds=(211,), pt_min_gev=10.0)
    found, fraction = make_passing(make, 5, selection, Seeds(1, 0, 0))
    assert len(found) == 5
    assert selection.passing(found).all()
    lot = make(500, Seeds(1, 0, 0).pythia("event lot 0"))
    assert fraction == selection.passing(lot).mean()
    first = np.flatnonzero(selection.passing(lot))[0]
    assert np.array_equal(
        found.pdg_id[: found.offsets[1]], lot.pdg_id[lot.offsets[first] : lot.offsets[first + 1]]
    )
    px, py, pz, _ = lot.momentum
    pt = np.hypot(px, py)
    hard = (lot.status > 0) & (np.abs(lot.pdg_id) == 211) & (pt > 10) & (np.abs(pz) < np.sinh(2.5) * pt)
    assert set(np.flatnonzero(selection.passing(lot))) <= set(lot.collision[hard])


def test_a_filter_that_nothing_passes_is_an_error(monkeypatch):
    monkeypatch.setattr("tamis.simulate.filters.LOTS_MAX", 1)
    make = generator(generator_lines("min-bias", SimulationSettings()))
    with pytest.raises(UsageError, match="only 0 of 500 collisions pass the filter, 3 are needed"):
        make_passing(make, 3, IsolatedParticle(kinds=(13,), pt_min_gev=500.0), Seeds(1, 0, 0))


def test_lepton_columns_do_not_depend_on_the_number_of_events():
    shorter, longer = (make_block(Task("ttbar", SimulationSettings(mu=3), 5, 0, n)) for n in (6, 11))
    names = [n for n in shorter.array.fields if n.startswith(("Muon", "Electron", "Jet_btag", "Jet_had"))]
    assert len(names) == 24
    for name in names:
        assert ak.to_list(shorter[name]) == ak.to_list(longer[name][:6])
    assert (
        next(iter(simulate("ttbar", 6, seed=5, settings=SimulationSettings(mu=3))))["Jet_btag"].tolist()
        == shorter["Jet_btag"].tolist()
    )
