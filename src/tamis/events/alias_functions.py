"""Functions of aliases: columns of a file as the standard columns that features and menus read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import awkward as ak
import numpy as np

from tamis.events.missing_values import MISSING

_CHARGED = (11, 13, 15)  # leptons: the particle is negative
_NEUTRAL = (0, 1, 2, 12, 14, 16, 22, 111, 130, 310, 2112)  # 1 and 2: energy in the forward calorimeters


def _first(values: ak.Array) -> ak.Array:
    """Return the first value of every list: missing if the list is empty."""
    return _at(values, 0)


def _last(values: ak.Array) -> ak.Array:
    """Return the last value of every list: missing if the list is empty."""
    return _at(values, -1)


def _first_pt(px: ak.Array, py: ak.Array) -> ak.Array:
    """Return the transverse momentum of the first of a list: missing if the list is empty."""
    return np.hypot(_first(px), _first(py))


def _first_phi(px: ak.Array, py: ak.Array) -> ak.Array:
    """Return the azimuth of the first of a list: missing if the list is empty."""
    return np.arctan2(_first(py), _first(px))


def _at(values: ak.Array, index: int) -> ak.Array:
    lists = ak.values_astype(values, np.float32)
    filled = ak.fill_none(ak.pad_none(lists, 1, clip=False), MISSING)
    return filled[:, index]


def _pt(px: Any, py: Any) -> Any:
    """Return the transverse momentum."""
    return np.hypot(px, py)


def _phi(px: Any, py: Any) -> Any:
    """Return the azimuth."""
    return np.arctan2(py, px)


def _eta(px: Any, py: Any, pz: Any) -> Any:
    """Return the pseudorapidity."""
    return np.arcsinh(pz / np.hypot(px, py))


def _eta_of_theta(theta: Any) -> Any:
    """Return the pseudorapidity of a polar angle."""
    return -np.log(np.tan(theta / 2))


def _mass(energy: Any, px: Any, py: Any, pz: Any) -> Any:
    """Return the invariant mass, negative for a negative square."""
    square = energy * energy - px * px - py * py - pz * pz
    return np.sqrt(abs(square)) * np.sign(square)


def _divide(a: Any, b: Any) -> Any:
    """Return A / B."""
    return a / b


def _charge(pdg_id: ak.Array) -> ak.Array:
    """Return the charge of particle-flow candidates by their PDG identifier."""
    flat = ak.to_numpy(ak.flatten(pdg_id, axis=None))
    kind = abs(flat)
    size = np.where(np.isin(kind, _NEUTRAL), 0, np.where(np.isin(kind, _CHARGED), -1, 1))
    return ak.unflatten((np.sign(flat) * size).astype(np.int32), ak.num(pdg_id))


def _nearest(
    jet_eta: ak.Array, jet_phi: ak.Array, eta: ak.Array, phi: ak.Array, radius: float
) -> tuple[ak.Array, ak.Array]:
    """Return the index of the nearest jet of every candidate within a radius of any, and that of the candidate."""
    pairs = ak.cartesian(
        {"eta": ak.local_index(eta, axis=1), "jet": ak.local_index(jet_eta, axis=1)}, axis=1, nested=True
    )
    jet, candidate = pairs.jet, pairs.eta
    d_eta = eta[:, :, np.newaxis] - jet_eta[:, np.newaxis, :]
    d_phi = (phi[:, :, np.newaxis] - jet_phi[:, np.newaxis, :] + np.pi) % (2 * np.pi) - np.pi
    distance = d_eta * d_eta + d_phi * d_phi
    nearest = ak.argmin(distance, axis=-1, keepdims=True)
    inside = ak.flatten(ak.fill_none(distance[nearest] < radius * radius, False, axis=-1), axis=-1)
    jets = ak.flatten(jet[nearest], axis=-1)
    candidates = ak.flatten(candidate[nearest], axis=-1)
    return (
        ak.values_astype(ak.drop_none(jets[inside], axis=-1), np.int32),
        ak.values_astype(ak.drop_none(candidates[inside], axis=-1), np.int32),
    )


def _jet_of_candidate(*columns: Any) -> ak.Array:
    """Return, for every candidate within the radius of a jet, the index of the nearest jet."""
    return _nearest(*columns)[0]


def _candidate_of_jet(*columns: Any) -> ak.Array:
    """Return the indices of the candidates within the radius of a jet."""
    return _nearest(*columns)[1]


# name -> its columns, for messages, and the function
ALIAS_FUNCTIONS: dict[str, tuple[tuple[str, ...], Callable[..., Any]]] = {
    "first": (("LIST",), _first),
    "last": (("LIST",), _last),
    "first_pt": (("PX", "PY"), _first_pt),
    "first_phi": (("PX", "PY"), _first_phi),
    "pt": (("PX", "PY"), _pt),
    "phi": (("PX", "PY"), _phi),
    "eta": (("PX", "PY", "PZ"), _eta),
    "eta_of_theta": (("THETA",), _eta_of_theta),
    "mass": (("E", "PX", "PY", "PZ"), _mass),
    "divide": (("A", "B"), _divide),
    "charge": (("PDG_ID",), _charge),
    "jet_within": (("JET_ETA", "JET_PHI", "ETA", "PHI", "RADIUS"), _jet_of_candidate),
    "candidate_within": (("JET_ETA", "JET_PHI", "ETA", "PHI", "RADIUS"), _candidate_of_jet),
}
