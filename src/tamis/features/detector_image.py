"""Crops of the detector's image, in which a pixel has the size of a crystal of the electromagnetic calorimeter.

The whole image of 350 x 360 pixels per channel is never built: points are added to the crops that contain them. Columns
wrap around in phi; rows beyond the ends of the detector are zero.
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

IMAGE_COLUMNS = 360  # pixels in phi
PIXEL_WIDTH = 2 * np.pi / IMAGE_COLUMNS
IMAGE_ROWS = 350  # pixels in eta, up to |eta| = 3.05
TOWER_PIXELS = 5  # a tower of the hadronic calorimeter is 5 x 5 pixels
TOWER_ROWS, TOWER_COLUMNS = IMAGE_ROWS // TOWER_PIXELS, IMAGE_COLUMNS // TOWER_PIXELS
OUTSIDE = -(2**20)  # the row of points beyond the image
BUSY_EVENT_POINTS = 3_000  # events with more points on average are handled one by one
POINTS_AT_ONCE = 10_000  # of quieter events that are handled together; fits a processor's cache
PIXEL_RADII_CM = (2.9, 6.8, 10.9)  # of the layers of the pixel barrel

ECAL_COLUMNS = ("EcalCell_et", "EcalCell_eta", "EcalCell_phi")
HCAL_COLUMNS = ("HcalTower_et", "HcalTower_eta", "HcalTower_phi")
TRACK_COLUMNS = ("Track_pt", "Track_eta", "Track_phi", "Track_d0", "Track_dz")
PIXEL_COLUMNS = ("PixelHit_layer", "PixelHit_eta", "PixelHit_phi", "PV_z")
ECAL_CHANNEL, HCAL_CHANNEL = "ECAL", "HCAL"
TRACK_CHANNELS = ("track pT", "d0", "dz")
PIXEL_CHANNELS = ("pixel layer 1", "pixel layer 2", "pixel layer 3")


@dataclass(frozen=True)
class Crops:
    """Crops of the images of some events, and the position of each in its image."""

    frames: np.ndarray  # float32 (crops, channels, size, size)
    event: np.ndarray  # the row of the event, in ascending order
    top: np.ndarray  # first row in the image
    left: np.ndarray  # first column in the image

    @property
    def size(self) -> int:
        """Return the width of a crop in pixels."""
        return int(self.frames.shape[-1])


def crops_around(event: np.ndarray, row: np.ndarray, column: np.ndarray, channels: int, size: int) -> Crops:
    """Return empty crops whose pixel (size / 2, size / 2) is at the given row and column."""
    frames = np.zeros((len(event), channels, size, size), np.float32)
    return Crops(
        frames, event, row.astype(np.int32) - size // 2, (column.astype(np.int32) - size // 2) % IMAGE_COLUMNS
    )


def image_row(eta: np.ndarray) -> np.ndarray:
    """Return the row of the image, or `OUTSIDE`."""
    row = np.floor(eta.astype(np.float64) * (1.0 / PIXEL_WIDTH)).astype(np.int32)
    row += IMAGE_ROWS // 2
    row[row.view(np.uint32) >= IMAGE_ROWS] = OUTSIDE
    return row


def image_column(phi: np.ndarray) -> np.ndarray:
    """Return the column of the image."""
    turned = phi.astype(np.float64)
    turned += np.pi
    turned *= 1.0 / PIXEL_WIDTH
    column = np.floor(turned, out=turned).astype(np.int32)
    beyond = column.view(np.uint32) >= IMAGE_COLUMNS
    column[beyond] %= IMAGE_COLUMNS
    return column


@dataclass(frozen=True)
class Points:
    """Values at positions in (eta, phi) of all events, to be added to one channel or to a channel for each point."""

    of: Collection
    eta: np.ndarray
    value: np.ndarray
    channel: int | np.ndarray

    def channels(self, area: int) -> np.ndarray:
        """Return the offset of each point's channel in a crop with `area` pixels per channel."""
        if isinstance(self.channel, int):
            offsets = np.empty(len(self.eta), np.int64)
            offsets.fill(self.channel * area)
            return offsets
        return self.channel * area


def track_points(frame: Frame, channel: int) -> list[Points]:
    """Return transverse momentum, d0 and dz of the tracks, in three channels."""
    tracks = collection(frame, "Track", ("eta", "phi", "pt", "d0", "dz"))
    names = enumerate(("pt", "d0", "dz"), channel)
    return [Points(tracks, tracks["eta"], tracks[name], number) for number, name in names]


def ecal_points(frame: Frame, channel: int) -> list[Points]:
    """Return the transverse energies of the crystals."""
    cells = collection(frame, "EcalCell", ("eta", "phi", "et"))
    return [Points(cells, cells["eta"], cells["et"], channel)]


def pixel_points(frame: Frame, channel: int) -> list[Points]:
    """Return ones at the hits of the three pixel layers, in three channels, as seen from the primary vertex.

    Files give hits as seen from the centre of the detector. This close to the beam, a vertex a few centimetres away
    shifts them by more than the width of a crop.
    """
    hits = collection(frame, "PixelHit", ("eta", "phi", "layer"))
    layer = hits["layer"].astype(np.int32, copy=False) - 1
    known = layer.view(np.uint32) < len(PIXEL_RADII_CM)
    if not known.all():
        hits = hits.take(known)
        layer = layer[known]
    shift = np.asarray(frame["PV_z"], np.float64)[:, None] / PIXEL_RADII_CM
    of_hit = shift[0][layer] if len(shift) == 1 else shift[hits.owner, layer]
    eta = seen_from(of_hit, hits["eta"])
    return [Points(hits, eta, np.ones(len(eta), np.float32), layer + channel)]


