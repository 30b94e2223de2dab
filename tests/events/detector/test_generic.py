"""The generic detector: as many modules as ACTS', on cylinders and disks, each a right-handed frame that faces outwards."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.events.detector import BARREL, DISK, generic_detector
from tamis.events.detector.identifiers import pack_identifier, unpack_identifier
from tamis.events.detector.layers import module_corners


@pytest.fixture(scope="module")
def detector():
    return generic_detector()


def test_it_has_the_modules_of_the_challenge(detector):
    modules = detector.modules
    assert len(modules) == 18_728
    counts = {int(v): int((modules.volume == v).sum()) for v in np.unique(modules.volume)}
    assert counts == {7: 756, 8: 2492, 9: 756, 12: 1020, 13: 5796, 14: 1020, 16: 588, 17: 5712, 18: 588}
    assert (np.diff(modules.identifier.astype(np.int64)) > 0).all()


def test_modules_are_rotated_not_sheared(detector):
    axes = detector.modules.axes
    np.testing.assert_allclose(
        axes @ axes.transpose(0, 2, 1), np.broadcast_to(np.eye(3), axes.shape), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(axes), 1)


def test_a_known_module_is_where_acts_has_it(detector):
    """The first modules of volumes 7 and 8, from the geometry file of ACTS 48."""
    modules = detector.modules
    for identifier, centre, across in (
        (504403295704449280, (-65.7965469, -5.17830038, -1502.5), (0.0784590989, -0.996917307, 0.0)),
        (int(pack_identifier(8, 2, 1)), (-31.63, -6.29, -455.0), (0.33004338, -0.94396573, 0.0)),
    ):
        row = np.searchsorted(modules.identifier, np.uint64(identifier))
        assert modules.identifier[row] == identifier
        np.testing.assert_allclose(modules.centre[row], centre, atol=0.01)
        np.testing.assert_allclose(modules.axes[row, 0], across, atol=1e-6)


def test_layers_are_cylinders_and_disks_that_hold_their_modules(detector):
    kinds = [layer.kind for layer in detector.layers]
    assert (kinds.count(BARREL), kinds.count(DISK)) == (10, 38)
    for layer in detector.layers:
        corners = module_corners(detector.modules, layer.rows)
        radius, z = np.hypot(corners[..., 0], corners[..., 1]), corners[..., 2]
        assert layer.r[0] <= radius.min()
        assert layer.r[1] >= radius.max()
        assert layer.z[0] <= z.min() <= layer.position <= z.max() or layer.kind == BARREL


def test_identifiers_come_back():
    parts = np.array([1, 255]), np.array([2, 4095]), np.array([0, 2**20 - 1])
    for before, after in zip(parts, unpack_identifier(pack_identifier(*parts)), strict=True):
        np.testing.assert_array_equal(before, after)
