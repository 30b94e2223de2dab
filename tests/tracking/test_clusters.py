"""Clusters: the same as by the slow and obvious way, on random cells and on none."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tracking.reference import arrays, random_cells, touching_cells

from tamis.events.detector import sort_cells
from tamis.tracking.clusters import find_clusters, frames_of


@pytest.mark.parametrize(
    ("count", "modules", "span"), [(1, 1, 5), (60, 2, 10), (400, 7, 12), (500, 1, 30), (300, 200, 3)]
)
def test_cells_that_touch_also_at_corners_are_one_cluster(detector, count, modules, span):
    cells = random_cells(detector, count, modules, span, seed=count)
    frames = frames_of(detector.modules)
    clusters = find_clusters(arrays(cells), frames)
    groups = touching_cells(cells)
    assert len(clusters.module) == len(groups)
    assert sorted(clusters.first.tolist()) == [group[0] for group in groups]
    expected = {group[0]: group for group in groups}
    for k, first in enumerate(clusters.first.tolist()):
        group = expected[first]
        module, charge = cells.module[first], cells.charge[group].astype(np.float64)
        weight = charge / charge.sum()
        for axis, values in enumerate((cells.u, cells.v)):
            pitch, corner = detector.modules.pitch[module, axis], detector.modules.first[module, axis]
            place = corner + (weight @ (values[group] + 0.5)) * pitch
            assert clusters.local[k, axis] == pytest.approx(place, abs=2e-5)
            assert clusters.variance[k, axis] == pytest.approx(pitch**2 / 12 * (weight**2).sum(), rel=1e-5)
        axes = detector.modules.axes[module]
        space = detector.modules.centre[module] + clusters.local[k] @ axes[:2]
        np.testing.assert_allclose(clusters.position[k], space, atol=1e-4)
        assert clusters.size[k] == len(group)


def test_an_event_without_cells_has_no_clusters(detector):
    nothing = sort_cells(*(np.zeros(0) for _ in range(4)), detector.modules)
    assert len(find_clusters(arrays(nothing), frames_of(detector.modules)).module) == 0


def test_a_snake_through_a_module_is_one_cluster(detector):
    """Rows that touch only at their ends take the longest chain of joins."""
    u, v = [], []
    for row in range(0, 40, 2):
        u += [*range(50), 49 if row % 4 == 0 else 0]
        v += [*[row] * 50, row + 1]
    identifier = np.full(len(u), detector.modules.identifier[0])
    cells = sort_cells(identifier, np.array(u), np.array(v), np.ones(len(u)), detector.modules)
    clusters = find_clusters(arrays(cells), frames_of(detector.modules))
    assert clusters.size.tolist() == [len(u)]
