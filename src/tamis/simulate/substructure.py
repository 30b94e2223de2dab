"""Jet substructure: N-subjettiness and soft drop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np

from tamis.events.kinematics import expand_ranges
from tamis.simulate.jets import AXES, ClusteredJets, fastjet, grouped

ALL_IN_ONE_RADIUS = 1000.0  # all particles end in one jet
SOFT_DROP_Z_CUT = 0.1


def subjettiness(jets: ClusteredJets, momenta: np.ndarray, most: int, radius: float) -> np.ndarray:
    """Return tau_1, tau_2, ... with beta = 1 and exclusive-kT axes, normalised by the jet radius: (jets, most)."""
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


@dataclass(frozen=True)
class GroomedJets:
    """The jets after grooming, in the order of the jets."""

    momenta: np.ndarray  # (4, jets): px, py, pz, E in GeV
    offsets: np.ndarray  # of each jet's remaining constituents
    constituents: np.ndarray  # indices of candidates, by descending transverse momentum

    @property
    def mass(self) -> np.ndarray:
        """Return the groomed masses."""
        px, py, pz, energy = self.momenta
        return np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0.0))


def soft_drop(jets: ClusteredJets, momenta: np.ndarray) -> GroomedJets:
    """Return the jets after soft drop with beta = 0 (the modified mass drop) and z_cut = 0.1.

    Each iteration undoes one Cambridge/Aachen clustering in all jets at once, and follows the harder branch if the softer
    one fails the cut. FastJet's own grooming gives the same result twenty times more slowly.
    """
    if len(jets) == 0:
        return GroomedJets(np.zeros((4, 0)), np.zeros(1, np.int64), np.zeros(0, np.int64))
    tree = _tree(_sequence(momenta[:, jets.constituents], jets.offsets), jets.multiplicity)
    pt = np.hypot(tree.momenta[0], tree.momenta[1])
    node, following = tree.root.copy(), np.arange(len(jets))
    while len(following):
        following = following[tree.left[node[following]] >= 0]
        at = node[following]
        left, right = tree.left[at], at - 1
        failed = np.minimum(pt[left], pt[right]) < SOFT_DROP_Z_CUT * (pt[left] + pt[right])
        following = following[failed]
        node[following] = np.where(pt[left] > pt[right], left, right)[failed]
    first = node.copy()  # a branch is contiguous, from its leftmost particle to its root
    while (inner := tree.left[first] >= 0).any():
        first[inner] = tree.left[first[inner]]
    jet, at = expand_ranges(first, node + 1 - first)
    is_particle = tree.left[at] < 0
    jet, leaf = jet[is_particle], tree.particle[at[is_particle]]
    order = np.lexsort((leaf, jet))
    return GroomedJets(
        momenta=tree.momenta[:, node],
        offsets=np.searchsorted(jet, np.arange(len(jets) + 1)),
        constituents=jets.constituents[(jets.offsets[jet] + leaf)[order]],
    )


@dataclass(frozen=True)
class ClusteringTrees:
    """The clustering trees of all jets, with nodes in postorder: the right child of a node directly precedes it."""

    momenta: np.ndarray  # (4, nodes)
    left: np.ndarray  # the left child of each node, -1 for particles
    particle: np.ndarray  # the particle that a node without children is, by its place in the jet
    root: np.ndarray  # the root of each jet's tree


def _tree(sequence: Any, particles: np.ndarray) -> ClusteringTrees:
    """Return the trees of the jets.

    FastJet's unique history order is a postorder. As a stack program (a particle pushes, a merger pops two and pushes one),
    a merger's left child was completed when the stack last had the height that it has after the merger.
    """
    nodes = 2 * particles - 1
    end = np.cumsum(nodes)
    jet = np.repeat(np.arange(len(particles)), nodes)
    name = ak.to_numpy(
        ak.flatten(sequence.unique_history_order()[:, :-1])
    )  # without the last, the merger with the beam
    particle = name < particles[jet]
    height = np.cumsum(np.where(particle, 1, -1)) - jet  # each earlier jet leaves one entry on the stack
    alike = np.lexsort((height, jet))
    same = (height[alike[1:]] == height[alike[:-1]]) & (jet[alike[1:]] == jet[alike[:-1]])
    left = np.full(len(name), -1)
    left[alike[1:][same]] = alike[:-1][same]
    left[particle] = -1
    particles_and_jets = ak.flatten(sequence.jets())
    momenta = np.stack([ak.to_numpy(particles_and_jets[axis]) for axis in AXES])
    return ClusteringTrees(momenta[:, name + (end - nodes)[jet]], left, name, end - 1)


def _sequence(momenta: np.ndarray, offsets: np.ndarray) -> Any:
    library = fastjet()
    definition = library.JetDefinition(library.cambridge_algorithm, ALL_IN_ONE_RADIUS)
    return library.ClusterSequence(grouped(momenta, offsets), definition)
