"""Images of a tagger, labelled by generated particles: every file may contain signal and background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from tamis._base import DataError, UsageError
from tamis.events import Frame
from tamis.events.kinematics import delta_r_squared
from tamis.features import Feature, InputRows, find_inputs
from tamis.features.lists import lists_of
from tamis.simulate.truth import IS_HARD_PROCESS
from tamis.zoo.data.class_rows import ClassRows, ReadOptions, RowSelection, read_class
from tamis.zoo.data.labelled import Labelled
from tamis.zoo.networks.description import Tagger, TruthMatching

GENERATED = ("GenPart_pdgId", "GenPart_status", "GenPart_statusFlags", "GenPart_eta", "GenPart_phi")
SPECTRUM_BINS = 12
FRAMES_PER_CLASS_MIN = 20

TruthKind = Literal["signal", "background"]


@dataclass(frozen=True)
class TaggedFrames:
    """The frames of a tagger: the features that build its inputs, and how its seeds are labelled."""

    name: str  # of the tagger
    features: Mapping[str, Feature]
    truth: TruthMatching

    @classmethod
    def of(cls, tagger: Tagger) -> TaggedFrames:
        """Return the frames of a tagger of the zoo."""
        return cls(tagger.name, find_inputs(tagger.features), tagger.truth)

    def load(
        self, files: Sequence[str], kind: TruthKind, options: ReadOptions, optional: Sequence[str] = ()
    ) -> ClassRows:
        """Read the frames of one kind from event files with low-level information and generated particles.

        `optional` names columns of the frames' jets, such as `FatJet_mass`; those in the files are kept in `about`.
        """
        keep = partial(_matching_rows, self.truth, kind)
        selection = RowSelection(kind, GENERATED, tuple(optional), keep, sparse=True)
        rows = read_class(self.features, files, selection, options)
        if not len(rows):
            reasons = "".join(f"; {entry}" for entry in rows.skipped)
            raise DataError(
                f"no {kind} of {self.name} in {', '.join(map(str, files))}: "
                f"taggers need events simulated with --low-level{reasons}"
            )
        return rows


def load_by_truth(
    tagger: Tagger, files: Mapping[str, Sequence[str]], options: ReadOptions, seed: int
) -> Labelled:
    """Read the frames of background and signal, and draw from both the same spectrum of transverse momentum."""
    frames = TaggedFrames.of(tagger)
    background_name, signal_name = tagger.classes
    background = frames.load(files[background_name], "background", options)
    signal = frames.load(files[signal_name], "signal", options)
    rows = same_spectrum(background.about["pt"], signal.about["pt"], seed)
    if len(rows[0]) < FRAMES_PER_CLASS_MIN:
        raise UsageError(
            f"{len(signal)} signal and {len(background)} background frames have {len(rows[0])} of each kind at the same "
            f"transverse momentum; give files with at least {FRAMES_PER_CLASS_MIN}"
        )
    loaded = {background_name: background, signal_name: signal}
    facts = {
        **{f"{name}_files": [Path(file).name for file in part.files] for name, part in loaded.items()},
        **{f"{name}_frames_found": len(part) for name, part in loaded.items()},
        "spectra": "signal and background frames were drawn to have one spectrum of the seed's transverse momentum",
        "truth": asdict(tagger.truth),
    }
    return Labelled.of([part.take(kept) for part, kept in zip(loaded.values(), rows, strict=True)], facts)


def _matching_rows(truth: TruthMatching, kind: TruthKind, frame: Frame, rows: InputRows) -> np.ndarray:
    """Return the indices of the rows of one kind above the pT threshold."""
    near_signal = _near(truth.signal, truth.radius, frame, rows)
    near_background = _near(truth.background, truth.radius, frame, rows) if truth.background else ~near_signal
    matched = near_signal & ~near_background if kind == "signal" else near_background & ~near_signal
    return np.flatnonzero(matched & (rows.about["pt"] >= truth.pt_min_gev))


def _near(pdg_ids: tuple[int, ...], radius: float, frame: Frame, rows: InputRows) -> np.ndarray:
    """Return a mask of the rows near a generated particle of these kinds, of the hard process or of the final state."""
    near = np.zeros(len(rows), bool)
    generated = [lists_of(frame, name) for name in GENERATED]
    for event in range(len(frame)):
        pdg_id, status, flags, eta, phi = (
            one.values[one.offsets[event] : one.offsets[event + 1]] for one in generated
        )
        seeds = slice(int(rows.offsets[event]), int(rows.offsets[event + 1]))
        particles = np.isin(np.abs(pdg_id), pdg_ids)
        particles &= ((flags & IS_HARD_PROCESS) != 0) | (status == 1)
        seed_eta, seed_phi = (rows.about[name][seeds, None].astype(np.float64) for name in ("eta", "phi"))
        apart = delta_r_squared(seed_eta, seed_phi, eta[particles], phi[particles])
        near[seeds] = (apart < radius**2).any(axis=1)
    return near


def same_spectrum(first: np.ndarray, second: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of both sets with the same spectrum of transverse momentum, so that a tagger cannot learn it.

    In each of twelve quantile bins the larger set is reduced at random to the size of the smaller one.
    """
    rng = np.random.default_rng((seed, 1))
    edges = np.unique(
        np.quantile(np.concatenate([first, second]), np.linspace(0, 1, SPECTRUM_BINS + 1)[1:-1])
    )
    bins = [np.searchsorted(edges, values, "right") for values in (first, second)]
    kept: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for number in range(len(edges) + 1):
        members = [np.flatnonzero(bin_numbers == number) for bin_numbers in bins]
        smaller = min(map(len, members))
        for rows, chosen in zip(members, kept, strict=True):
            chosen.append(np.sort(rng.permutation(rows)[:smaller]))
    return np.sort(np.concatenate(kept[0])), np.sort(np.concatenate(kept[1]))
