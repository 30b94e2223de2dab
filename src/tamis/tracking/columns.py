"""Tracks as columns of numbers, under the names that files and menus have."""

from __future__ import annotations

import numpy as np

from tamis.tracking.chain import Tracks

TRACK_PARAMETERS = ("d0", "dz", "phi", "theta", "qop")
TRACK_TYPES: dict[str, type] = {
    **{name + suffix: np.float32 for name in TRACK_PARAMETERS for suffix in ("", "Err")},
    "pt": np.float32,
    "eta": np.float32,
    "charge": np.int16,
    "chi2": np.float32,
    "nHits": np.int16,
    "nHoles": np.int16,
}


def track_values(tracks: Tracks) -> dict[str, np.ndarray]:
    """Return the columns of `TRACK_TYPES` for the tracks of one event; lengths in mm, momenta in GeV."""
    parameters, covariance = tracks.parameters, tracks.covariance
    values: dict[str, np.ndarray] = {}
    for k, name in enumerate(TRACK_PARAMETERS):
        values[name] = parameters[:, k]
        values[f"{name}Err"] = np.sqrt(np.maximum(covariance[:, k, k], 0))
    values["pt"], values["eta"], values["charge"] = tracks.pt, tracks.eta, np.sign(parameters[:, 4])
    values["chi2"], values["nHits"], values["nHoles"] = tracks.chi2, tracks.counts, tracks.holes
    return {name: values[name].astype(kind) for name, kind in TRACK_TYPES.items()}
