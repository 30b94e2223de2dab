"""Crops of the detector's image: a pixel is one crystal of the electromagnetic calorimeter, in eta and in phi.

The whole image, 350 x 360 pixels per channel, is never built: what lies in a crop goes straight into it. Columns wrap
around in phi; rows beyond the ends of the detector are zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

import numpy as np

from tamis.events import Frame
from tamis.events.kinematics import pairs_by_offsets
from tamis.features.collection import Collection, check_finite, collection

COLUMNS = 360  # pixels around in phi
WIDTH = 2 * np.pi / COLUMNS
ROWS = 350  # pixels in eta: up to |eta| = 3.05
TOWER = 5  # a tower of the hadronic calorimeter is so many pixels wide in both directions
TOWER_ROWS, TOWER_COLUMNS = ROWS // TOWER, COLUMNS // TOWER
OUTSIDE = -(2**20)
BUSY = 3_000  # points of an event, from which on events are taken one by one
TOGETHER = 10_000  # points of events that are taken together: what a processor keeps at hand
PIXEL_RADII_CM = (2.9, 6.8, 10.9)

ECAL = ("EcalCell_et", "EcalCell_eta", "EcalCell_phi")
HCAL = ("HcalTower_et", "HcalTower_eta", "HcalTower_phi")
TRACKS = ("Track_pt", "Track_eta", "Track_phi", "Track_d0", "Track_dz")
PIXELS = ("PixelHit_layer", "PixelHit_eta", "PixelHit_phi", "PV_z")


@dataclass(frozen=True)
class Crops:
    """Empty frames, and where in the image each begins."""

    frames: np.ndarray  # float32 (crops, channels, size, size)
    event: np.ndarray  # the row of the event, never falling
    top: np.ndarray
    left: np.ndarray

    @property
    def size(self) -> int:
        """Return the width of a crop in pixels."""
        return int(self.frames.shape[-1])


def crops_about(event: np.ndarray, row: np.ndarray, column: np.ndarray, channels: int, size: int) -> Crops:
    """Return empty crops whose pixel (size / 2, size / 2) is the given one."""
    frames = np.zeros((len(event), channels, size, size), np.float32)
    return Crops(
        frames, event, row.astype(np.int32) - size // 2, (column.astype(np.int32) - size // 2) % COLUMNS
    )


def image_row(eta: np.ndarray) -> np.ndarray:
    """Return the row of the image, far outside where there is none."""
    row = np.floor(eta.astype(np.float64) * (1.0 / WIDTH)).astype(np.int32)
    row += ROWS // 2
    row[row.view(np.uint32) >= ROWS] = OUTSIDE
    return row


def image_column(phi: np.ndarray) -> np.ndarray:
    """Return the column of the image."""
    turned = phi.astype(np.float64)
    turned += np.pi
    turned *= 1.0 / WIDTH
    column = np.floor(turned, out=turned).astype(np.int32)
    beyond = column.view(np.uint32) >= COLUMNS
    column[beyond] %= COLUMNS
    return column


@dataclass(frozen=True)
class Points:
    """Values at places, of all events: what is added up in the pixels of one channel, or of one for each point."""

    of: Collection
    eta: np.ndarray
    value: np.ndarray
    channel: int | np.ndarray

    def channels(self, area: int) -> np.ndarray:
        """Return where the channel of each point begins in a crop whose channels have so many pixels."""
        if isinstance(self.channel, int):
            begins = np.empty(len(self.eta), np.int64)
            begins.fill(self.channel * area)
            return begins
        return self.channel * area


def track_points(frame: Frame, channel: int) -> list[Points]:
    """Return transverse momentum, d0 and dz of the tracks, in three channels."""
    found = collection(frame, "Track", ("eta", "phi", "pt", "d0", "dz"))
    names = enumerate(("pt", "d0", "dz"), channel)
    return [Points(found, found["eta"], found[name], number) for number, name in names]


def ecal_points(frame: Frame, channel: int) -> list[Points]:
    """Return the transverse energies of the crystals."""
    found = collection(frame, "EcalCell", ("eta", "phi", "et"))
    return [Points(found, found["eta"], found["et"], channel)]


def pixel_points(frame: Frame, channel: int) -> list[Points]:
    """Return ones at the hits of the three pixel layers, in three channels, as seen from the primary vertex.

    Hits are kept as seen from the centre of the detector; next to the beam a vertex some centimetres away moves them
    by more than a crop is wide.
    """
    found = collection(frame, "PixelHit", ("eta", "phi", "layer"))
    layer = found["layer"].astype(np.int32, copy=False) - 1
    known = layer.view(np.uint32) < len(PIXEL_RADII_CM)
    if not known.all():
        found = found.take(known)
        layer = layer[known]
    shift = np.asarray(frame["PV_z"], np.float64)[:, None] / PIXEL_RADII_CM
    of_hit = shift[0][layer] if len(shift) == 1 else shift[found.owner, layer]
    eta = seen_from(of_hit, found["eta"])
    return [Points(found, eta, np.ones(len(eta), np.float32), layer + channel)]


def seen_from(shift: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Return the pseudorapidity as seen from a vertex: asinh(sinh(eta) - z / r), in what numpy does many at a time."""
    grown = np.exp(np.abs(eta, dtype=np.float64))
    slope = np.copysign(0.5 * (grown - 1.0 / grown), eta) - shift
    steep = np.abs(slope)
    moved: np.ndarray = np.copysign(np.log(steep + np.sqrt(steep * steep + 1.0)), slope)
    return moved


