"""The magnetic field of a solenoid as a map: Br and Bz on a regular grid of r and z, from a text file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tamis._base import UsageError

FIELD_COLUMNS = ("r", "z", "br", "bz")
HEADER_WORD = re.compile(r"([A-Za-z]\w*)\s*(?:[\[(]\s*(\w+)\s*[\])])?")  # such as `Bz [T]`
MM, TESLA = {"mm": 1.0, "cm": 10.0, "m": 1000.0}, {"T": 1.0, "kG": 0.1, "G": 1e-4}
FIELD_UNITS = {"r": MM, "z": MM, "br": TESLA, "bz": TESLA}
SPACING_TOLERANCE = 1e-3  # of a step of the grid: coordinates in files are rounded
FIELD_MIN_TESLA, FIELD_MAX_TESLA = 1e-3, 50.0  # in the middle, and anywhere
AXIS_TOLERANCE = 0.01  # |Br| on the axis, of Bz in the middle
REACH_MM = 4000.0  # of a constant map
FORMAT = "a field map has the columns r, z, Br, Bz in mm and tesla"


@dataclass(frozen=True)
class FieldMap:
    """A field that is the same at all azimuths, linear in r and in z between the points of a regular grid.

    The grid begins at r = 0. Beyond its edges the field is that at the nearest edge.
    """

    source: str
    values: np.ndarray  # (r, z, 2): Br and Bz in tesla
    z_first: float  # mm
    steps: tuple[float, float]  # along r and z, mm

    @property
    def r_end(self) -> float:
        """The largest radius of the grid."""
        return self.steps[0] * (self.values.shape[0] - 1)

    @property
    def z_ends(self) -> tuple[float, float]:
        """The ends of the grid along z."""
        return self.z_first, self.z_first + self.steps[1] * (self.values.shape[1] - 1)

    @property
    def nominal(self) -> float:
        """The nominal field in tesla: the size of Bz in the middle of the detector."""
        return abs(float(self(np.zeros(1), np.zeros(1))[1][0]))

    def __call__(self, r: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return Br and Bz in tesla at radii and z in mm."""
        at_r = np.clip(r / self.steps[0], 0, self.values.shape[0] - 1)
        at_z = np.clip((z - self.z_first) / self.steps[1], 0, self.values.shape[1] - 1)
        i = np.minimum(at_r.astype(np.int64), self.values.shape[0] - 2)
        j = np.minimum(at_z.astype(np.int64), self.values.shape[1] - 2)
        u, v = (at_r - i)[..., None], (at_z - j)[..., None]
        inner = self.values[i, j] * (1 - v) + self.values[i, j + 1] * v
        outer = self.values[i + 1, j] * (1 - v) + self.values[i + 1, j + 1] * v
        both = inner * (1 - u) + outer * u
        return both[..., 0], both[..., 1]


def constant_map(tesla: float) -> FieldMap:
    """Return the map of a field along z that is the same everywhere."""
    return FieldMap(f"{tesla:g} T", np.full((2, 2, 2), [0.0, tesla]), -REACH_MM, (REACH_MM, 2 * REACH_MM))


def read_field_map(path: Path) -> FieldMap:
    """Read a map with the columns r, z, Br, Bz, separated by commas or blanks, as ACTS' text maps of a solenoid have them.

    Lines that begin with % or # are comments. A header names the columns, with units if they are not mm and tesla. A map that begins at
    z = 0 is mirrored.
    """
    table = _table(path)
    if not len(table):
        raise UsageError(f"{path} has no points: {FORMAT}, one point in each line")
    if (bad := np.flatnonzero(~np.isfinite(table).all(axis=1))).size:
        r, z, *_ = table[bad[0]]
        raise UsageError(
            f"{path}: the field at r = {r:g} mm, z = {z:g} mm is NaN or infinite; every point of a map needs a value"
        )
    radii, heights = (_axis(path, name, table[:, k]) for k, name in enumerate("rz"))
    if abs(radii[0]) > SPACING_TOLERANCE * (radii[1] - radii[0]):
        raise UsageError(f"{path}: r begins at {radii[0]:g} mm; a map begins on the axis, at r = 0")
    steps = tuple((axis[-1] - axis[0]) / (len(axis) - 1) for axis in (radii, heights))
    i, j = (
        np.rint((table[:, k] - axis[0]) / step).astype(np.int64)
        for k, (axis, step) in enumerate(zip((radii, heights), steps, strict=True))
    )
    values = np.full((len(radii), len(heights), 2), np.nan)
    values[i, j] = table[:, 2:]
    if (missing := np.argwhere(np.isnan(values[..., 0]))).size:
        r, z = radii[missing[0, 0]], heights[missing[0, 1]]
        raise UsageError(
            f"{path} is not complete: {len(missing)} of {values[..., 0].size} points of its grid of r and z are missing, such as r = {r:g} mm, "
            f"z = {z:g} mm"
        )
    if len(table) > values[..., 0].size:
        raise UsageError(f"{path} has some points twice: {len(table)} lines for {values[..., 0].size} points")
    first = float(heights[0])
    if abs(first) < SPACING_TOLERANCE * steps[1]:
        values = np.concatenate([values[:, :0:-1] * [-1, 1], values], axis=1)
        first = -float(heights[-1])
    return _checked(FieldMap(str(path), values, first, (float(steps[0]), float(steps[1]))))


