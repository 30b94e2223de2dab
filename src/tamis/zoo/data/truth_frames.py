"""Frames by the generator's truth: the seeds of event files that are signal, or background, whatever the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from tamis._base import DataError, UsageError
from tamis.events import Frame
from tamis.events.kinematics import delta_r_squared
from tamis.features import InputRows, find_inputs
from tamis.features.lists import lists_of
from tamis.zoo.data.class_rows import ClassRows, Wanted, read_class
from tamis.zoo.data.labelled import Labelled
from tamis.zoo.networks.classifiers import Reading, Tagger, Truth

GEN = ("GenPart_pdgId", "GenPart_status", "GenPart_statusFlags", "GenPart_eta", "GenPart_phi")
IS_HARD_PROCESS = 1 << 7
SPECTRUM_BINS = 12
FEWEST = 20  # frames of either kind


def load_by_truth(
    tagger: Tagger, files: Mapping[str, Sequence[str]], reading: Reading, seed: int
) -> Labelled:
    """Read the frames of background and signal, and bring both to one spectrum of their seeds' transverse momentum."""
    found = {name: load_kind(tagger, files[name], name, reading) for name in tagger.classes}
    background, signal = (found[name] for name in tagger.classes)
    rows = same_spectrum(background.about["pt"], signal.about["pt"], seed)
    if len(rows[0]) < FEWEST:
        raise UsageError(
            f"{len(signal)} signal and {len(background)} background frames have {len(rows[0])} of each kind at the same "
            f"transverse momentum; give files with at least {FEWEST}"
        )
    facts = {
        **{f"{name}_files": [Path(file).name for file in one.files] for name, one in found.items()},
        **{f"{name}_frames_found": len(one) for name, one in found.items()},
        "spectra": "signal and background frames were drawn to have one spectrum of the seed's transverse momentum",
        "truth": asdict(tagger.truth),
    }
    return Labelled.of([one.take(kept) for one, kept in zip(found.values(), rows, strict=True)], facts)


def load_kind(
    tagger: Tagger, files: Sequence[str], kind: str, reading: Reading, extra: Sequence[str] = ()
) -> ClassRows:
    """Read the frames of `signal` or of `background` from event files with low-level information and truth.

    `extra` names columns of the jets that the frames are about, such as `FatJet_mass`; those that are there are kept.
    """
    keep = partial(_matches, tagger.truth, signal=kind == tagger.classes[1])
    wanted = Wanted(kind, GEN, tuple(extra), keep, sparse=True)
    found = read_class(find_inputs(tagger.features), files, wanted, reading)
    if not len(found):
        raise DataError(
            f"no {kind} of {tagger.name} in {', '.join(map(str, files))}: training needs events simulated with --low-level"
            f"{''.join(f'; {entry}' for entry in found.skipped)}"
        )
    return found


def _matches(truth: Truth, frame: Frame, rows: InputRows, *, signal: bool) -> np.ndarray:
    """Return the rows that are what is asked for."""
    near_signal = _near(truth.signal, truth.radius, frame, rows)
    near_background = _near(truth.background, truth.radius, frame, rows) if truth.background else ~near_signal
    wanted = near_signal & ~near_background if signal else near_background & ~near_signal
    return np.flatnonzero(wanted & (rows.about["pt"] >= truth.pt_min_gev))


def _near(kinds: tuple[int, ...], radius: float, frame: Frame, rows: InputRows) -> np.ndarray:
    """Tell which rows have a generated particle of these kinds near, of the hard process or one that leaves."""
    found = np.zeros(len(rows), bool)
    kind, status, flags, eta, phi = (_of_events(frame, name) for name in GEN)
    for event in range(len(frame)):
        mine = slice(int(rows.offsets[event]), int(rows.offsets[event + 1]))
        some = np.isin(np.abs(kind[event]), kinds)
        some &= ((flags[event] & IS_HARD_PROCESS) != 0) | (status[event] == 1)
        seed_eta, seed_phi = (rows.about[name][mine, None].astype(np.float64) for name in ("eta", "phi"))
        apart = delta_r_squared(seed_eta, seed_phi, eta[event][some], phi[event][some])
        found[mine] = (apart < radius**2).any(axis=1)
    return found


def _of_events(frame: Frame, name: str) -> list[np.ndarray]:
    lists = lists_of(frame, name)
    return [lists.values[a:b] for a, b in zip(lists.offsets[:-1], lists.offsets[1:], strict=True)]


def same_spectrum(first: np.ndarray, second: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of both sets that have one spectrum of transverse momentum: what a tagger sees must not be that.

    In each of twelve bins the larger set gives as many, drawn from the seed, as the smaller one has.
    """
    rng = np.random.default_rng((seed, 1))
    edges = np.unique(
        np.quantile(np.concatenate([first, second]), np.linspace(0, 1, SPECTRUM_BINS + 1)[1:-1])
    )
    bins = [np.searchsorted(edges, values, "right") for values in (first, second)]
    kept: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for number in range(len(edges) + 1):
        members = [np.flatnonzero(one == number) for one in bins]
        most = min(map(len, members))
        for rows, out in zip(members, kept, strict=True):
            out.append(np.sort(rng.permutation(rows)[:most]))
    return np.sort(np.concatenate(kept[0])), np.sort(np.concatenate(kept[1]))