def add_points(crops: Crops, frame: Frame, points: Sequence[Points]) -> None:
    """Add points to the crops. All kinds go one way together: for a single event the number of steps is what costs."""
    eta = np.concatenate([p.eta for p in points])
    phi = np.concatenate([p.of["phi"] for p in points])
    if not isfinite(float(eta.sum()) + float(phi.sum())):
        for p in points:
            check_finite(frame, p.of, {"eta": p.eta, "phi": p.of["phi"]})
    value = np.concatenate([p.value for p in points], dtype=np.float32)
    area = crops.size**2
    channel = np.concatenate([p.channels(area) for p in points])
    columns = image_column(phi)
    flat = crops.frames.reshape(-1)
    for some in _portions(crops, points):
        near, hit, column = _beside(crops, points, columns, some)
        row = image_row(eta[hit]) - crops.top[near]
        kept = (row.view(np.uint32) < crops.size).nonzero()[0]
        near, hit = near[kept], hit[kept]
        where = near * (crops.frames.shape[1] * area) + channel[hit] + row[kept] * crops.size + column[kept]
        np.add.at(flat, where, value[hit])


def _portions(crops: Crops, points: Sequence[Points]) -> list[slice]:
    """Return runs of crops to work on at a time: single events where they are busy, many events where they are quiet."""
    events, count = len(points[0].of.offsets) - 1, len(crops.event)
    total = sum(len(p.eta) for p in points)
    if events == 1 or not count:
        return [slice(0, count)]
    run = crops.event if total > BUSY * events else crops.event // max(1, TOGETHER * events // max(1, total))
    edges = [0, *(np.flatnonzero(np.diff(run)) + 1).tolist(), count]
    return [slice(a, b) for a, b in pairwise(edges)]


def _beside(
    crops: Crops, points: Sequence[Points], columns: np.ndarray, some: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs (crop, point) of one event that agree in phi, and the column of each in its crop."""
    event, left = crops.event[some], crops.left[some]
    begins = np.cumsum([0, *(len(p.eta) for p in points)])
    if len(event) and event[0] == event[-1]:  # of one event every crop meets every point
        source = None
        if len(points[0].of.offsets) > 2:
            spans = [p.of.offsets[event[0] : event[0] + 2] + b for p, b in zip(points, begins, strict=False)]
            source = np.concatenate([np.arange(a, b) for a, b in spans])
        mine = columns if source is None else columns[source]
        column = mine - left[:, None]
        column += COLUMNS * (column < 0)
        kept = (column < crops.size).reshape(-1).nonzero()[0]
        near = kept // max(1, len(mine))
        hit = kept - near * len(mine)
        return near + some.start, hit if source is None else source[hit], column.reshape(-1)[kept]
    pairs = [pairs_by_offsets(event, p.of.offsets) for p in points]
    near = np.concatenate([pair[0] for pair in pairs])
    hit = np.concatenate([pair[1] + begin for pair, begin in zip(pairs, begins, strict=False)])
    column = columns[hit] - left[near]
    column += COLUMNS * (column < 0)
    kept = np.flatnonzero(column < crops.size)
    return near[kept] + some.start, hit[kept], column[kept]


def add_towers(crops: Crops, frame: Frame, channel: int) -> None:
    """Spread the transverse energy of each tower evenly over its 5 x 5 pixels.

    The towers of an event are few: their image is built once per event, and each crop reads from it what it needs.
    """
    towers = collection(frame, "HcalTower", ("eta", "phi", "et"))
    if not isfinite(float(towers["eta"].sum()) + float(towers["phi"].sum())):
        check_finite(frame, towers, {name: towers[name] for name in ("eta", "phi")})
    row, column = image_row(towers["eta"]), image_column(towers["phi"])
    et = towers["et"].astype(np.float32, copy=False)
    events, of_crop = crops.event[:1], np.zeros(len(crops.event), np.int64)
    place = row // TOWER * TOWER_COLUMNS + column // TOWER
    inside = row >= 0
    if len(towers.offsets) > 2:
        events, of_crop = np.unique(crops.event, return_inverse=True)
        near, hit = pairs_by_offsets(events, towers.offsets)
        place = place[hit] + near * ((TOWER_ROWS + 1) * TOWER_COLUMNS)
        inside, et = inside[hit], et[hit]
    image = np.zeros((len(events), TOWER_ROWS + 1, TOWER_COLUMNS), np.float32)  # the last row lies outside
    if len(events):
        np.add.at(image.reshape(-1), place[inside], et[inside])
    image /= TOWER**2
    crops.frames[:, channel] = _spread(crops, image, of_crop)


def _spread(crops: Crops, image: np.ndarray, of_crop: np.ndarray) -> np.ndarray:
    """Return (crops, size, size): first the few rows of towers that a crop meets are widened, then they are repeated."""
    steps = np.arange(crops.size, dtype=np.int32)
    band = np.arange(-(-crops.size // TOWER) + 1)
    first = crops.top // TOWER
    row = first[:, None] + band
    row = np.where((row >= 0) & (row < TOWER_ROWS), row, TOWER_ROWS) + of_crop[:, None] * (TOWER_ROWS + 1)
    column = (crops.left[:, None] + steps) % COLUMNS // TOWER
    wide = image.reshape(-1).take(row[:, :, None] * TOWER_COLUMNS + column[:, None, :])
    down = (crops.top[:, None] + steps) // TOWER - first[:, None] + np.arange(len(first))[:, None] * len(band)
    spread: np.ndarray = wide.reshape(-1, crops.size).take(down, axis=0)
    return spread
