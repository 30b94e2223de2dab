"""The columns have the form that NanoAOD and PFNano tools expect."""

import awkward as ak
import numpy as np
import pytest


@pytest.mark.parametrize(("jet", "pairs"), [("FatJet", "FatJetPFCands"), ("Jet", "JetPFCands")])
def test_constituents_add_up_to_their_jet(qcd, jet, pairs):
    cands, jets, index = (qcd.collection(name) for name in ("PFCands", jet, pairs))
    for event in range(0, 300, 37):
        rows = index.pFCandsIdx[event].to_numpy()
        owner = index.jetIdx[event].to_numpy()
        assert len(np.unique(rows)) == len(rows)
        assert np.all(np.diff(owner) >= 0)
        for number in range(len(jets[event])):
            parts = cands[event][rows[owner == number]]
            assert len(parts) == jets.nConstituents[event][number]
            assert np.all(np.diff(parts.pt) <= 0)
            px, py = (parts.pt * np.cos(parts.phi)).to_numpy(), (parts.pt * np.sin(parts.phi)).to_numpy()
            assert np.hypot(px.sum(), py.sum()) == pytest.approx(jets.pt[event][number], rel=1e-4)


def test_collections_are_sorted_by_descending_pt(qcd):
    for name in ("PFCands_pt", "FatJet_pt", "Jet_pt"):
        assert np.all(qcd[name][:, 1:] <= qcd[name][:, :-1]), name


def test_charges_match_pdg_ids(qcd):
    pdg_id = ak.flatten(qcd["PFCands_pdgId"]).to_numpy()
    charge = ak.flatten(qcd["PFCands_charge"]).to_numpy()
    assert set(np.abs(pdg_id)) <= {211, 11, 13, 22, 130, 1, 2}
    assert np.all((charge != 0) == np.isin(np.abs(pdg_id), (211, 11, 13)))
    assert np.all(np.sign(pdg_id[np.abs(pdg_id) == 211]) == charge[np.abs(pdg_id) == 211])
    assert np.all(
        np.sign(pdg_id[np.isin(pdg_id, (11, 13, -11, -13))]) == -charge[np.isin(pdg_id, (11, 13, -11, -13))]
    )


def test_everything_is_finite_and_inside_the_acceptance(qcd):
    for column in qcd.schema:
        flat = ak.to_numpy(ak.flatten(qcd[column.name], axis=None))
        assert np.all(np.isfinite(flat)), column.name
    eta, charge = qcd["PFCands_eta"], qcd["PFCands_charge"]
    assert ak.max(np.abs(eta)) < 5.2
    assert ak.max(np.abs(eta[charge != 0])) < 2.51
    assert ak.max(np.abs(qcd["PFCands_phi"])) <= np.pi + 1e-5


def test_mothers_point_into_the_same_event(graviton):
    gen = graviton.collection("GenPart")
    mother = gen.genPartIdxMother
    assert ak.all(mother < ak.num(mother))
    assert ak.min(mother) == -1
    last = (np.abs(gen.pdgId) == 24) & ((gen.statusFlags >> 13) % 2 == 1)
    indices = ak.local_index(gen.pt)[last]
    for event in range(20):
        for index in indices[event]:
            daughters = gen.pdgId[event][mother[event] == index].to_numpy()
            assert len(daughters) == 2
            assert np.all(np.abs(daughters) < 6)


def test_missing_momentum_balances_the_candidates(qcd):
    cands = qcd.collection("PFCands")
    px = ak.sum(cands.pt * np.cos(cands.phi), axis=1) + qcd["MET_pt"] * np.cos(qcd["MET_phi"])
    assert np.max(np.abs(px)) < 0.05


def test_types_match_nanoaod(qcd):
    types = {column.name: column.type for column in qcd.schema}
    assert types["run"] == "uint32"
    assert types["event"] == "uint64"
    assert types["genWeight"] == "float32"
    assert types["PFCands_pdgId"] == "var * int32"
    assert types["FatJet_pt"] == "var * float32"
