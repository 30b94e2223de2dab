"""Seeding: the triplets of the grid search are those of a search over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tracking import reference

from tamis.events.detector import sort_cells
from tamis.simulate.silicon import TrackSample, simulate_tracks
from tamis.tracking.reading import cell_columns
from tamis.tracking.seeding import SeedFinder, seeding_layers
from tamis.tracking.steps import SpacePoints, TrackSeeds

NAMES = ("x", "y", "z", "variance_r", "variance_z", "layer")


@pytest.fixture(scope="module")
def points(detector, reconstruction):
    """Space points of sixty soft pions in one event: their triplets mix."""
    (batch,) = simulate_tracks(TrackSample("pion", particles=60, pt=(0.5, 3.0)), 1, seed=2)
    columns = cell_columns(batch, 0)
    cells = sort_cells(*columns.values(), detector.modules)
    return reconstruction.space_points(reconstruction.clusters(cells))


@pytest.fixture(scope="module")
def finder(detector):
    return SeedFinder(seeding_layers(detector), detector.field)


def as_sets(seeds):
    by_middle: dict[int, dict[tuple[int, int], float]] = {}
    for (inner, middle, outer), weight in zip(seeds.points.tolist(), seeds.weight.tolist(), strict=True):
        by_middle.setdefault(middle, {})[inner, outer] = weight
    return by_middle


def test_triplets_are_those_of_all_pairs(points, finder):
    arrays = {name: getattr(points, name) for name in NAMES}
    radius = np.hypot(points.x, points.y)
    links = finder.links
    linked = [
        {layer: table[layer, :count] for layer, count in enumerate(counts)}
        for counts, table in ((links.outer_count, links.outer), (links.inner_count, links.inner))
    ]
    low, high = finder.settings.middle_radius
    middles = np.flatnonzero((radius > low) & (radius < high))
    expected = reference.triplets(arrays, middles, finder.cuts, linked)
    found = as_sets(finder(points))
    total = sum(min(len(one), finder.cuts.most) for one in expected.values())
    assert total > 100
    wrong = 0
    for middle, all_of_it in expected.items():
        best = sorted(all_of_it.items(), key=lambda one: -one[1])[: finder.cuts.most]
        mine = found.get(middle, {})
        wrong += len(set(mine) ^ {key for key, _ in best})
        for key, weight in mine.items():
            if key in all_of_it:
                assert weight == pytest.approx(all_of_it[key], abs=1e-2)
    assert wrong <= 0.01 * total  # float32 decides otherwise at the edge of a cut


def test_without_points_there_are_no_seeds(finder):
    nothing = SpacePoints(
        *(np.zeros(0, np.float32) for _ in range(5)),
        *(np.zeros(0, np.int32) for _ in range(3)),
        *(np.zeros(0, np.float32) for _ in range(3)),
    )
    seeds = finder(nothing)
    assert isinstance(seeds, TrackSeeds)
    assert len(seeds) == 0


def test_many_points_at_one_place_need_room_and_get_it(finder):
    """Two hundred tracks in one direction give a middle point more pairs than there is room for at first."""
    random = np.random.default_rng(1)
    layers = [(layer, k) for k, layer in enumerate(finder.layers) if layer.kind == 0][:4]
    x, y, z, number = [], [], [], []
    for layer, k in layers:
        angle = random.uniform(0, 0.02, 200)
        r = layer.position
        x += (r * np.cos(angle)).tolist()
        y += (r * np.sin(angle)).tolist()
        z += random.uniform(0, 5, 200).tolist()
        number += [k] * 200
    small = np.full(len(x), 1e-4, np.float32)
    crowd = SpacePoints(
        *(np.array(v, np.float32) for v in (x, y, z)),
        small,
        small,
        np.array(number, np.int32),
        np.arange(len(x)),
        np.full(len(x), -1),
        *np.zeros((3, len(x)), np.float32),
    )
    seeds = finder(crowd)
    per_middle = np.unique(seeds.points[:, 1], return_counts=True)[1]
    assert per_middle.max() == finder.cuts.most
    assert len(per_middle) > 150
