"""Pairs of strip modules: found whatever way the modules are turned and numbered, and not where there are none."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tamis._base import DataError
from tamis.events.detector import (
    BARREL,
    find_strip_pairs,
    generic_detector,
    pair_layers,
    read_detector,
    stereo_angles,
    strip_detector,
    write_detector,
)
from tamis.events.detector.identifiers import pack_identifier, unpack_identifier
from tamis.events.detector.layers import module_corners

DETECTOR = strip_detector()
MODULES = DETECTOR.modules
NUMBER = unpack_identifier(MODULES.identifier)[2]
SIDE = NUMBER % 2  # 1 for the outer module of each pair


def names_of(modules, pairs):
    return set(
        zip(modules.identifier[pairs.first].tolist(), modules.identifier[pairs.second].tolist(), strict=True)
    )


def reordered(**changes):
    modules = replace(MODULES, **changes)
    return modules.take(np.argsort(modules.identifier))


def turned(angle):
    """Return axes that are turned about the normals."""
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    u, v, normal = MODULES.axes.transpose(1, 0, 2)
    return np.stack([cosine * u + sine * v, cosine * v - sine * u, normal], axis=1)


def test_every_module_has_the_partner_that_it_was_made_with():
    pairs = find_strip_pairs(MODULES)
    assert len(pairs) == len(MODULES) / 2
    np.testing.assert_array_equal(NUMBER[pairs.first] // 2, NUMBER[pairs.second] // 2)
    for part in (MODULES.volume, MODULES.layer):
        np.testing.assert_array_equal(part[pairs.first], part[pairs.second])
    np.testing.assert_allclose(stereo_angles(MODULES, pairs), 0.04, rtol=1e-9)
    distance = np.linalg.norm(MODULES.centre, axis=1)
    assert (distance[pairs.first] < distance[pairs.second]).all()


def test_pairs_do_not_depend_on_how_modules_are_turned_or_numbered():
    expected = names_of(MODULES, DETECTOR.strip_pairs)
    along_u = reordered(
        axes=np.stack([MODULES.axes[:, 1], -MODULES.axes[:, 0], MODULES.axes[:, 2]], axis=1), half_v=MODULES.half_u[:, 0],
        half_u=np.stack([MODULES.half_v] * 2, axis=1), **{name: getattr(MODULES, name)[:, ::-1] for name in ("first", "pitch", "cells")},
    )  # fmt: skip
    assert names_of(along_u, find_strip_pairs(along_u)) == expected
    back = np.where(SIDE == 1, -1.0, 1.0)[:, None]
    u, v, normal = MODULES.axes.transpose(1, 0, 2)
    back_to_back = replace(MODULES, axes=np.stack([u, back * v, back * normal], axis=1))
    assert names_of(back_to_back, find_strip_pairs(back_to_back)) == expected
    layer = 2 * MODULES.layer + 2 * SIDE
    two_layers = reordered(layer=layer, identifier=pack_identifier(MODULES.volume, layer, NUMBER))
    pairs = find_strip_pairs(two_layers)
    assert len(pairs) == len(MODULES) / 2
    assert np.abs(two_layers.layer[pairs.first] - two_layers.layer[pairs.second]).tolist() == [2] * len(pairs)


@pytest.mark.parametrize("angle", [0.001, 0.2])
def test_small_and_large_angles_are_pairs(angle):
    modules = replace(MODULES, axes=turned(np.where(SIDE == 1, 1, -1) * (angle / 2 - 0.02)))
    pairs = find_strip_pairs(modules)
    assert names_of(modules, pairs) == names_of(MODULES, DETECTOR.strip_pairs)
    np.testing.assert_allclose(stereo_angles(modules, pairs), angle, rtol=1e-6)


def test_a_module_is_in_one_pair_with_the_nearest():
    """A third module behind each outer one crosses it as well, and is left alone."""
    outer = np.flatnonzero(SIDE == 1)
    behind = MODULES.take(outer)
    layer = behind.layer - 1  # so that its row comes first
    behind = replace(
        behind, centre=behind.centre + 5 * behind.axes[:, 2], axes=turned(np.full(len(MODULES), 0.03))[outer], layer=layer,
        identifier=pack_identifier(behind.volume, layer, NUMBER[outer]),
    )  # fmt: skip
    joined = {name: np.concatenate([getattr(MODULES, name), getattr(behind, name)]) for name in vars(MODULES)}
    modules = replace(MODULES, **joined)
    modules = modules.take(np.argsort(modules.identifier))
    assert names_of(modules, find_strip_pairs(modules)) == names_of(MODULES, DETECTOR.strip_pairs)


def test_where_nothing_crosses_there_are_no_pairs():
    assert len(generic_detector().strip_pairs) == 0
    parallel = replace(MODULES, axes=turned(np.where(SIDE == 1, -0.02, 0.02)))
    assert len(find_strip_pairs(parallel)) == 0
    apart = replace(MODULES, centre=MODULES.centre + 20 * SIDE[:, None] * MODULES.axes[:, 2])
    assert len(find_strip_pairs(apart)) == 0
    # Neighbours on a disk cross at the angle between them, but lie side by side.
    assert len(find_strip_pairs(MODULES.take(np.flatnonzero(SIDE == 1)))) == 0
    square = np.array([0.08, 0.08])
    pixels = replace(
        MODULES,
        pitch=np.tile(square, (len(MODULES), 1)),
        cells=np.rint(-2 * MODULES.first / square).astype(int),
    )
    assert len(find_strip_pairs(pixels)) == 0
    assert len(find_strip_pairs(MODULES.take(np.arange(0)))) == 0


def test_layers_of_pairs_reach_both_modules():
    layers = pair_layers(DETECTOR)
    assert [len(layer.rows) for layer in layers] == [len(layer.rows) / 2 for layer in DETECTOR.layers]
    second = dict(zip(DETECTOR.strip_pairs.first, DETECTOR.strip_pairs.second, strict=True))
    for layer in layers:
        rows = np.append(layer.rows, [second[row] for row in layer.rows])
        corners = module_corners(MODULES, rows)
        radius = np.hypot(corners[..., 0], corners[..., 1])
        for low, high, values in ((*layer.r, radius), (*layer.z, corners[..., 2])):
            assert low <= values.min() + 1e-9
            assert high >= values.max() - 1e-9
        assert (layer.kind == BARREL) == (MODULES.volume[layer.rows[0]] == 23)


@pytest.mark.parametrize("detector", [DETECTOR, generic_detector()], ids=["strips", "generic"])
def test_a_detector_that_is_written_is_read_back(detector, tmp_path):
    write_detector(detector, tmp_path / "detectors.csv", tmp_path / "digi.json")
    found = read_detector(tmp_path / "detectors.csv", tmp_path / "digi.json").modules
    for name, values in vars(detector.modules).items():
        if name not in ("material", "half_u"):
            np.testing.assert_allclose(getattr(found, name), values, rtol=1e-9, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(found.half_u, detector.modules.half_u, atol=1e-9)


def one_dimensional(path, axes):
    value = {"geometric": {"segmentation": {"binningdata": axes}}}
    path.write_text(json.dumps({"entries": [{"volume": volume, "value": value} for volume in (22, 23, 24)]}))
    return path


def test_strips_may_be_divided_across_them_only(tmp_path):
    write_detector(DETECTOR, tmp_path / "detectors.csv", tmp_path / "digi.json")
    across = {"bins": 1200, "min": -48.0, "max": 48.0, "value": "binX"}
    found = read_detector(
        tmp_path / "detectors.csv", one_dimensional(tmp_path / "one.json", [across])
    ).modules
    assert set(map(tuple, found.cells.tolist())) == {(1200, 1)}
    np.testing.assert_allclose(found.pitch[:, 1], 2 * MODULES.half_v)
    np.testing.assert_allclose(found.first[:, 1], -MODULES.half_v)
    assert len(find_strip_pairs(found)) == len(DETECTOR.strip_pairs)


def test_strips_in_polar_coordinates_are_rejected(tmp_path):
    write_detector(DETECTOR, tmp_path / "detectors.csv", tmp_path / "digi.json")
    axes = [{"bins": 10, "min": 0.0, "max": 1.0, "value": name} for name in ("binR", "binPhi")]
    with pytest.raises(DataError, match="volume 22 along binR, binPhi: only cells along binX and binY"):
        read_detector(tmp_path / "detectors.csv", one_dimensional(tmp_path / "polar.json", axes))
