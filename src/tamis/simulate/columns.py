"""The columns of a simulated block, named as in NanoAOD and PFNano."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import awkward as ak
import numpy as np

from tamis.events import Events
from tamis.simulate.candidates import Candidates
from tamis.simulate.generator import GeneratorRecord
from tamis.simulate.jets import ClusteredJets
from tamis.simulate.leptons import LeptonCandidates
from tamis.simulate.level1 import MISSING_ET, LevelOne, TriggerObjects
from tamis.simulate.low_level import LowLevel
from tamis.simulate.pileup import PileUp
from tamis.simulate.truth import GenParticles


@dataclass(frozen=True)
class SimulatedBlock:
    """All objects of one block of events."""

    run: int  # the seed, so that events of different seeds have different identities
    number: int  # of the block
    first_event: int  # number of its first event
    process: int
    mu: float
    cross_section_pb: float
    record: GeneratorRecord
    vertex_z: np.ndarray
    pile_up: PileUp
    candidates: Candidates
    fat_jets: ClusteredJets
    fat_jet_label: np.ndarray
    fat_jet_soft_drop: np.ndarray
    fat_jet_tau: np.ndarray  # (jets, 3)
    jets: ClusteredJets
    jet_flavour: np.ndarray
    jet_b_tag: np.ndarray
    muons: LeptonCandidates
    electrons: LeptonCandidates
    gen: GenParticles
    low_level: LowLevel | None = None
    level1: LevelOne | None = None

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.record)


def block_events(block: SimulatedBlock) -> Events:
    """Return the block as events with columns."""
    fat_jet = {
        "msoftdrop": _float(block.fat_jet_soft_drop),
        **{f"tau{n + 1}": _float(block.fat_jet_tau[:, n]) for n in range(block.fat_jet_tau.shape[1])},
        "label": block.fat_jet_label.astype(np.int32),
    }
    jet = {"hadronFlavour": block.jet_flavour.astype(np.int32), "btag": _float(block.jet_b_tag)}
    return Events.of(
        {
            **_identity(block),
            **_generator(block),
            "Pileup_nPU": block.pile_up.collisions.astype(np.int32),
            "Pileup_pthatmax": _float(block.pile_up.pt_hat_max_gev),
            "Pileup_nTrueInt": np.full(len(block), block.mu, np.float32),
            "PV_npvs": (block.pile_up.vertices + 1).astype(np.int32),
            "PV_z": _float(block.vertex_z),
            **_candidates(block),
            **_jets("FatJet", block.fat_jets, fat_jet, block),
            **_constituents("FatJetPFCands", block.fat_jets, block),
            **_jets("Jet", block.jets, jet, block),
            **_constituents("JetPFCands", block.jets, block),
            **_leptons("Muon", block.muons, block),
            **_leptons("Electron", block.electrons, block),
            **_gen(block),
            **_missing(block),
            **_low_level(block),
            **_level1(block),
        }
    )


def _identity(block: SimulatedBlock) -> dict[str, object]:
    n = len(block)
    return {
        "run": np.full(n, block.run, np.uint32),
        "luminosityBlock": np.full(n, block.number + 1, np.uint32),
        "event": np.arange(block.first_event, block.first_event + n, dtype=np.uint64),
        "tamis_process": np.full(n, block.process, np.int32),
    }


def _generator(block: SimulatedBlock) -> dict[str, object]:
    info = block.record.info
    return {
        "genWeight": _float(info["weight"]),
        "Generator_weight": _float(info["weight"]),
        "Generator_binvar": _float(block.record.pt_hat_gev),
        "Generator_scalePDF": _float(np.sqrt(np.maximum(info["Q2Fac"], 0.0))),
        "Generator_x1": _float(info["x1"]),
        "Generator_x2": _float(info["x2"]),
        "Generator_id1": info["id1"].astype(np.int32),
        "Generator_id2": info["id2"].astype(np.int32),
        "tamis_cross_section_pb": np.full(len(block), block.cross_section_pb, np.float32),
    }


def _candidates(block: SimulatedBlock) -> dict[str, object]:
    candidates = block.candidates
    columns = {
        **{name: _float(getattr(candidates, name)) for name in ("pt", "eta", "phi", "mass", "d0", "dz")},
        "pdgId": candidates.pdg_id.astype(np.int32),
        "charge": candidates.charge.astype(np.int32),
    }
    return _lists("PFCands", columns, candidates.offsets(len(block)))


def _jets(
    prefix: str, jets: ClusteredJets, more: Mapping[str, np.ndarray], block: SimulatedBlock
) -> dict[str, object]:
    """Return the columns of jets; `more` are those that only one kind has."""
    columns = {name: _float(getattr(jets, name)) for name in ("pt", "eta", "phi", "mass")}
    columns["nConstituents"] = jets.multiplicity.astype(np.int32)
    return _lists(prefix, {**columns, **more}, _jet_offsets(jets, len(block)))


def _leptons(prefix: str, leptons: LeptonCandidates, block: SimulatedBlock) -> dict[str, object]:
    columns = {
        **{name: _float(getattr(leptons, name)) for name in ("pt", "eta", "phi", "mass", "dz")},
        "charge": leptons.charge.astype(np.int32),
        "pdgId": leptons.pdg_id,
        "pfRelIso03_all": _float(leptons.isolation),
        "dxy": _float(leptons.d0),
        "genPartIdx": leptons.gen_index,
        "genPartFlav": leptons.gen_flavour.astype(np.uint8),
    }
    return _lists(prefix, columns, np.searchsorted(leptons.event, np.arange(len(block) + 1)))


def _constituents(prefix: str, jets: ClusteredJets, block: SimulatedBlock) -> dict[str, object]:
    """Return pairs of indices of jet and candidate in their event."""
    owner = jets.owner
    event = jets.event[owner]
    columns = {
        "jetIdx": (owner - _jet_offsets(jets, len(block))[event]).astype(np.int32),
        "pFCandsIdx": (jets.constituents - block.candidates.offsets(len(block))[event]).astype(np.int32),
    }
    return _lists(prefix, columns, np.searchsorted(event, np.arange(len(block) + 1)))


def _gen(block: SimulatedBlock) -> dict[str, object]:
    gen = block.gen
    columns = {
        **{name: _float(getattr(gen, name)) for name in ("pt", "eta", "phi", "mass")},
        "pdgId": gen.pdg_id.astype(np.int32),
        "status": gen.status,
        "statusFlags": gen.flags,
        "genPartIdxMother": gen.mother,
    }
    return _lists("GenPart", columns, np.searchsorted(gen.event, np.arange(len(block) + 1)))


def _missing(block: SimulatedBlock) -> dict[str, object]:
    candidates, n = block.candidates, len(block)
    px = -np.bincount(candidates.event, candidates.pt * np.cos(candidates.phi), minlength=n)
    py = -np.bincount(candidates.event, candidates.pt * np.sin(candidates.phi), minlength=n)
    return {
        "MET_pt": _float(np.hypot(px, py)),
        "MET_phi": _float(np.arctan2(py, px)),
        "MET_sumEt": _float(np.bincount(candidates.event, candidates.pt, minlength=n)),
    }


def _low_level(block: SimulatedBlock) -> dict[str, object]:
    low_level = block.low_level
    if low_level is None:
        return {}
    columns: dict[str, object] = {}
    for prefix, part, names in (
        ("EcalCell", low_level.crystals, ("et", "eta", "phi")),
        ("HcalTower", low_level.towers, ("et", "eta", "phi")),
        ("Track", low_level.tracks, ("pt", "eta", "phi", "d0", "dz", "charge")),
        ("PixelHit", low_level.hits, ("layer", "eta", "phi")),
    ):
        values = {name: np.asarray(getattr(part, name)) for name in names}
        typed = {n: v.astype(np.float32 if v.dtype.kind == "f" else np.int32) for n, v in values.items()}
        columns |= _lists(prefix, typed, np.searchsorted(part.event, np.arange(len(block) + 1)))
    return columns


def _level1(block: SimulatedBlock) -> dict[str, object]:
    """Return the columns of the Level-1 trigger: NanoAOD's, and the regions of the calorimeter that are not empty."""
    level1, n = block.level1, len(block)
    if level1 is None:
        return {}
    columns: dict[str, object] = {}
    for prefix, objects in (("L1EG", level1.egammas), ("L1Mu", level1.muons), ("L1Jet", level1.jets)):
        columns |= _trigger_objects(prefix, objects, n)
    kinds = level1.sums_gev.shape[1]
    phi = np.zeros((n, kinds))
    phi[:, MISSING_ET] = level1.met_phi
    sums = {
        "pt": _float(level1.sums_gev.reshape(-1)),
        "phi": _float(phi.reshape(-1)),
        "etSumType": np.tile(np.arange(kinds, dtype=np.int32), n),
        "bx": np.zeros(n * kinds, np.int16),
    }
    event, ieta, iphi = np.nonzero(level1.regions)
    regions = {
        "et": level1.regions[event, ieta, iphi].astype(np.int16),
        "ieta": ieta.astype(np.int16),
        "iphi": iphi.astype(np.int16),
    }
    return {
        **columns,
        **_lists("L1EtSum", sums, np.arange(n + 1) * kinds),
        **_lists("L1Region", regions, np.searchsorted(event, np.arange(n + 1))),
    }


def _trigger_objects(prefix: str, objects: TriggerObjects, events: int) -> dict[str, object]:
    columns = {name: _float(getattr(objects, name)) for name in ("pt", "eta", "phi")}
    columns["bx"] = np.zeros(len(objects.event), np.int16)
    return _lists(prefix, columns, np.searchsorted(objects.event, np.arange(events + 1)))


def _jet_offsets(jets: ClusteredJets, events: int) -> np.ndarray:
    return np.searchsorted(jets.event, np.arange(events + 1))


def _lists(prefix: str, columns: Mapping[str, np.ndarray], offsets: np.ndarray) -> dict[str, object]:
    """Return the columns of a collection, one list per event."""
    index = ak.index.Index64(offsets.astype(np.int64))
    return {
        f"{prefix}_{name}": ak.Array(
            ak.contents.ListOffsetArray(index, ak.contents.NumpyArray(np.ascontiguousarray(column)))
        )
        for name, column in columns.items()
    }


def _float(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)