def seen_from(shift: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Return the pseudorapidity as seen from a vertex, asinh(sinh(eta) - z / r), by functions that NumPy vectorises."""
    exponential = np.exp(np.abs(eta, dtype=np.float64))
    slope = np.copysign(0.5 * (exponential - 1.0 / exponential), eta) - shift
    steep = np.abs(slope)
    moved: np.ndarray = np.copysign(np.log(steep + np.sqrt(steep * steep + 1.0)), slope)
    return moved


def add_points(crops: Crops, frame: Frame, points: Sequence[Points]) -> None:
    """Add points to the crops, all kinds together: for a single event the time is that of the calls, not of the points."""
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
    for part in _parts(crops, points):
        near, hit, column = _pairs(crops, points, columns, part)
        row = image_row(eta[hit]) - crops.top[near]
        kept = (row.view(np.uint32) < crops.size).nonzero()[0]
        near, hit = near[kept], hit[kept]
        where = near * (crops.frames.shape[1] * area) + channel[hit] + row[kept] * crops.size + column[kept]
        np.add.at(flat, where, value[hit])


def _parts(crops: Crops, points: Sequence[Points]) -> list[slice]:
    """Return slices of crops to handle at once: single events if they are busy, many events if they are quiet."""
    events, count = len(points[0].of.offsets) - 1, len(crops.event)
    total = sum(len(p.eta) for p in points)
    if events == 1 or not count:
        return [slice(0, count)]
    run = (
        crops.event
        if total > BUSY_EVENT_POINTS * events
        else crops.event // max(1, POINTS_AT_ONCE * events // max(1, total))
    )
    edges = [0, *(np.flatnonzero(np.diff(run)) + 1).tolist(), count]
    return [slice(a, b) for a, b in pairwise(edges)]


def _pairs(
    crops: Crops, points: Sequence[Points], columns: np.ndarray, part: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs (crop, point) of the same event that overlap in phi, and the point's column in the crop."""
    event, left = crops.event[part], crops.left[part]
    begins = np.cumsum([0, *(len(p.eta) for p in points)])
    if len(event) and event[0] == event[-1]:  # of one event: every crop with every point
        source = None
        if len(points[0].of.offsets) > 2:
            spans = [p.of.offsets[event[0] : event[0] + 2] + b for p, b in zip(points, begins, strict=False)]
            source = np.concatenate([np.arange(a, b) for a, b in spans])
        event_columns = columns if source is None else columns[source]
        column = event_columns - left[:, None]
        column += IMAGE_COLUMNS * (column < 0)
        kept = (column < crops.size).reshape(-1).nonzero()[0]
        near = kept // max(1, len(event_columns))
        hit = kept - near * len(event_columns)
        return near + part.start, hit if source is None else source[hit], column.reshape(-1)[kept]
    pairs = [pairs_by_offsets(event, p.of.offsets) for p in points]
    near = np.concatenate([pair[0] for pair in pairs])
    hit = np.concatenate([pair[1] + begin for pair, begin in zip(pairs, begins, strict=False)])
    column = columns[hit] - left[near]
    column += IMAGE_COLUMNS * (column < 0)
    kept = np.flatnonzero(column < crops.size)
    return near[kept] + part.start, hit[kept], column[kept]


def add_towers(crops: Crops, frame: Frame, channel: int) -> None:
    """Spread the transverse energy of each tower evenly over its 5 x 5 pixels.

    Builds the small image of an event's towers once, and copies a part of it into each crop.
    """
    towers = collection(frame, "HcalTower", ("eta", "phi", "et"))
    if not isfinite(float(towers["eta"].sum()) + float(towers["phi"].sum())):
        check_finite(frame, towers, {name: towers[name] for name in ("eta", "phi")})
    row, column = image_row(towers["eta"]), image_column(towers["phi"])
    et = towers["et"].astype(np.float32, copy=False)
    events, of_crop = crops.event[:1], np.zeros(len(crops.event), np.int64)
    place = row // TOWER_PIXELS * TOWER_COLUMNS + column // TOWER_PIXELS
    inside = row >= 0
    if len(towers.offsets) > 2:
        events, of_crop = np.unique(crops.event, return_inverse=True)
        near, hit = pairs_by_offsets(events, towers.offsets)
        place = place[hit] + near * ((TOWER_ROWS + 1) * TOWER_COLUMNS)
        inside, et = inside[hit], et[hit]
    image = np.zeros(
        (len(events), TOWER_ROWS + 1, TOWER_COLUMNS), np.float32
    )  # the last row is empty, for rows outside
    if len(events):
        np.add.at(image.reshape(-1), place[inside], et[inside])
    image /= TOWER_PIXELS**2
    crops.frames[:, channel] = _spread(crops, image, of_crop)


def _spread(crops: Crops, image: np.ndarray, of_crop: np.ndarray) -> np.ndarray:
    """Return (crops, size, size): the rows of towers under each crop, repeated first along columns, then along rows."""
    steps = np.arange(crops.size, dtype=np.int32)
    band = np.arange(-(-crops.size // TOWER_PIXELS) + 1)
    first = crops.top // TOWER_PIXELS
    row = first[:, None] + band
    row = np.where((row >= 0) & (row < TOWER_ROWS), row, TOWER_ROWS) + of_crop[:, None] * (TOWER_ROWS + 1)
    column = (crops.left[:, None] + steps) % IMAGE_COLUMNS // TOWER_PIXELS
    wide = image.reshape(-1).take(row[:, :, None] * TOWER_COLUMNS + column[:, None, :])
    down = (
        (crops.top[:, None] + steps) // TOWER_PIXELS
        - first[:, None]
        + np.arange(len(first))[:, None] * len(band)
    )
    spread: np.ndarray = wide.reshape(-1, crops.size).take(down, axis=0)
    return spread
