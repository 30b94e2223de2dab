"""Which modules of a layer a particle may cross: a table over azimuth and z (or radius)."""

from __future__ import annotations

import numpy as np

from tamis.events.detector import BARREL, DetectorLayer, Modules, TrackingDetector
from tamis.events.detector.layers import module_corners
from tamis.events.kinematics import expand_ranges

BINS_PHI, BINS_ALONG = 360, 64
MARGIN_MM = 3.0  # a layer is thicker than its mean surface


def candidate_tables(detector: TrackingDetector) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of modules by layer, azimuth, place along the layer and number, -1 where there are no more; and the ends of those places."""
    found = [_bins(detector.modules, layer) for layer in detector.layers]
    ends = np.array([(low, high) for _, _, low, high in found])
    place = np.concatenate([bins + number * BINS_PHI * BINS_ALONG for number, (bins, *_) in enumerate(found)])
    module = np.concatenate([rows for _, rows, *_ in found])
    order = np.lexsort((module, place))
    place, module = place[order], module[order]
    number = np.arange(len(place)) - np.searchsorted(place, place)
    tables = np.full((len(found) * BINS_PHI * BINS_ALONG, int(number.max(initial=0)) + 1), -1, np.int32)
    tables[place, number] = module
    return tables.reshape(len(found), BINS_PHI, BINS_ALONG, -1), ends


def _bins(modules: Modules, layer: DetectorLayer) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return the bins that modules of a layer reach, the modules, and the ends of the bins along the layer."""
    low, high = layer.z if layer.kind == BARREL else layer.r
    low, high = low - MARGIN_MM, high + MARGIN_MM
    corners = module_corners(modules, layer.rows)
    radius = np.hypot(corners[..., 0], corners[..., 1])
    centre = modules.centre[layer.rows]
    middle = np.arctan2(centre[:, 1], centre[:, 0])
    phi = np.arctan2(corners[..., 1], corners[..., 0]) - middle[:, None]
    phi = np.mod(phi + np.pi, 2 * np.pi) - np.pi
    pad = MARGIN_MM / radius.min(axis=1)
    width = 2 * np.pi / BINS_PHI
    first = np.floor((middle + phi.min(axis=1) - pad + np.pi) / width).astype(np.int64)
    last = np.floor((middle + phi.max(axis=1) + pad + np.pi) / width).astype(np.int64)
    along = corners[..., 2] if layer.kind == BARREL else radius
    inner = along.min(axis=1)
    if layer.kind != BARREL:  # the middle of the inner edge is nearer than its corners
        inner = np.minimum(inner, np.hypot(centre[:, 0], centre[:, 1]) - modules.half_v[layer.rows])
    ends = np.stack([inner - MARGIN_MM, along.max(axis=1) + MARGIN_MM])
    begin, end = np.clip(
        np.floor((ends - low) / (high - low) * BINS_ALONG).astype(np.int64), 0, BINS_ALONG - 1
    )
    module, i = expand_ranges(first, last - first + 1)
    which, j = expand_ranges(begin[module], (end - begin + 1)[module])
    return (i[which] % BINS_PHI) * BINS_ALONG + j, layer.rows[module[which]], low, high
