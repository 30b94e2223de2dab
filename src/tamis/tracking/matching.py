"""Which particle a track is of: efficiency, fakes, duplicates, and residuals of its parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.events.detector import FieldMap
from tamis.simulate.silicon.helix import Helices, curvature_of
from tamis.simulate.silicon.mapped import advance_in_map, bent_locally
from tamis.tracking.chain import Tracks
from tamis.tracking.reading import TrueParticles

GEV_PER_TESLA_MM = 0.299792458e-3
HITS_MIN = 7  # of a particle that ought to be found
FOUND_PT_MIN, FOUND_ETA_MAX = 0.5, 3.0  # of particles that ought to be found; GeV
BEAM_ROUNDS = (
    4  # in which a particle is followed back to the point nearest to the beam through a mapped field
)
SHARED_MIN = 0.5  # of the clusters of a track, and of those of its particle


@dataclass(frozen=True)
class Matches:
    """The particles and tracks of events: arrays over particles that ought to be found, and over tracks."""

    pt: np.ndarray  # of particles, GeV
    eta: np.ndarray
    radius: np.ndarray  # of production, mm
    found: np.ndarray  # how many tracks a particle has
    fake: np.ndarray  # of tracks: no particle has it
    duplicate: np.ndarray  # its particle has another track before it
    residual: np.ndarray  # (matched tracks, 5): d0, z0, phi, theta, q / p, minus the particle's
    pull: np.ndarray
    track_pt: np.ndarray  # of the particles of matched tracks
    track_eta: np.ndarray
    track_radius: np.ndarray  # of their production, mm

    @classmethod
    def joined(cls, parts: list[Matches]) -> Matches:
        """Join those of several events."""
        return cls(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
        )


def match_tracks(
    tracks: Tracks,
    cluster_particle: np.ndarray,
    truth: TrueParticles,
    field: float,
    *,
    pt_min: float = 0.5,
    eta_max: float = 3.0,
    field_map: FieldMap | None = None,
) -> Matches:
    """Match the tracks of one event; `cluster_particle` is the particle that each cluster is from, -1 if unknown.

    `field` is in tesla, the nominal one where there is a map.
    """
    pt = np.hypot(truth.momentum[:, 0], truth.momentum[:, 1])
    eta = np.arcsinh(truth.momentum[:, 2] / np.maximum(pt, 1e-9))
    hits = np.bincount(cluster_particle[cluster_particle >= 0], minlength=len(truth))
    wanted = (truth.charge != 0) & (hits >= HITS_MIN) & (pt > pt_min) & (np.abs(eta) < eta_max)
    lengths = tracks.counts
    track = np.repeat(np.arange(len(tracks)), lengths)
    particle = cluster_particle[tracks.hits]
    pairs, shared = np.unique(np.stack([track, particle]), axis=1, return_counts=True)
    best = np.full(len(tracks), -1, np.int64)
    good = (pairs[1] >= 0) & (shared >= SHARED_MIN * lengths[pairs[0]])
    good[good] &= shared[good] >= SHARED_MIN * hits[pairs[1][good]]
    order = np.flatnonzero(good)[np.argsort(shared[good], kind="stable")]  # the largest share is written last
    best[pairs[0][order]] = pairs[1][order]
    matched = np.flatnonzero(best >= 0)
    _, first = np.unique(best[matched], return_index=True)
    duplicate = best >= 0
    duplicate[matched[first]] = False
    of = best[matched]
    expected = perigee_of(truth, of, field, field_map)
    residual = tracks.parameters[matched] - expected
    residual[:, 2] = np.mod(residual[:, 2] + np.pi, 2 * np.pi) - np.pi
    sigma = np.sqrt(np.einsum("nii->ni", tracks.covariance[matched]))
    radius = np.hypot(truth.vertex[:, 0], truth.vertex[:, 1])
    return Matches(
        pt[wanted], eta[wanted], radius[wanted], np.bincount(of, minlength=len(truth))[wanted],
        best < 0, duplicate, residual, residual / sigma, pt[of], eta[of], radius[of],
    )  # fmt: skip


def perigee_of(
    truth: TrueParticles, rows: np.ndarray, field: float, field_map: FieldMap | None = None
) -> np.ndarray:
    """Return d0, z0, phi, theta and q / p of particles at the point of their helix nearest to the beam, (n, 5).

    In a mapped field particles are followed back through it.
    """
    if field_map is not None:
        return _perigee_in_map(truth, rows, field_map)
    x, y, z = truth.vertex[rows].T
    px, py, pz = truth.momentum[rows].T
    charge = truth.charge[rows].astype(np.float64)
    pt = np.hypot(px, py)
    phi, curvature = np.arctan2(py, px), -charge * GEV_PER_TESLA_MM * field / pt
    along = x * np.cos(phi) + y * np.sin(phi)
    across = y * np.cos(phi) - x * np.sin(phi)
    turn = np.arctan2(-curvature * along, 1 + curvature * across)
    end = phi + turn
    x = x + (np.sin(end) - np.sin(phi)) / curvature
    y = y - (np.cos(end) - np.cos(phi)) / curvature
    z = z + pz / pt * turn / curvature
    result: np.ndarray = np.stack(
        [
            y * np.cos(end) - x * np.sin(end),
            z,
            np.arctan2(np.sin(end), np.cos(end)),
            np.arctan2(pt, pz),
            charge / np.hypot(pt, pz),
        ],
        axis=1,
    )
    return result


def _perigee_in_map(truth: TrueParticles, rows: np.ndarray, field_map: FieldMap) -> np.ndarray:
    px, py, pz = truth.momentum[rows].T
    charge, pt = truth.charge[rows].astype(np.float64), np.hypot(px, py)
    curvature = curvature_of(charge, pt, field_map.nominal)
    helices = Helices(truth.vertex[rows].astype(np.float64), np.arctan2(py, px), pz / pt, curvature)
    for _ in range(BEAM_ROUNDS):
        here = bent_locally(helices, field_map)
        cosine, sine, (x, y, _) = np.cos(here.phi), np.sin(here.phi), here.position.T
        along, across = x * cosine + y * sine, y * cosine - x * sine
        turn = np.arctan2(-here.curvature * along, 1 + here.curvature * across)
        helices = advance_in_map(helices, turn / here.curvature, field_map)
    x, y, z = helices.position.T
    result: np.ndarray = np.stack(
        [
            y * np.cos(helices.phi) - x * np.sin(helices.phi),
            z,
            np.arctan2(np.sin(helices.phi), np.cos(helices.phi)),
            np.arctan2(1.0, helices.slope),
            charge / np.hypot(pt, pz),
        ],
        axis=1,
    )
    return result
