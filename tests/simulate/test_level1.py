"""The Level-1 trigger: towers, jets, electrons and photons, muons, sums, and the cross-section of the events."""

import awkward as ak
import numpy as np
import pytest

from tamis._base import UsageError
from tamis.simulate import SimulationSettings
from tamis.simulate.blocks import Task, make_block
from tamis.simulate.cells import Cells
from tamis.simulate.level1 import JET_SCALE, TOWER_WIDTH, level_one
from tamis.simulate.particles import Particles
from tamis.simulate.seeds import Seeds
from tamis.simulate.settings import generator_lines

SEEDS = Seeds(1, 0, 0)


def centre(index: int) -> float:
    return (index + 0.5) * TOWER_WIDTH


def cells(*entries: tuple[int, float, int, int]) -> Cells:
    """Return cells from (event, ET, tower in eta from the middle, tower in phi)."""
    event, et, eta, phi = np.array(entries, float).reshape(-1, 4).T
    return Cells(event.astype(int), et, centre(eta), centre(phi) - np.pi)


def muon(pt: float, n: int = 1) -> Particles:
    zero = np.zeros(n)
    names = ("phi", "radius", "d0", "dz")
    return Particles(
        event=np.arange(n),
        pdg_id=np.full(n, -13),
        charge=np.ones(n, int),
        pt=zero + pt,
        eta=zero + 0.5,
        energy=zero + pt * np.cosh(0.5),
        pile_up=zero > 0,
        **dict.fromkeys(names, zero),
    )


def found(crystals: Cells, towers: Cells, events: int = 1, particles: Particles | None = None):
    return level_one(crystals, towers, particles or muon(1.0, events), events, SEEDS)


def test_a_jet_is_9_by_9_towers_and_wraps_around_in_phi():
    inside = cells((0, 40.0, 3, 0), (0, 10.0, 7, 4), (0, 10.0, 3, 70), (0, 3.5, 8, 0))
    jets = found(cells(), inside).jets
    # 60 GeV in the window; the tower of 3.5 GeV is in one strip beside it, of which the lowest three are subtracted
    assert jets.pt[0] == np.floor(JET_SCALE * 120) / 2
    assert (jets.eta[0], jets.phi[0]) == (pytest.approx(centre(3)), pytest.approx(centre(0) - np.pi))


def test_pile_up_around_a_jet_is_subtracted():
    flat = [(0, 2.0, i, j) for i in range(-12, 13) for j in range(20, 48)]
    (jet,) = found(cells(), cells((0, 50.0, 0, 34), *flat)).jets.pt[:1]
    assert jet == np.floor(JET_SCALE * 100) / 2


def test_an_electron_has_little_hadronic_energy_behind_it():
    crystals = cells((0, 30.0, 5, 10), (0, 6.0, 6, 10), (1, 30.0, 5, 10))
    result = found(crystals, cells((0, 3.0, 5, 10), (1, 10.0, 5, 10)), events=2)
    assert result.egammas.pt.tolist() == [36.0]
    assert result.egammas.event.tolist() == [0]


def test_towers_and_regions_saturate_and_sums_balance():
    result = found(cells((0, 900.0, 0, 0)), cells((0, 900.0, 0, 0)))
    assert result.sums_gev[0].tolist() == [255.0, np.floor(JET_SCALE * 510) / 2, 255.0]
    assert abs(result.met_phi[0]) == pytest.approx(np.pi - abs(centre(0) - np.pi), abs=1e-6)
    many = [(0, 300.0, i, j) for i in range(5) for j in range(4)]
    regions = found(cells(*many), cells()).regions[0]
    assert regions[7, 0] == 1023
    assert regions.sum() == 1023


def test_towers_round_down():
    result = found(cells((0, 0.49, 0, 0), (0, 0.99, 0, 9)), cells())
    assert result.regions.sum() == 1


def test_muons_are_measured_by_the_muon_chambers_alone():
    result = found(cells(), cells(), events=4000, particles=muon(40.0, 4000)).muons
    assert len(result.pt) / 4000 == pytest.approx(0.93, abs=0.02)
    assert np.median(result.pt) == pytest.approx(40.0, rel=0.03)
    assert np.std(40.0 / result.pt) == pytest.approx(0.2, rel=0.2)


@pytest.fixture(scope="module")
def events():
    settings = SimulationSettings(level1=True, pt_hat_gev=100.0, pt_hat_power=4.0, mu=2.0)
    return make_block(Task("qcd", settings, seed=5, block=0, events=100))


def test_columns_are_those_of_nanoaod(events):
    names = {column.name for column in events.schema}
    assert {
        f"{kind}_{what}" for kind in ("L1EG", "L1Mu", "L1Jet") for what in ("pt", "eta", "phi", "bx")
    } <= names
    assert events["L1EtSum_etSumType"][0].to_list() == [0, 1, 2]
    ratio = ak.drop_none(ak.firsts(events["L1Jet_pt"]) / ak.firsts(events["Jet_pt"]))
    assert np.median(ratio.to_numpy()) == pytest.approx(1.0, abs=0.15)
    assert ak.all(events["L1Jet_pt"][:, 1:] <= events["L1Jet_pt"][:, :-1])


def test_what_level1_sees_does_not_depend_on_low_level(events):
    settings = SimulationSettings(level1=True, low_level=True, pt_hat_gev=100.0, pt_hat_power=4.0, mu=2.0)
    both = make_block(Task("qcd", settings, seed=5, block=0, events=100))
    for column in ("L1Jet_pt", "L1EG_eta", "L1Region_et", "Jet_pt"):
        assert events[column].to_list() == both[column].to_list()


def test_a_power_of_pt_hat_is_undone_by_the_weights(events):
    plain = make_block(Task("qcd", SimulationSettings(pt_hat_gev=100.0), seed=5, block=0, events=100))
    weight = events["genWeight"].to_numpy()
    hard = events["Generator_binvar"].to_numpy() > 200
    assert hard.mean() > 0.3
    weighted = np.average(hard, weights=weight)
    assert weighted == pytest.approx(6.6e-5 / 1.42e-3, rel=0.5)  # the ratio of Pythia's cross-sections
    own, other = (one["tamis_cross_section_pb"].to_numpy() for one in (events, plain))
    assert own[0] == pytest.approx(1.42e6, rel=0.2)
    assert other[0] == pytest.approx(own[0], rel=0.2)


def test_the_hardest_pile_up_collision_is_recorded(events):
    hardest = events["Pileup_pthatmax"].to_numpy()
    assert np.all((hardest > 0) == (events["Pileup_nPU"].to_numpy() > 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pt_hat_max_gev": 50.0}, r"largest pT-hat for 'qcd' is 50 GeV, which is outside 404"),
        ({"pt_hat_power": 9.0}, r"power of pT-hat is 9"),
    ],
)
def test_a_range_of_pt_hat_that_is_empty_is_rejected(options, message):
    with pytest.raises(UsageError, match=message):
        generator_lines("qcd", SimulationSettings(**options))
    with pytest.raises(UsageError, match="give a pT-hat for 'min-bias'"):
        generator_lines("min-bias", SimulationSettings(pt_hat_power=2.0))
