"""Particles on their way through the layers of a detector, and where they cross modules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tamis.events.detector import BARREL, DetectorLayer, PassiveSurface, TrackingDetector
from tamis.simulate.seeds import Seeds
from tamis.simulate.silicon.finder import BINS_ALONG, BINS_PHI, candidate_tables
from tamis.simulate.silicon.helix import Helices, advance, curvature_of, to_cylinder, to_plane
from tamis.simulate.silicon.mapped import advance_in_map, bent_locally, surfaces_ahead
from tamis.simulate.silicon.material import (
    interacts,
    kept_by_electrons,
    landau_width,
    masses_of,
    mean_energy_loss,
    scattering_angle,
)

MOMENTUM_MIN_GEV = 0.05  # below, a particle stops
EDGE_MM = 25.0  # a helix is sought on a layer up to this far beyond its edge, since scattering moves it


@dataclass(frozen=True)
class Primaries:
    """Charged particles where they are produced: lengths in mm, momenta in GeV."""

    pdg_id: np.ndarray
    charge: np.ndarray
    vertex: np.ndarray  # (n, 3)
    momentum: np.ndarray  # (n, 3)

    def __len__(self) -> int:
        """Return the number of particles."""
        return len(self.pdg_id)


@dataclass(frozen=True)
class Hits:
    """Crossings of modules, in the order of the particles and of their way."""

    particle: np.ndarray
    module: np.ndarray  # rows of the detector's modules
    position: np.ndarray  # (n, 3)
    momentum: np.ndarray  # (n, 3), before the module
    index: np.ndarray  # along the particle

    def __len__(self) -> int:
        """Return the number of hits."""
        return len(self.particle)


@dataclass(frozen=True)
class DetectorModel:
    """The layers of a detector as arrays, then its passive surfaces."""

    detector: TrackingDetector

    @property
    def surfaces(self) -> list[DetectorLayer | PassiveSurface]:
        """Layers, then passive surfaces."""
        return [*self.detector.layers, *self.detector.passive]

    @cached_property
    def is_barrel(self) -> np.ndarray:
        """Which layers are cylinders."""
        return np.array([one.kind == BARREL for one in self.surfaces])

    @cached_property
    def position(self) -> np.ndarray:
        """Radii of cylinders and z of disks."""
        return np.array([one.position for one in self.surfaces])

    @cached_property
    def extent(self) -> np.ndarray:
        """Ends along z of cylinders and along r of disks, (layers, 2)."""
        ends = [layer.z if layer.kind == BARREL else layer.r for layer in self.detector.layers]
        return np.array([*ends, *(one.extent for one in self.detector.passive)])

    @cached_property
    def material(self) -> np.ndarray:
        """Radiation lengths at normal incidence."""
        material = self.detector.modules.material
        return np.array(
            [material[layer.rows].mean() for layer in self.detector.layers]
            + [one.material for one in self.detector.passive]
        )

    @cached_property
    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Candidate modules by layer, azimuth and place along it, and the ends of those places."""
        return candidate_tables(self.detector)

    def candidates(self, layer: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return modules that may be crossed near positions on layers, (n, candidates), -1 where there are no more."""
        tables, ends = self.tables
        radius = np.hypot(position[:, 0], position[:, 1])
        along = np.where(self.is_barrel[layer], position[:, 2], radius)
        phi = np.arctan2(position[:, 1], position[:, 0])
        i = np.floor((phi + np.pi) / (2 * np.pi) * BINS_PHI).astype(int) % BINS_PHI
        low, high = ends[layer].T
        j = np.floor((along - low) / (high - low) * BINS_ALONG).astype(int)
        found = tables[layer, i, np.clip(j, 0, BINS_ALONG - 1)]
        return np.where(((j >= 0) & (j < BINS_ALONG))[:, None], found, -1)

    def local(self, helices: Helices) -> Helices:
        """Return the helices that particles are on where they are."""
        field_map = self.detector.field_map
        return helices if field_map is None else bent_locally(helices, field_map)

    def advance(self, helices: Helices, length: np.ndarray) -> Helices:
        """Return the states after transverse path lengths in the field."""
        field_map = self.detector.field_map
        return advance(helices, length) if field_map is None else advance_in_map(helices, length, field_map)

    def order(self, helices: Helices) -> np.ndarray:
        """Return the layers that helices cross within half a turn, in order, -1 where there are no more."""
        field_map = self.detector.field_map
        if field_map is None:
            lengths, along = self._ahead(helices)
        else:
            lengths, along = surfaces_ahead(helices, field_map, self.is_barrel, self.position)
        low, high = self.extent.T
        with np.errstate(invalid="ignore"):
            lengths[(along < low - EDGE_MM) | (along > high + EDGE_MM)] = np.inf
        order = np.argsort(lengths, axis=1)
        sorted_lengths = np.take_along_axis(lengths, order, axis=1)
        most = int(np.isfinite(sorted_lengths).sum(axis=1).max(initial=0))
        result: np.ndarray = np.where(np.isfinite(sorted_lengths), order, -1)[:, :most]
        return result

    def _ahead(self, helices: Helices) -> tuple[np.ndarray, np.ndarray]:
        """Return the lengths to surfaces in a constant field within half a turn, inf where they are not met, and where along a surface that is."""
        lengths = np.full((len(helices), len(self.position)), np.inf)
        along = np.full(lengths.shape, np.nan)
        barrel = np.flatnonzero(self.is_barrel)
        lengths[:, barrel] = to_cylinder(helices, self.position[barrel][None])
        disk = np.flatnonzero(~self.is_barrel)
        with np.errstate(divide="ignore", invalid="ignore"):
            lengths[:, disk] = (self.position[disk] - helices.position[:, 2, None]) / helices.slope[:, None]
        half_turn = np.pi / np.maximum(np.abs(helices.curvature), 1e-12)
        with np.errstate(invalid="ignore"):
            lengths[~((lengths > 0) & (lengths < half_turn[:, None]))] = np.inf
        for layer in range(len(self.position)):
            rows = np.flatnonzero(np.isfinite(lengths[:, layer]))
            there = advance(helices.take(rows), lengths[rows, layer]).position
            along[rows, layer] = there[:, 2] if self.is_barrel[layer] else np.hypot(there[:, 0], there[:, 1])
        return lengths, along

    def reach(self, helices: Helices, layer: np.ndarray) -> np.ndarray:
        """Return the transverse lengths to layers, one for each state; NaN where a helix does not reach it."""
        barrel = self.is_barrel[layer]
        lengths = np.full(len(layer), np.nan)
        lengths[barrel] = to_cylinder(helices.take(barrel), self.position[layer[barrel], None])[:, 0]
        rest = helices.take(~barrel)
        with np.errstate(divide="ignore", invalid="ignore"):
            lengths[~barrel] = (self.position[layer[~barrel]] - rest.position[:, 2]) / rest.slope
        lengths[~(lengths > -1e-6)] = np.nan
        return lengths


def transport(primaries: Primaries, model: DetectorModel, seeds: Seeds) -> Hits:
    """Follow the particles outwards for at most half a turn: secondaries and the way back of curling particles are left out."""
    random = seeds.stream("silicon transport")
    pt = np.hypot(primaries.momentum[:, 0], primaries.momentum[:, 1])
    helices = Helices(
        primaries.vertex.astype(np.float64),
        np.arctan2(primaries.momentum[:, 1], primaries.momentum[:, 0]),
        primaries.momentum[:, 2] / np.maximum(pt, 1e-6),
        curvature_of(primaries.charge, np.maximum(pt, 1e-6), model.detector.field),
    )
    particle = np.flatnonzero((primaries.charge != 0) & (pt > MOMENTUM_MIN_GEV))
    helices, mass = helices.take(particle), masses_of(primaries.pdg_id)[particle]
    momentum = np.sqrt((primaries.momentum[particle] ** 2).sum(axis=1))
    order = model.order(helices)
    parts: list[tuple[np.ndarray, ...]] = []
    for step in range(order.shape[1]):
        layer = order[:, step]
        lengths = np.full(len(particle), np.nan)
        on_way = layer >= 0
        lengths[on_way] = model.reach(model.local(helices.take(on_way)), layer[on_way])
        crossing = np.isfinite(lengths)
        alive = on_way
        if crossing.any():
            rows = np.flatnonzero(crossing)
            here = model.advance(helices.take(rows), lengths[rows])
            parts.append(_cross(model.local(here), layer[rows], particle[rows], momentum[rows], model, step))
            here, left, lost = _interact(
                here, layer[rows], primaries.pdg_id[particle[rows]], momentum[rows], mass[rows], model, random
            )
            for whole, part in (
                (helices.position, here.position),
                (helices.phi, here.phi),
                (helices.slope, here.slope),
            ):
                whole[rows] = part
            helices.curvature[rows] = here.curvature
            momentum[rows] = left
            alive = alive.copy()
            alive[rows[lost | (left < MOMENTUM_MIN_GEV)]] = False
        helices, particle, momentum, mass, order = (
            helices.take(alive), particle[alive], momentum[alive], mass[alive], order[alive],
        )  # fmt: skip
    return _joined(parts)


def _cross(
    here: Helices,
    layer: np.ndarray,
    particle: np.ndarray,
    momentum: np.ndarray,
    model: DetectorModel,
    step: int,
) -> tuple[np.ndarray, ...]:
    """Return the crossings of modules near states on layers."""
    modules = model.detector.modules
    active = np.flatnonzero(layer < len(model.detector.layers))
    here, layer, particle, momentum = here.take(active), layer[active], particle[active], momentum[active]
    found = model.candidates(layer, here.position)
    which, place = np.nonzero(found >= 0)
    module, near = found[which, place], here.take(which)
    centre, axes = modules.centre[module], modules.axes[module]
    lengths = to_plane(near, centre, axes[:, 2])
    there = advance(near, lengths)
    local = np.einsum("nij,nj->ni", axes[:, :2], there.position - centre)
    low, high = modules.half_u[module].T
    half_v = modules.half_v[module]
    width = low + (high - low) * (local[:, 1] + half_v) / (2 * half_v)
    inside = (np.abs(local[:, 0]) < width) & (np.abs(local[:, 1]) < half_v)
    pt = momentum[which] / np.hypot(1, there.slope)
    vector = there.direction * pt[:, None]
    order = step + 0.5 * np.tanh(lengths / 100)  # along the particle
    return tuple(part[inside] for part in (particle[which], module, there.position, vector, order))


def _interact(
    here: Helices,
    layer: np.ndarray,
    pdg_id: np.ndarray,
    momentum: np.ndarray,
    mass: np.ndarray,
    model: DetectorModel,
    random: np.random.Generator,
) -> tuple[Helices, np.ndarray, np.ndarray]:
    """Scatter particles in the matter of layers; return states, momenta, and which particles are lost."""
    direction = here.direction / np.hypot(1, here.slope)[:, None]
    radial = here.position[:, :2] / np.maximum(np.hypot(*here.position[:, :2].T), 1e-6)[:, None]
    cosine = np.where(
        model.is_barrel[layer], np.abs((radial * direction[:, :2]).sum(axis=1)), np.abs(direction[:, 2])
    )
    thickness = model.material[layer] / np.maximum(cosine, 0.05)
    width = scattering_angle(momentum, mass, thickness)
    kicks = random.normal(size=(2, len(layer))) * width
    noise = -np.log(
        np.maximum(random.normal(size=len(layer)) ** 2, 1e-12)
    )  # Moyal's distribution, close to Landau's
    loss = np.maximum(
        mean_energy_loss(momentum, mass, thickness) + landau_width(momentum, mass, thickness) * noise, 0
    )
    energy = np.hypot(momentum, mass) - loss
    electron = np.abs(pdg_id) == 11
    energy = np.where(electron, energy * kept_by_electrons(thickness, random), energy)
    left = np.sqrt(np.maximum(energy**2 - mass**2, 0))
    lost = interacts(pdg_id, thickness, random)
    stretch = np.hypot(1, here.slope)
    slope = here.slope + kicks[1] * stretch**2
    phi = here.phi + kicks[0] * stretch
    with np.errstate(divide="ignore", invalid="ignore"):
        curvature = (
            here.curvature * (momentum / stretch) / np.where(left > 0, left / np.hypot(1, slope), np.nan)
        )
    curvature = np.where(np.isfinite(curvature), curvature, here.curvature)
    return replace(here, phi=phi, slope=slope, curvature=curvature), left, lost


def _joined(parts: list[tuple[np.ndarray, ...]]) -> Hits:
    if not parts:
        none = np.zeros(0, np.int64)
        return Hits(none, none, np.zeros((0, 3)), np.zeros((0, 3)), none)
    particle, module, position, momentum, place = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.lexsort((place, particle))
    particle = particle[order]
    index = np.arange(len(particle)) - np.searchsorted(particle, particle)
    return Hits(particle, module[order], position[order], momentum[order], index)
