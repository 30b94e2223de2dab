import pytest

from tamis._base import UsageError
from tamis.simulate import PROCESSES, Settings, simulate
from tamis.simulate.settings import generator_lines


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"mu": -1}, "pile-up mean is -1"),
        ({"mu": float("nan")}, "pile-up mean is nan"),
        ({"tune": "monsh"}, "'monash'"),
        ({"com_energy_gev": 13.6}, "centre-of-mass energy is 13.6 GeV"),
        ({"fat_jet_pt_min_gev": 0}, "fat jet pT threshold"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, told):
    with pytest.raises(UsageError, match=told):
        Settings(**options)


@pytest.mark.parametrize(
    ("process", "options", "told"),
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
def test_options_that_a_process_does_not_take_are_refused(process, options, told):
    with pytest.raises(UsageError, match=told):
        simulate(process, 1, seed=1, settings=Settings(**options))


def test_every_process_has_its_own_number():
    assert len({process.number for process in PROCESSES.values()}) == len(PROCESSES)


def test_options_reach_the_generator():
    assert "PhaseSpace:pTHatMin=700" in generator_lines("qcd", Settings(pt_hat_gev=700))
    assert "5100039:m0=3000" in generator_lines("graviton-ww", Settings(mass_gev=3000))
    assert "TimeShower:pTmin=1.0" not in generator_lines("qcd", Settings(tune="monash"))
