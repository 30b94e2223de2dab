"""Cells of a uniform grid in eta and phi: showers shared among cells, smeared, and cut at a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tamis.simulate.calorimeter import Calorimeter, relative_resolution
from tamis.simulate.seeds import Seeds
from tamis.simulate.showers import Showers

SHARED_ET_MIN_GEV = 1.0  # softer showers stay in one cell
GRID_ETA_LIMIT = 3.0


@dataclass(frozen=True)
class Grid:
    """Cells of one size, and the width of showers in them: two Gaussians, a core and a tail."""

    name: str
    turns: int  # cells in phi
    reach: int  # number of neighbours on each side that share a shower
    core: float  # in cells
    tail: float
    tail_share: float
    threshold_gev: float  # of the transverse energy of a cell

    @property
    def width(self) -> float:
        """Return the size of a cell in eta and in phi."""
        return 2 * np.pi / self.turns


@dataclass(frozen=True)
class Cells:
    """Cells above threshold, in event order; eta and phi of their centres."""

    event: np.ndarray
    et: np.ndarray
    eta: np.ndarray
    phi: np.ndarray


def fill_cells(showers: Showers, grid: Grid, calorimeter: Calorimeter, seeds: Seeds) -> Cells:
    """Share showers among cells, and smear the energy of each cell with the resolution of the calorimeter."""
    key, energy = _shares(showers, grid)
    cell, owner = np.unique(key, return_inverse=True)
    energy = np.bincount(owner, energy, minlength=len(cell))
    rest, i_phi = np.divmod(cell, grid.turns)
    event, i_eta = np.divmod(rest, 2 * _half(grid))
    eta = (i_eta - _half(grid) + 0.5) * grid.width
    sigma = relative_resolution(calorimeter, eta, np.maximum(energy, 1e-6))
    noise = seeds.stream(f"low-level {grid.name}").standard_normal(len(cell))
    et = energy * (1.0 + sigma * noise) / np.cosh(eta)
    kept = (et > grid.threshold_gev) & (np.abs(eta) < GRID_ETA_LIMIT)
    return Cells(event[kept], et[kept], eta[kept], ((i_phi + 0.5) * grid.width - np.pi)[kept])


def _half(grid: Grid) -> int:
    """Return the number of rings on each side: those in the acceptance, and 8 for leakage."""
    return int(GRID_ETA_LIMIT / grid.width) + 8


def _shares(showers: Showers, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return the cell and the energy of every share; hard showers are spread over neighbouring cells."""
    inside = showers.take(np.abs(showers.eta) < GRID_ETA_LIMIT)
    u, v = inside.eta / grid.width, (inside.phi + np.pi) / grid.width
    i, j = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    hard = inside.energy / np.cosh(inside.eta) > SHARED_ET_MIN_GEV
    soft_key = _key(inside.event[~hard], i[~hard], j[~hard], grid)
    steps = np.arange(-grid.reach, grid.reach + 1)
    edges = np.arange(-grid.reach, grid.reach + 2)
    weights = np.zeros((int(hard.sum()), len(steps), len(steps)))  # the share of each neighbour
    for part, sigma in ((1.0 - grid.tail_share, grid.core), (grid.tail_share, grid.tail)):
        along, across = (np.diff(_normal((edges - x[hard, None]) / sigma), axis=1) for x in (u - i, v - j))
        weights += part * along[:, :, None] * across[:, None, :]
    key = _key(
        inside.event[hard, None, None],
        i[hard, None, None] + steps[:, None],
        j[hard, None, None] + steps,
        grid,
    )
    share = inside.energy[hard, None, None] * weights
    return np.concatenate([soft_key, key.reshape(-1)]), np.concatenate(
        [inside.energy[~hard], share.reshape(-1)]
    )


def _key(event: np.ndarray, i: np.ndarray, j: np.ndarray, grid: Grid) -> np.ndarray:
    key: np.ndarray = (event * (2 * _half(grid)) + i + _half(grid)) * grid.turns + j % grid.turns
    return key


def _normal(x: np.ndarray) -> np.ndarray:
    """Return the cumulative normal distribution to 2e-4, by the tanh approximation: NumPy lacks erf."""
    return 0.5 * (1.0 + np.tanh(0.7978845608 * (x + 0.044715 * x**3)))
