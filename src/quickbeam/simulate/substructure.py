"""What is inside a jet: N-subjettiness and the soft-drop mass."""

from __future__ import annotations

import awkward as ak
import numpy as np

from quickbeam.simulate.jets import Jets, fastjet, grouped, sums

ANY_RADIUS = 1000.0  # everything that is given goes into one jet
SOFT_DROP_Z_CUT = 0.1


def subjettiness(jets: Jets, momenta: np.ndarray, most: int, radius: float) -> np.ndarray:
    """Return (jets, most): tau_1, tau_2 ... with beta = 1 and exclusive-kT axes, normalised by the jet radius."""
    if len(jets) == 0:
        return np.zeros((0, most))
    sequence = _sequence(momenta[:, jets.constituents], jets.offsets)
    taus = sequence.njettiness(
        njets=list(range(1, most + 1)),
        measure_definition="NormalizedMeasure",
        axes_definition="KT_Axes",
        beta=1.0,
        R0=radius,
    )
    return ak.to_numpy(taus)


def soft_drop_mass(jets: Jets, momenta: np.ndarray) -> np.ndarray:
    """Return the masses after soft drop with beta = 0 (the modified mass drop) and z_cut = 0.1.

    Each round undoes the last Cambridge/Aachen clustering of all jets at once and follows the harder branch
    where the softer one is too soft. (FastJet's own grooming is called jet by jet, and ten times slower.)
    """
    groomed = np.zeros(len(jets))
    rows, sizes, names = jets.constituents, jets.multiplicity, np.arange(len(jets))
    while len(names):
        owner = np.repeat(np.arange(len(names)), sizes)
        momentum = sums(momenta[:, rows], owner, len(names))
        groomed[names] = _mass(momentum)
        splits = sizes > 1
        rows, sizes, names = rows[np.repeat(splits, sizes)], sizes[splits], names[splits]
        if len(names):
            rows, sizes, names = _harder_branches(rows, sizes, names, momenta)
    return groomed


def _harder_branches(
    rows: np.ndarray, sizes: np.ndarray, names: np.ndarray, momenta: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the harder branch of each jet whose softer one fails the cut; the others are done."""
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    branches = _sequence(momenta[:, rows], offsets).exclusive_jets_constituent_index(njets=2)
    inner = ak.to_numpy(ak.flatten(ak.num(branches, axis=2)))
    local = ak.to_numpy(ak.flatten(branches + offsets[:-1], axis=None))
    momentum = sums(momenta[:, rows[local]], np.repeat(np.arange(len(inner)), inner), len(inner))
    pt = np.hypot(momentum[0], momentum[1]).reshape(-1, 2)
    failed = pt.min(axis=1) < SOFT_DROP_Z_CUT * pt.sum(axis=1)
    followed = np.zeros_like(pt, bool)
    followed[np.arange(len(pt)), pt.argmax(axis=1)] = failed
    kept = np.repeat(followed.ravel(), inner)
    return rows[local[kept]], inner.reshape(-1, 2)[followed], names[failed]


def _sequence(momenta: np.ndarray, offsets: np.ndarray) -> ak.Array:
    library = fastjet()
    definition = library.JetDefinition(library.cambridge_algorithm, ANY_RADIUS)
    return library.ClusterSequence(grouped(momenta, offsets), definition)


def _mass(momentum: np.ndarray) -> np.ndarray:
    px, py, pz, energy = momentum
    return np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0.0))
