"""Jets of gluons, light quarks, W and Z bosons and top quarks near 1 TeV, as sixteen high-level features.

A sample like that of arXiv:1804.06913: pairs of each particle with a transverse momentum within 1 % of 1 TeV, anti-kT jets
with R = 0.8 from 0.8 to 1.6 TeV, groomed with the modified mass drop; all features are those of the groomed jet. Here Pythia
makes the pairs as well, the detector is the parametric one without pile-up, and a jet must lie near its particle. A pair
gives up to two jets, which stand in the same block.

Energy correlation functions use the 50 hardest constituents, whose transverse momenta they are normalised to; mass,
multiplicity and zlogz use all constituents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from tamis.events.kinematics import delta_r_squared, expand_ranges, pairs_in_event, pseudorapidity
from tamis.simulate.correlators import correlators
from tamis.simulate.detector import Detector, respond
from tamis.simulate.generator import GeneratorRecord, generator
from tamis.simulate.jets import ClusteredJets, anti_kt, four_momenta
from tamis.simulate.particles import visible
from tamis.simulate.processes import HADRONIC_W, HADRONIC_Z
from tamis.simulate.seeds import Seeds
from tamis.simulate.settings import TUNES
from tamis.simulate.substructure import GroomedJets, soft_drop

JET_FEATURES = (
    "zlogz",
    "c1_b0",
    "c1_b1",
    "c1_b2",
    "c2_b1",
    "c2_b2",
    "d2_b1",
    "d2_b2",
    "d2_a1_b1",
    "d2_a1_b2",
    "m2_b1",
    "m2_b2",
    "n2_b1",
    "n2_b2",
    "mass",
    "multiplicity",
)
JET_CLASSES = ("g", "q", "W", "Z", "t")
FAT_JET_RADIUS = 0.8
JET_PT_GEV = (800.0, 1600.0)
FAT_JET_ETA_MAX = 2.0  # the whole jet is almost always in the tracker
MATCHING_RADIUS = 0.4
CONSTITUENTS_MAX = 50  # of the energy correlation functions
SOFTEST_GEV = 0.1  # softer particles are not simulated
LOTS = (
    64,
    16,
)  # collisions generated at once: of the first lot, and of further ones until there are enough jets
MASSES_GEV = MappingProxyType({"W": 80.4, "Z": 91.2, "t": 172.5})
COLLISIONS = (
    "Beams:eCM=13600.",
    *TUNES["fast"],
    "PhaseSpace:pTHatMin=990.",
    "PhaseSpace:pTHatMax=1010.",
)


@dataclass(frozen=True)
class JetSource:
    """How the jets of a class are generated."""

    lines: tuple[str, ...]
    particles: tuple[int, ...]  # absolute PDG ids of the hard process to which jets belong


SOURCES: Mapping[str, JetSource] = MappingProxyType(
    {
        "g": JetSource(("HardQCD:gg2gg=on", "HardQCD:qqbar2gg=on"), (21,)),
        "q": JetSource(("HardQCD:qq2qq=on", "HardQCD:gg2qqbar=on", "HardQCD:qqbar2qqbarNew=on"), (1, 2, 3)),
        "W": JetSource(("WeakDoubleBoson:ffbar2WW=on", *HADRONIC_W), (24,)),
        "Z": JetSource(("WeakDoubleBoson:ffbar2gmZgmZ=on", "WeakZ0:gmZmode=2", *HADRONIC_Z), (23,)),
        "t": JetSource(("Top:gg2ttbar=on", "Top:qqbar2ttbar=on", *HADRONIC_W), (6,)),
    }
)


@dataclass(frozen=True)
class JetRows:
    """Features and kinematics of some jets."""

    features: np.ndarray  # (jets, 16)
    pt: np.ndarray
    eta: np.ndarray

    def __len__(self) -> int:
        """Return the number of jets."""
        return len(self.pt)


def make_jets(n: int, seeds: Seeds) -> dict[str, np.ndarray]:
    """Return features (n, 16), class, transverse momentum and eta of jets, and variables for simple cuts.

    All classes are equally frequent if n is a multiple of five.
    """
    counts = [len(range(number, n, len(JET_CLASSES))) for number in range(len(JET_CLASSES))]
    rows = [
        _jets_of(source, count, seeds.part(k))
        for k, (source, count) in enumerate(zip(SOURCES.values(), counts, strict=True))
    ]
    order = seeds.stream("order").permutation(n)
    features = np.concatenate([part.features for part in rows])[order]
    mass, multiplicity, n2 = (
        features[:, JET_FEATURES.index(name)] for name in ("mass", "multiplicity", "n2_b1")
    )
    return {
        "features": features.astype(np.float32),
        "label": np.repeat(np.arange(len(JET_CLASSES)), counts)[order],
        "pt": np.concatenate([part.pt for part in rows])[order].astype(np.float32),
        "eta": np.concatenate([part.eta for part in rows])[order].astype(np.float32),
        "multiplicity": multiplicity.astype(np.float32),
        "n2_b1": n2.astype(np.float32),
        **{f"off_{name.lower()}": np.abs(mass - gev).astype(np.float32) for name, gev in MASSES_GEV.items()},
    }


def _jets_of(source: JetSource, count: int, seeds: Seeds) -> JetRows:
    """Return the first jets of lots of collisions."""
    parts: list[JetRows] = []
    while sum(map(len, parts)) < count:
        lot = len(parts)
        parts.append(_lot(source, LOTS[min(lot, 1)], seeds.part(lot)))
    return JetRows(
        np.concatenate([part.features for part in parts])[:count],
        np.concatenate([part.pt for part in parts])[:count],
        np.concatenate([part.eta for part in parts])[:count],
    )


def _lot(source: JetSource, collisions: int, seeds: Seeds) -> JetRows:
    """Generate collisions, simulate the detector, cluster jets, and return the features of those that belong to the source."""
    detector = Detector()
    make = generator((*COLLISIONS, *source.lines))
    record = make(collisions, seeds.pythia("event"))
    candidates = respond(visible(record, make, detector.eta_max, SOFTEST_GEV), detector, seeds)
    momenta = four_momenta(candidates)
    jets = anti_kt(candidates, momenta, collisions, FAT_JET_RADIUS, JET_PT_GEV[0])
    chosen = np.flatnonzero(
        (jets.pt < JET_PT_GEV[1])
        & (np.abs(jets.eta) < FAT_JET_ETA_MAX)
        & _near_source(record, jets, source.particles)
    )
    groomed = soft_drop(jets, momenta)
    return JetRows(features(groomed, momenta, chosen), jets.pt[chosen], jets.eta[chosen])


def _near_source(record: GeneratorRecord, jets: ClusteredJets, particles: tuple[int, ...]) -> np.ndarray:
    """Return a mask of the jets near one of these particles of the hard process."""
    outgoing = np.isin(np.abs(record.status), (22, 23)) & np.isin(np.abs(record.pdg_id), particles)
    row = np.flatnonzero(outgoing)
    px, py, pz, _ = record.momentum[:, row]
    eta, phi = pseudorapidity(np.hypot(px, py), pz), np.arctan2(py, px)
    jet, particle = pairs_in_event(jets.event, record.collision[row])
    apart = delta_r_squared(eta[particle], phi[particle], jets.eta[jet], jets.phi[jet])
    near = np.zeros(len(jets), bool)
    near[jet[apart < MATCHING_RADIUS**2]] = True
    return near


def features(groomed: GroomedJets, momenta: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the sixteen features (jets, 16) of the chosen groomed jets."""
    count = np.diff(groomed.offsets)[chosen]
    owner, at = expand_ranges(groomed.offsets[:-1][chosen], count)
    rank = np.arange(len(owner)) - (np.cumsum(count) - count)[owner]
    px, py, pz, energy = momenta[:, groomed.constituents[at]]
    pt = np.hypot(px, py)
    z = pt / np.bincount(owner, pt, minlength=len(chosen))[owner]
    leading = rank < CONSTITUENTS_MAX
    padded = np.zeros((3, len(chosen), CONSTITUENTS_MAX))
    padded[:, owner[leading], rank[leading]] = np.stack([pt, np.arctanh(pz / energy), np.arctan2(py, px)])[
        :, leading
    ]
    values = {
        "zlogz": np.bincount(owner, z * np.log(z), minlength=len(chosen)),
        "mass": groomed.mass[chosen],
        "multiplicity": count.astype(np.float64),
        **correlators(*padded).ratios(),
    }
    return np.stack([values[name] for name in JET_FEATURES], axis=1)
