"""What kernels take: named tuples of arrays and numbers, which compile for CPU and GPU alike."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class CellArrays(NamedTuple):
    """Cells with charge by module (a row of the detector's), then v, then u."""

    module: np.ndarray
    u: np.ndarray
    v: np.ndarray
    charge: np.ndarray


class FrameArrays(NamedTuple):
    """Where modules are."""

    centre: np.ndarray  # (modules, 3)
    axes: np.ndarray  # (modules, 9): the unit vectors of u, of v and of the normal
    grid: np.ndarray  # (modules, 4): first corner and pitch of the cells, float32


class ClusterArrays(NamedTuple):
    """Clusters by module."""

    module: np.ndarray
    local: np.ndarray  # (n, 2), in mm
    variance: np.ndarray  # (n, 2), in mm^2
    position: np.ndarray  # (n, 3), in mm
    size: np.ndarray  # in cells
    first: np.ndarray  # cell
    sums: np.ndarray  # (n, 4)


class SpacePointArrays(NamedTuple):
    """Space points in the order of their clusters, in float32; lengths in mm.

    A track of curvature w crosses a pair of strips at (x + bend_x w, y + bend_y w, z + bend_z w).
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    variance_r: np.ndarray
    variance_z: np.ndarray
    bend_x: np.ndarray
    bend_y: np.ndarray
    bend_z: np.ndarray
    layer: np.ndarray  # number of the seeding layer
    cluster: np.ndarray
    second: np.ndarray  # cluster of a pair of strips, -1 for pixels


class PointArrays(NamedTuple):
    """Space points in the order of the cells of a grid, in float32; lengths in mm."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    r: np.ndarray
    phi: np.ndarray
    variance_r: np.ndarray
    variance_z: np.ndarray
    bend: np.ndarray  # of z on a line from the beam spot at the same r, in mm^2; empty without strips
    layer: np.ndarray


class LayerGrid(NamedTuple):
    """Cells of azimuth and of z (barrel) or r (disks) on every layer, and where the points of each begin."""

    kind: np.ndarray  # BARREL or DISK
    low: np.ndarray  # the span of r of a cylinder, of z of a disk
    high: np.ndarray
    first: np.ndarray  # where the cells along z or r begin
    scale: np.ndarray  # cells per mm
    rows: int  # along z or r
    columns: int  # of azimuth
    per_radian: np.float32
    begins: np.ndarray
    variance_r: np.ndarray  # the largest on each layer, or what strips need
    variance_z: np.ndarray


class LayerLinks(NamedTuple):
    """Which layers a middle point is combined with, by its layer: `inner[layer, :inner_count[layer]]`."""

    inner_count: np.ndarray
    inner: np.ndarray
    outer_count: np.ndarray
    outer: np.ndarray
    bend: np.ndarray  # the largest of the points on each layer, 0 without strips


class TripletCuts(NamedTuple):
    """The cuts of the seeding, in float32."""

    radius_min: np.float32  # between two points
    radius_max: np.float32
    z_max: np.float32
    vertex_z: np.float32  # |z| of the line through two points at the beam
    slope_max: np.float32  # |dz / dr|
    impact_max: np.float32
    scattering: (
        np.float32
    )  # variance of the slope of a straight track in one layer, at the least momentum, in sigmas squared
    scattering_per_curvature: np.float32  # the same per squared curvature
    diameter_min: np.float32  # of the circle
    bend: np.float32  # of azimuth per mm, at the least momentum
    impact_weight: np.float32
    confirmed: int  # points that may confirm a triplet
    confirmation: np.float32  # weight of each
    curvature_window: np.float32  # of points that confirm
    radius_window: np.float32  # between them
    most: int  # triplets for each middle point
    errors: np.float32  # what variances of measurements are multiplied by
    stereo: int  # 1 if points of strips are displaced by the curvature of tracks


class DoubletArrays(NamedTuple):
    """Pairs of a middle point with others, with room for `len(point)`."""

    point: np.ndarray
    slope: np.ndarray  # dz / dr
    u: (
        np.ndarray
    )  # conformal coordinates about the middle point, along and across its direction from the beam
    v: np.ndarray
    error: np.ndarray  # variance of the slope, without what both pairs share
    inverse: np.ndarray  # 1 / distance in the transverse plane


class CandidateArrays(NamedTuple):
    """Triplets of one middle point: inner and outer points, curvatures, radii of the outer points and impact parameters."""

    inner: np.ndarray
    outer: np.ndarray
    curvature: np.ndarray
    radius: np.ndarray
    impact: np.ndarray


class TripletArrays(NamedTuple):
    """Triplets of every middle point, (middles, most)."""

    inner: np.ndarray
    outer: np.ndarray
    weight: np.ndarray
    kept: np.ndarray  # how many


class StartArrays(NamedTuple):
    """Seeds with their clusters and states."""

    clusters: np.ndarray  # (seeds, 3)
    second: np.ndarray  # the other cluster of the first point, -1 for pixels
    states: np.ndarray  # (seeds, 7)
    spread: np.ndarray  # (seeds, 3): further variances of r, z and dz / ds, of strips


class HitArrays(NamedTuple):
    """Measurements in the order of the cells of a grid."""

    position: np.ndarray  # (n, 3)
    variance: np.ndarray  # (n, 2), along u and v
    module: np.ndarray
    layer: np.ndarray
    along: np.ndarray  # z on a cylinder, r on a disk, float32
    phi: np.ndarray  # float32


class SurfaceStack(NamedTuple):
    """Cylinders from inside out, then disks at positive z from the middle outwards, then disks at negative z; some have no modules."""

    position: np.ndarray  # radius of a cylinder, z of a disk
    low: np.ndarray  # ends of a cylinder along z, of a disk along r
    high: np.ndarray
    layer: np.ndarray  # number of the layer of modules, -1 for a passive surface
    material: np.ndarray  # radiation lengths
    spread: np.ndarray  # modules reach this far from the surface
    ahead: int  # where the disks at positive z begin
    behind: int  # where those at negative z begin


class ConstantField(NamedTuple):
    """A field along z that is the same everywhere."""

    tesla: float


class MappedField(NamedTuple):
    """Br and Bz on a grid of r, from 0 on, and z, relative to the nominal field."""

    values: np.ndarray  # (r, z, 2)
    z_first: float
    per_r: float  # points per mm
    per_z: float


class FindingCuts(NamedTuple):
    """The cuts of the track finding."""

    field: float  # GeV per mm of bending radius, in the nominal field
    chi2_max: float  # of a measurement
    holes_max: int
    early_holes_max: int  # of a track with few hits
    pt_min: float
    window: float  # in standard deviations
    hits_min: int
    energy_loss: float  # relative to that of silicon of the radiation lengths
    branches_max: int  # of a seed


class TrackScratch(NamedTuple):
    """Room for the track that is followed."""

    state: np.ndarray  # (7,)
    covariance: np.ndarray  # (6, 6)
    work: np.ndarray  # (6, 6)
    gain: np.ndarray  # (4, 6)
    projection: np.ndarray  # (13,)
    best: np.ndarray  # (13,)
    variance: np.ndarray  # (2,)
    surface_of: np.ndarray  # the surface of each layer
    choice: (
        np.ndarray
    )  # (3,): a step whose hit is given, this hit, and how many rivals of hits there are; -1 for none
    rivals: np.ndarray  # (most, 2): a step, and a hit that the track might take there instead
    gaps: np.ndarray  # (most,): of chi2 between rivals and the hits that were taken


class FitArrays(NamedTuple):
    """Parameters of tracks at the perigee, and hits that were found inside the first one of the seed."""

    parameters: np.ndarray  # (tracks, 5)
    covariance: np.ndarray  # (tracks, 5, 5)
    chi2: np.ndarray
    inner: np.ndarray  # (tracks, most)
    inner_count: np.ndarray


class TrackArrays(NamedTuple):
    """Found tracks: their way, and what they fit to.

    A way has hits, and surfaces that were crossed as `-1 - surface`, from inside out.
    """

    way: np.ndarray  # (tracks, most)
    steps: np.ndarray  # on the way
    size: np.ndarray  # in hits
    holes: np.ndarray
    chi2: np.ndarray
    seed: np.ndarray
    state: np.ndarray  # (tracks, 7), at the outermost hit, then at the perigee
    covariance: np.ndarray  # (tracks, 6, 6)
