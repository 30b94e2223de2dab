"""Checks of the simulation's options."""

import pytest

from tamis._base import UsageError
from tamis.simulate import PROCESSES, SimulationSettings, simulate
from tamis.simulate.settings import generator_lines


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mu": -1}, "pile-up mean is -1"),
        ({"mu": float("nan")}, "pile-up mean is nan"),
        ({"tune": "monsh"}, "'monash'"),
        ({"com_energy_gev": 13.6}, "centre-of-mass energy is 13.6 GeV"),
        ({"fat_jet_pt_min_gev": 0}, "fat jet pT threshold"),
    ],
)
def test_invalid_settings_are_an_error(options, message):
    with pytest.raises(UsageError, match=message):
        SimulationSettings(**options)


@pytest.mark.parametrize(
    ("process", "options", "message"),
    [
        ("qcd", {"mass_gev": 2000}, "no resonance"),
        ("qcd", {"pt_hat_gev": 1}, "pT-hat for 'qcd' is 1 GeV"),
        ("qcd", {"pt_hat_gev": 7000}, "pT-hat for 'qcd' is 7000 GeV"),
        ("w-lepton", {"pt_hat_gev": 1}, "pT-hat for 'w-lepton' is 1 GeV"),
        ("w-prime", {"pt_hat_gev": 100}, "no hard scatter"),
        ("w-prime", {"mass_gev": 20000}, "mass for 'w-prime' is 20000 GeV"),
        ("min-bias", {"pt_hat_gev": 100}, "no hard scatter"),
    ],
)
def test_options_that_do_not_apply_to_a_process_are_an_error(process, options, message):
    with pytest.raises(UsageError, match=message):
        simulate(process, 1, seed=1, settings=SimulationSettings(**options))


def test_every_process_has_its_own_number():
    assert len({process.number for process in PROCESSES.values()}) == len(PROCESSES)


def test_options_reach_the_generator():
    assert "PhaseSpace:pTHatMin=700" in generator_lines("qcd", SimulationSettings(pt_hat_gev=700))
    assert "5100039:m0=3000" in generator_lines("graviton-ww", SimulationSettings(mass_gev=3000))
    assert "TimeShower:pTmin=1.0" not in generator_lines("qcd", SimulationSettings(tune="monash"))