def write_field_map(path: Path, radii: np.ndarray, heights: np.ndarray, values: np.ndarray) -> None:
    """Write the points (r, z, 2) of a map as CSV."""
    if path.suffix.lower() not in (".csv", ".txt"):
        raise UsageError(f"{path}: a field map is text; choose a name that ends in .csv or .txt")
    r, z = np.meshgrid(radii, heights, indexing="ij")
    rows = np.stack([r, z, values[..., 0], values[..., 1]], axis=-1).reshape(-1, 4)
    try:
        np.savetxt(path, rows, fmt="%.10g", delimiter=",", header="r,z,Br,Bz", comments="")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _checked(field_map: FieldMap) -> FieldMap:
    path, low, high = field_map.source, *field_map.z_ends
    if not low < 0 < high:
        raise UsageError(f"{path} covers z from {low:g} to {high:g} mm, without z = 0 in the middle")
    largest, nominal = np.abs(field_map.values).max(), field_map.nominal
    if largest > FIELD_MAX_TESLA:
        raise UsageError(
            f"{path} has a field of {largest:g} T; are its numbers in another unit? Name it in the header, such as r,z,Br[kG],Bz[kG]"
        )
    if nominal < FIELD_MIN_TESLA:
        raise UsageError(f"{path} has a field of {nominal:g} T in the middle (r = 0, z = 0): tracks need one")
    on_axis = np.abs(field_map.values[0, :, 0]).max()
    if on_axis > AXIS_TOLERANCE * nominal:
        raise UsageError(
            f"{path} has a Br of {on_axis:g} T on the axis (r = 0), where that of a solenoid is 0; are the columns r, z, Br, Bz in this order?"
        )
    return field_map


def _table(path: Path) -> np.ndarray:
    """Return r, z, Br and Bz of every line, in mm and tesla."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text (byte {error.start}): {FORMAT}, as text") from error
    order, scale, width = np.arange(4), np.ones(4), 4
    rows: list[list[float]] = []
    for number, words in _words(lines):
        if words[0][:1].isalpha() and words[0].lower() not in ("nan", "inf", "infinity"):
            if rows:
                raise UsageError(f"{path}, line {number}: {words[0]!r} is not a number")
            order, scale, width = _header(path, lines[number - 1])
            continue
        if len(words) != width:
            raise UsageError(f"{path}, line {number} has {len(words)} fields, not {width}: {FORMAT}")
        try:
            rows.append([float(word) for word in words])
        except ValueError:
            wrong = next(word for word in words if not _is_numeric(word))
            raise UsageError(f"{path}, line {number}: {wrong!r} is not a number") from None
    table: np.ndarray = np.array(rows, np.float64).reshape(-1, width)[:, order] * scale
    return table


def _words(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of every line that is not a comment, with its number."""
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and text[0] not in "%#":
            yield number, [word.strip() for word in text.split(",")] if "," in text else text.split()


def _header(path: Path, line: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Return where the columns are, what their units are in mm and tesla, and how many columns there are."""
    found = HEADER_WORD.findall(line)
    names = [name.lower() for name, _ in found]
    order, scale = [], []
    for column, title in zip(FIELD_COLUMNS, ("r", "z", "Br", "Bz"), strict=True):
        if column not in names:
            raise UsageError(
                f"{path} has no column {title}: its columns are {', '.join(name for name, _ in found)}, and {FORMAT}"
            )
        order.append(names.index(column))
        unit, known = found[order[-1]][1], FIELD_UNITS[column]
        if unit and unit not in known:
            raise UsageError(f"{path}: the unit of {title} is {unit!r}; it can be {', '.join(known)}")
        scale.append(known[unit] if unit else 1.0)
    return np.array(order), np.array(scale), len(names)


def _axis(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """Return the different values of a coordinate; raise UsageError if they are not evenly spaced."""
    known = np.unique(values)
    reach = known[-1] - known[0]
    axis = known[np.append(True, np.diff(known) > 1e-6 * reach)]
    if len(axis) < 2:
        raise UsageError(
            f"{path} has one value of {name} only, {axis[0]:g} mm: a map needs a grid of r and z"
        )
    step = reach / (len(axis) - 1)
    uneven = np.abs(axis - axis[0] - step * np.arange(len(axis))) > SPACING_TOLERANCE * step * len(axis)
    gaps = np.diff(axis)
    if uneven.any() or gaps.max() - gaps.min() > 0.01 * step:
        usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
        k = int(np.argmax(np.abs(gaps - usual)))
        raise UsageError(
            f"{path}: the grid is not regular: {name} goes on by {gaps[k]:g} mm from {axis[k]:g} to {axis[k + 1]:g} mm, and by {usual:g} mm elsewhere; "
            "interpolate the map to even steps"
        )
    return axis


def _is_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
