"""Tracks as CSV files with one row for each, with the columns of ACTS' CsvTrackWriter: one file for each event."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tamis._base import UsageError, write_text
from tamis.tracking.chain import StageObjects
from tamis.tracking.matching import SHARED_MIN
from tamis.tracking.reading import CellEvent, TrueParticles

SUMMARY_NAME = "tracksummary.csv"
SUMMARY_HEADER = (
    "track_id,seed_id,particleId,nStates,nMajorityHits,nMeasurements,nOutliers,nHoles,nSharedHits,chi2,ndf,chi2/ndf,"
    "pT,eta,phi,truthMatchProbability,good/duplicate/fake,Measurements_ID"
)
BARCODE_PARTS = ("vp", "vs", "p", "g", "sp")
MEASURED = 2  # coordinates of a cluster


def is_summary(out: Path) -> bool:
    """Return whether an output is CSV files: a path that ends in .csv, or a folder."""
    return out.suffix == ".csv" or out.is_dir() or not out.suffix


def write_summary(out: Path, event: CellEvent, rows: list[str]) -> None:
    """Write the tracks of one event to `event000000001-NAME.csv` for the path NAME.csv, to `event000000001-tracksummary.csv` for a folder."""
    folder, name = (out.parent, out.name) if out.suffix == ".csv" else (out, SUMMARY_NAME)
    if folder.exists() and not folder.is_dir():
        raise UsageError(
            f"{folder} is a file: tracks as CSV files need a folder, or a name that ends in .csv"
        )
    write_text(folder / f"event{event.number:09d}-{name}", "\n".join([SUMMARY_HEADER, *rows]) + "\n")


def summary_rows(objects: StageObjects, truth: TrueParticles | None) -> list[str]:
    """Return one line for each track; `Measurements_ID` are the rows of its clusters, in the order of modules."""
    tracks = objects.tracks
    owners = np.bincount(tracks.hits, minlength=len(tracks.first_cell))
    hits = np.split(tracks.hits, np.cumsum(tracks.counts)[:-1]) if len(tracks) else []
    particle, majority = majority_particles(objects, truth)
    kind = track_kinds(particle, majority, tracks.counts, tracks.chi2, known=truth is not None)
    phi, pt, eta = tracks.parameters[:, 2], tracks.pt, tracks.eta
    seed = objects.found.seed[objects.chosen]
    rows = []
    for k, own in enumerate(hits):
        count, chi2, ndf = len(own), tracks.chi2[k], MEASURED * len(own)
        numbers = ",".join(map(str, own.tolist()))
        rows.append(
            f"{k},{seed[k]},{_barcode(int(particle[k]), truth)},{count + tracks.holes[k]},{majority[k]},{count},0,{tracks.holes[k]},{int((owners[own] > 1).sum())},"
            f"{chi2:.6g},{ndf},{chi2 / ndf:.6g},{pt[k]:.6g},{eta[k]:.6g},{phi[k]:.6g},{majority[k] / count:.6g},{kind[k]},"
            f'"[{numbers},]"'
        )
    return rows


def _barcode(particle: int, truth: TrueParticles | None) -> str:
    """Return the identifier of a particle as ACTS prints it: its own in a file of ACTS, else its row from 1 on; 0 if unknown."""
    numbers = [0] * len(BARCODE_PARTS)
    if truth is not None and particle >= 0:
        numbers = [1, 0, particle + 1, 0, 0] if truth.barcode is None else truth.barcode[particle].tolist()
    return "|".join(f"{name}={number}" for name, number in zip(BARCODE_PARTS, numbers, strict=True))


def majority_particles(objects: StageObjects, truth: TrueParticles | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the particle that most clusters of each track are from (-1 if unknown), and how many there are."""
    tracks = objects.tracks
    best, most = np.full(len(tracks), -1, np.int64), np.zeros(len(tracks), np.int64)
    if truth is None or not len(tracks):
        return best, most
    particle = truth.of_cell[tracks.first_cell][tracks.hits]
    track = np.repeat(np.arange(len(tracks)), tracks.counts)
    pairs, shared = np.unique(np.stack([track, particle])[:, particle >= 0], axis=1, return_counts=True)
    order = np.argsort(shared, kind="stable")  # the largest number is written last
    best[pairs[0][order]], most[pairs[0][order]] = pairs[1][order], shared[order]
    return best, most


def track_kinds(
    particle: np.ndarray, majority: np.ndarray, counts: np.ndarray, chi2: np.ndarray, *, known: bool
) -> list[str]:
    """Return good, duplicate or fake, as ACTS defines them: of the tracks with half of their clusters from a particle, that with the most is good."""
    if not known:
        return ["unknown"] * len(particle)
    matched = np.flatnonzero((particle >= 0) & (majority >= SHARED_MIN * counts))
    order = matched[np.lexsort((chi2[matched], -majority[matched]))]
    _, first = np.unique(particle[order], return_index=True)
    kinds = np.full(len(particle), "fake", object)
    kinds[matched] = "duplicate"
    kinds[order[first]] = "good"
    return [str(kind) for kind in kinds]
