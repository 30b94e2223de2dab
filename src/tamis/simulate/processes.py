"""The physics processes, as a table of Pythia settings."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from tamis._base import UsageError, did_you_mean
from tamis.events.kinematics import GRAVITON
from tamis.simulate.filters import IsolatedParticle

HADRONIC_W = ("24:onMode=off", "24:onIfAny=1 2 3 4 5")
LEPTONIC_W = ("24:onMode=off", "24:onIfAny=11 13")
# Hadrons with an anti-bottom quark decay to e or mu, those with a bottom quark in all channels.
LEPTONIC_B = tuple(
    line for meson in (511, 521, 531) for line in (f"{meson}:onMode=3", f"{meson}:onPosIfAny=11 13")
)
CHARGED_HADRONS = (211, 321, 2212)
ELECTRON_Z = ("23:onMode=off", "23:onIfAny=11", "23:mMin=60.0")
HADRONIC_Z = ("23:onMode=off", "23:onIfAny=1 2 3 4 5")


@dataclass(frozen=True)
class Process:
    """One row: Pythia settings, the options that apply, and their defaults."""

    number: int  # written to `tamis_process` and used in the seeds: never reuse it for another process
    description: str
    lines: tuple[str, ...]
    resonance: int | None = None  # PDG id of the particle whose mass is an option
    mass_gev: float | None = None
    takes_pt_hat: bool = False
    pt_hat_gev: float | None = None
    recoil_lines: tuple[str, ...] = ()  # instead of `lines` if a pT-hat is given
    selection: IsolatedParticle | None = None  # filter after the generator
    fake_electron_rate: float | None = None  # instead of the detector's


_PROCESSES = {
    "qcd": Process(
        number=0,
        description="QCD dijets, with the transverse momentum of the hard scatter above pT-hat",
        lines=("HardQCD:all=on",),
        takes_pt_hat=True,
        pt_hat_gev=400.0,
    ),
    "w-prime": Process(
        number=1,
        description="W' -> W Z -> qqqq, 1 % width",
        lines=(
            "NewGaugeBoson:ffbar2Wprime=on",
            "Wprime:coup2WZ=1",
            "34:onMode=off",
            "34:onIfAll=23 24",
            *HADRONIC_W,
            *HADRONIC_Z,
        ),
        resonance=34,
        mass_gev=1200.0,
    ),
    "z-prime-tt": Process(
        number=2,
        description="Z' -> t tbar with hadronic top decays, 1 % width",
        lines=(
            "NewGaugeBoson:ffbar2gmZZprime=on",
            "Zprime:gmZmode=3",
            "32:onMode=off",
            "32:onIfAny=6",
            *HADRONIC_W,
        ),
        resonance=32,
        mass_gev=1200.0,
    ),
    "graviton-ww": Process(
        number=3,
        description="Randall-Sundrum bulk graviton -> W W -> qqqq (longitudinal W), 1 % width",
        lines=(
            "ExtraDimensionsG*:gg2G*=on",
            "ExtraDimensionsG*:SMinBulk=on",
            "ExtraDimensionsG*:VLVL=on",
            "5100039:onMode=off",
            "5100039:onIfAny=24",
            *HADRONIC_W,
        ),
        resonance=GRAVITON,
        mass_gev=1200.0,
    ),
    "ttbar": Process(
        number=4,
        description="top pairs, all decays",
        lines=("Top:gg2ttbar=on", "Top:qqbar2ttbar=on"),
        takes_pt_hat=True,
    ),
    "w-lepton": Process(
        number=5,
        description="W -> e nu or mu nu; with a pT-hat, the W recoils against a parton",
        lines=("WeakSingleBoson:ffbar2W=on", *LEPTONIC_W),
        takes_pt_hat=True,
        recoil_lines=("WeakBosonAndParton:qqbar2Wg=on", "WeakBosonAndParton:qg2Wq=on", *LEPTONIC_W),
    ),
    "min-bias": Process(
        number=6,
        description="non-diffractive inelastic collisions",
        lines=("SoftQCD:nonDiffractive=on",),
    ),
    "qcd-lepton": Process(
        number=20,
        description="b and c quark pairs with an isolated e or mu; B mesons on one side decay to leptons",
        lines=("HardQCD:hardbbbar=on", "HardQCD:hardccbar=on", *LEPTONIC_B),
        takes_pt_hat=True,
        pt_hat_gev=40.0,
        selection=IsolatedParticle(kinds=(11, 13)),
    ),
    "qcd-fake": Process(
        number=21,
        description="QCD dijets with an isolated charged hadron, all of which are reconstructed as electrons",
        lines=("HardQCD:all=on",),
        takes_pt_hat=True,
        pt_hat_gev=40.0,
        selection=IsolatedParticle(kinds=CHARGED_HADRONS),
        fake_electron_rate=1.0,
    ),
    "photon-jet": Process(
        number=22,
        description="prompt photon and a parton, with the transverse momentum of the hard scatter above pT-hat",
        lines=("PromptPhoton:qg2qgamma=on", "PromptPhoton:qqbar2ggamma=on"),
        takes_pt_hat=True,
        pt_hat_gev=30.0,
    ),
    "z-ee": Process(
        number=23,
        description="Z/gamma* -> e e above 60 GeV; with a pT-hat, the boson recoils against a parton",
        lines=("WeakSingleBoson:ffbar2gmZ=on", *ELECTRON_Z),
        takes_pt_hat=True,
        recoil_lines=("WeakBosonAndParton:qqbar2gmZg=on", "WeakBosonAndParton:qg2gmZq=on", *ELECTRON_Z),
    ),
    "z-prime-tautau": Process(
        number=24,
        description="Z' -> tau tau with hadronic tau decays, 1 % width",
        lines=(
            "NewGaugeBoson:ffbar2gmZZprime=on",
            "Zprime:gmZmode=3",
            "32:onMode=off",
            "32:onIfAny=15",
            "15:offIfAny=11 13",
        ),
        resonance=32,
        mass_gev=500.0,
    ),
}

PROCESSES = MappingProxyType(_PROCESSES)


def find_process(name: str) -> Process:
    """Return a process by name; an unknown name raises an error with close matches."""
    if name not in PROCESSES:
        raise UsageError(f"no process is called {name!r}; {did_you_mean(name, PROCESSES)}".rstrip("; "))
    return PROCESSES[name]


def resonance_lines(process: Process, mass_gev: float) -> tuple[str, ...]:
    """Return the Pythia lines for a resonance of this mass with a width of 1 %.

    The mass is limited to +-20 %: else parton luminosities would produce a tail far below the peak.
    """
    if process.resonance is None:
        return ()
    number = process.resonance
    return (
        f"{number}:m0={mass_gev:.17g}",
        f"{number}:mWidth={0.01 * mass_gev:.17g}",
        f"{number}:mMin={0.8 * mass_gev:.17g}",
        f"{number}:mMax={1.2 * mass_gev:.17g}",
        f"{number}:doForceWidth=on",
    )
