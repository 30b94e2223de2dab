from __future__ import annotations

from collections.abc import Callable

import awkward as ak
import numpy as np
import pytest

from tamis.events import Events

MakeEvents = Callable[..., Events]


@pytest.fixture
def make_events() -> MakeEvents:
    """Return a function that builds events like those of the simulation, reproducibly."""

    def make(count: int, *, first: int = 0, constituents: int = 30) -> Events:
        rng = np.random.default_rng([count, first])
        n_jets, n_candidates = rng.integers(0, 4, count), rng.integers(0, 2 * constituents, count)

        def lists(counts: np.ndarray, dtype: str) -> ak.Array:
            # rounded, so that the file compresses and has checksums
            return ak.unflatten(np.round(rng.normal(0, 20, counts.sum())).astype(dtype), counts)

        return Events.of(
            {
                "run": np.full(count, 3, np.uint32),
                "luminosityBlock": np.full(count, 7, np.uint32),
                "event": np.arange(first, first + count, dtype=np.uint64),
                "genWeight": rng.normal(size=count).astype(np.float32),
                "MET_pt": rng.normal(size=count),
                "HLT_Jet": rng.random(count) > 0.5,
                "vertex": rng.normal(size=(count, 3)).astype(np.float32),
                "FatJet_pt": lists(n_jets, "f4"),
                "FatJet_jetId": lists(n_jets, "i4"),
                "FatJet_nBHadrons": lists(n_jets, "u1"),
                "FatJet_tight": lists(n_jets, "?"),
                "PFCands_pt": lists(n_candidates, "f4"),
                "PFCands_pdgId": lists(n_candidates, "i4"),
                "PFCands_dz": lists(n_candidates, "f8"),
                "LHEPdfWeight": lists(np.full(count, 5), "f4"),
            }
        )

    return make


@pytest.fixture
def same() -> Callable[[Events, Events], bool]:
    """Return a function that compares two batches bit by bit with their types, in any order of the columns."""

    def compare(left: Events, right: Events) -> bool:
        return set(left.schema) == set(right.schema) and all(
            ak.array_equal(left[column.name], right[column.name], equal_nan=True) for column in left.schema
        )

    return compare
