"""Basic physics checks: spectra, peaks, substructure, pile-up."""

import awkward as ak
import numpy as np
import pytest

from tamis.simulate import Label


def leading(events, name):
    return ak.to_numpy(ak.flatten(events[f"FatJet_{name}"][:, :2])).astype(np.float64)


def test_qcd_jets_follow_pt_hat(qcd):
    assert np.all(ak.to_numpy(qcd["Generator_binvar"]) >= 400)
    assert 420 < leading(qcd, "pt").mean() < 540
    assert set(leading(qcd, "label")) == {Label.QCD}
    assert 30 < leading(qcd, "nConstituents").mean() < 60


def test_the_w_peak_is_at_the_w_mass(graviton):
    w = leading(graviton, "label") == Label.W
    assert w.mean() > 0.85
    assert 75 < np.median(leading(graviton, "msoftdrop")[w]) < 90
    assert 540 < leading(graviton, "pt").mean() < 640


def test_two_prongs_have_a_small_tau21(qcd, graviton):
    def tau21(events):
        return np.median(leading(events, "tau2") / np.maximum(leading(events, "tau1"), 1e-9))

    assert tau21(graviton) < tau21(qcd) - 0.15


def test_jets_have_the_pt_of_the_bosons(graviton):
    gen = graviton.collection("GenPart")
    bosons = gen[(np.abs(gen.pdgId) == 24) & ((gen.statusFlags >> 13) % 2 == 1)]
    assert np.all(ak.num(bosons) == 2)
    response = ak.sum(graviton["FatJet_pt"][:, :2], axis=1) / ak.sum(bosons.pt, axis=1)
    assert np.median(response) == pytest.approx(1.0, abs=0.1)


def test_the_mass_option_moves_the_resonance(simulated):
    events = simulated("z-prime-tt", 20, mass_gev=1200.0)
    gen = events.collection("GenPart")
    masses = ak.to_numpy(ak.flatten(gen.mass[gen.pdgId == 32]))
    assert np.median(masses) == pytest.approx(1200, rel=0.03)
    assert Label.TOP in leading(events, "label")


def test_w_prime_decays_to_w_and_z(simulated):
    labels = leading(simulated("w-prime", 40), "label")
    assert (labels == Label.W).mean() == pytest.approx(0.5, abs=0.15)
    assert (labels == Label.Z).mean() == pytest.approx(0.5, abs=0.15)


def test_w_lepton_has_a_lepton_and_missing_momentum(simulated):
    events = simulated("w-lepton", 60)
    leptons = np.isin(np.abs(events["PFCands_pdgId"]).layout.content.data, (11, 13))
    hard = ak.flatten(events["PFCands_pt"]).to_numpy() > 20
    assert (leptons & hard).sum() > 15
    assert np.median(events["MET_pt"]) > 12


def test_a_recoiling_w_is_opposite_to_a_hard_jet(simulated):
    events = simulated("w-lepton", 30, pt_hat_gev=300.0)
    assert np.all(ak.to_numpy(events["Generator_binvar"]) >= 300)
    assert ak.mean(ak.any(events["FatJet_pt"] > 250, axis=1)) > 0.8
    assert np.median(events["MET_pt"]) > 60


def test_pile_up_adds_neutral_energy_and_few_tracks(qcd, simulated):
    events = simulated("qcd", 60, mu=30.0)
    assert ak.mean(events["Pileup_nPU"]) == pytest.approx(30, abs=3)
    assert set(ak.to_list(events["Pileup_nTrueInt"])) == {30.0}
    assert ak.mean(events["PV_npvs"]) > 20

    def count(batch, charged):
        return ak.mean(ak.sum((batch["PFCands_charge"] != 0) == charged, axis=1))

    assert count(events, charged=False) > 3 * count(qcd, charged=False)
    assert count(events, charged=True) < 1.4 * count(qcd, charged=True)
    assert np.median(leading(events, "mass")) > np.median(leading(qcd, "mass"))
