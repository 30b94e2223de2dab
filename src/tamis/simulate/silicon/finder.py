"""Which modules of a layer a particle may cross: a table over azimuth and z (or radius)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.events.detector import BARREL, Layer, Modules
from tamis.events.detector.layers import module_corners

BINS_PHI, BINS_ALONG = 360, 64
MARGIN_MM = 3.0  # a layer is thicker than its mean surface


@dataclass(frozen=True)
class ModuleTable:
    """`candidates[phi, along]` are rows of modules, -1 where there are no more."""

    layer: Layer
    low: float
    high: float
    candidates: np.ndarray  # (phi, along, candidates)

    def near(self, position: np.ndarray) -> np.ndarray:
        """Return the candidates at positions, (n, candidates)."""
        along = position[:, 2] if self.layer.kind == BARREL else np.hypot(position[:, 0], position[:, 1])
        phi = np.arctan2(position[:, 1], position[:, 0])
        i = np.floor((phi + np.pi) / (2 * np.pi) * BINS_PHI).astype(int) % BINS_PHI
        j = np.floor((along - self.low) / (self.high - self.low) * BINS_ALONG).astype(int)
        found = self.candidates[i, np.clip(j, 0, BINS_ALONG - 1)]
        return np.where(((j >= 0) & (j < BINS_ALONG))[:, None], found, -1)


def module_table(modules: Modules, layer: Layer) -> ModuleTable:
    """Return the table of a layer."""
    low, high = layer.z if layer.kind == BARREL else layer.r
    low, high = low - MARGIN_MM, high + MARGIN_MM
    corners = module_corners(modules, layer.rows)
    radius = np.hypot(corners[..., 0], corners[..., 1])
    middle = np.arctan2(modules.centre[layer.rows, 1], modules.centre[layer.rows, 0])
    phi = np.arctan2(corners[..., 1], corners[..., 0]) - middle[:, None]
    phi = np.mod(phi + np.pi, 2 * np.pi) - np.pi
    along = corners[..., 2] if layer.kind == BARREL else radius
    bins: dict[tuple[int, int], list[int]] = {}
    width = 2 * np.pi / BINS_PHI
    for k, row in enumerate(layer.rows):
        pad = MARGIN_MM / radius[k].min()
        first = int(np.floor((middle[k] + phi[k].min() - pad + np.pi) / width))
        last = int(np.floor((middle[k] + phi[k].max() + pad + np.pi) / width))
        inner = along[k].min()
        if layer.kind != BARREL:  # the middle of the inner edge is nearer than its corners
            inner = min(inner, float(np.hypot(*modules.centre[row, :2])) - modules.half_v[row])
        ends = np.array([inner - MARGIN_MM, along[k].max() + MARGIN_MM])
        begin, end = np.clip(
            np.floor((ends - low) / (high - low) * BINS_ALONG).astype(int), 0, BINS_ALONG - 1
        )
        for i in range(first, last + 1):
            for j in range(begin, end + 1):
                bins.setdefault((i % BINS_PHI, j), []).append(int(row))
    most = max(map(len, bins.values()))
    candidates = np.full((BINS_PHI, BINS_ALONG, most), -1, np.int32)
    for (i, j), found in bins.items():
        candidates[i, j, : len(found)] = found
    return ModuleTable(layer, low, high, candidates)
