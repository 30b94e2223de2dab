"""Geometry and digitisation files of ACTS and of the TrackML challenge."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tamis._base import DataError, UsageError, write_text
from tamis.events.detector.field import read_field_map
from tamis.events.detector.generic import SILICON_X0_MM, generic_detector
from tamis.events.detector.identifiers import pack_identifier, unpack_identifier
from tamis.events.detector.modules import Modules, TrackingDetector

RECTANGLE, TRAPEZOID = 6, 7  # numbers of shapes in `bounds_type`
KEYS = ("volume", "layer", "sensitive")
SUPPORT_MM = 2.0  # of silicon, for a detector whose material is not known
# ACTS 48 gives the silicon of its generic detector a thousandth of its density: pions lose 0.5 MeV on their way out, not 8.
ACTS_ENERGY_LOSS = 0.07
DEFAULT_PITCH_MM = (0.05, 0.05)
GENERIC_FIELD_TESLA = 2.0
CARTESIAN = ("binX", "binY")
CHARGE_SPREAD = 0.01  # of the charge of a cell, in what ACTS simulates


@dataclass(frozen=True)
class DetectorFiles:
    """The files that describe a detector and its field; without any it is the generic one."""

    geometry: Path | None = None
    digitisation: Path | None = None
    field: float = GENERIC_FIELD_TESLA
    field_map: Path | None = None  # instead of `field`

    @property
    def paths(self) -> list[Path]:
        """All files."""
        return [path for path in (self.geometry, self.digitisation, self.field_map) if path is not None]

    def open(self) -> TrackingDetector:
        """Return the detector in its field."""
        if self.field_map is None:
            return self._in_constant_field()
        if self.field != GENERIC_FIELD_TESLA:
            raise UsageError(
                f"the field is that of the map {self.field_map}, and cannot be {self.field:g} T as well: leave one of them out"
            )
        return self._in_constant_field().in_field(read_field_map(self.field_map))

    def _in_constant_field(self) -> TrackingDetector:
        if self.geometry is not None:
            return read_detector(self.geometry, self.digitisation, field=self.field)
        if self.digitisation is not None:
            raise UsageError(
                "a digitisation divides the modules of a geometry into cells: name the geometry too"
            )
        if self.field != GENERIC_FIELD_TESLA:
            raise UsageError(
                f"the field of the generic detector is {GENERIC_FIELD_TESLA:g} T, not {self.field:g} T: name a geometry too"
            )
        return generic_detector()


def read_detector(
    geometry: Path,
    digitisation: Path | None = None,
    *,
    field: float = 2.0,
    material: Mapping[int, float] | None = None,
) -> TrackingDetector:
    """Read `detectors.csv` and the JSON file of a geometric digitisation.

    The files have no material: `material` gives radiation lengths by volume; without it, modules that coincide with those of the generic
    detector have its material, others that of their thickness and of 2 mm of silicon.
    """
    table = _read_table(geometry)
    rows = table["module_id"] > 0
    table = {name: values[rows] for name, values in table.items()}
    if not rows.any():
        raise DataError(f"{geometry}: no row is a module: module_id is 0 in all {len(rows)} rows")
    numbers = (table[f"{name}_id"].astype(np.int64) for name in ("volume", "layer", "module"))
    identifier = pack_identifier(*numbers)
    order = np.argsort(identifier)
    identifier, table = identifier[order], {name: values[order] for name, values in table.items()}
    if (same := np.flatnonzero(identifier[1:] == identifier[:-1])).size:
        twice = [int(value) for value in unpack_identifier(identifier[same[0]])]
        raise DataError(
            f"{geometry}: module {twice[2]} of layer {twice[1]} in volume {twice[0]} is there twice"
        )
    axes = np.stack([[table[f"rot_{axis}{side}"] for axis in "xyz"] for side in "uvw"]).transpose(2, 0, 1)
    if not np.allclose(axes @ axes.transpose(0, 2, 1), np.eye(3), atol=1e-4):
        raise DataError(f"{geometry}: the columns rot_xu to rot_zw of a module are not a rotation")
    half_u, half_v = _bounds(table, geometry)
    first = -np.stack([half_u.max(axis=1), half_v], axis=1)
    cells = np.maximum(np.rint(-2 * first / np.array(DEFAULT_PITCH_MM)), 1).astype(np.int64)
    if digitisation is not None:
        first, cells, pitch = _segmentation(digitisation, identifier, -2 * first)
    else:
        pitch = -2 * first / cells
    volume, layer, _ = unpack_identifier(identifier)
    thickness = table.get("module_t", np.full(len(identifier), 0.15))
    modules = Modules(
        identifier, volume, layer, np.stack([table[f"c{axis}"] for axis in "xyz"], axis=1), axes, half_u, half_v, thickness,
        first, pitch, cells, np.zeros(len(identifier)),
    )  # fmt: skip
    return _with_material(geometry.stem, modules, field, material)


def _with_material(
    name: str, modules: Modules, field: float, material: Mapping[int, float] | None
) -> TrackingDetector:
    known = generic_detector()
    same = len(modules) == len(known.modules) and np.array_equal(modules.identifier, known.modules.identifier)
    if same and np.allclose(modules.centre, known.modules.centre, atol=1e-2) and material is None:
        values = known.modules.material
    else:
        values = (modules.thickness + SUPPORT_MM) / SILICON_X0_MM
        for volume, value in (material or {}).items():
            values = np.where(modules.volume == volume, value, values)
    changed = Modules(**vars(modules) | {"material": values})
    return TrackingDetector(
        name, changed, field, known.passive if same else (), energy_loss=ACTS_ENERGY_LOSS if same else 1.0
    )


def _read_table(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a CSV file of numbers."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            names = [name.strip() for name in next(reader, [])]
            lines = list(reader)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text: {error.reason} at byte {error.start}") from error
    needed = {f"{name}_id" for name in ("volume", "layer", "module")} | {f"c{axis}" for axis in "xyz"}
    needed |= {f"rot_{axis}{side}" for axis in "xyz" for side in "uvw"}
    if missing := sorted(needed - set(names)):
        raise DataError(
            f"{path} has no column {missing[0]}: it is not a geometry of ACTS or TrackML (detectors.csv)"
        )
    for number, line in enumerate(lines, 2):
        if len(line) != len(names):
            raise DataError(f"{path}, line {number}: {len(line)} fields, and the header has {len(names)}")
    columns = {}
    for name, values in zip(names, zip(*lines, strict=True) if lines else [()] * len(names), strict=True):
        try:
            columns[name] = np.array(values, np.float64)
        except ValueError:
            if name in needed:
                row = next(i for i, value in enumerate(values, 2) if not _is_number(value))
                raise DataError(f"{path}, line {row}: {name} is {values[row - 2]!r}, not a number") from None
    return columns


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _bounds(table: Mapping[str, np.ndarray], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the half-widths at both ends and the half-lengths."""
    if "module_minhu" in table:  # TrackML
        half_u = np.stack([table["module_minhu"], table["module_maxhu"]], axis=1)
        return half_u, table["module_hv"]
    kind = table["bounds_type"]
    bound = [table[f"bound_param{i}"] for i in range(4)]
    if (other := ~np.isin(kind, (RECTANGLE, TRAPEZOID))).any():
        raise DataError(
            f"{path}: bounds_type {kind[other][0]:g} of a module is neither a rectangle ({RECTANGLE}) nor a trapezoid ({TRAPEZOID})"
        )
    rectangle = kind == RECTANGLE
    half_u = np.stack(
        [np.where(rectangle, bound[2], bound[0]), np.where(rectangle, bound[2], bound[1])], axis=1
    )
    return half_u, np.where(rectangle, bound[3], bound[2])


def _segmentation(
    path: Path, identifier: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the first corner, the cells and the pitch of every module; the most specific entry counts.

    Strips may be divided across them only: along them, a module of `size` is one cell.
    """
    known: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for entry, bins in _entries(path):
        place = tuple(int(entry.get(key, 0)) for key in KEYS)
        names = [one.get("value", CARTESIAN[axis % 2]) for axis, one in enumerate(bins)]
        if not 1 <= len(bins) <= 2 or names not in (list(CARTESIAN), *([one] for one in CARTESIAN)):
            raise DataError(
                f"{path} divides the modules of {_place_name(place)} along {', '.join(names) or 'nothing'}: only cells along {' and '.join(CARTESIAN)}, or "
                "strips along one of them, can be read"
            )
        low, high, cells = np.full(2, np.nan), np.full(2, np.nan), np.ones(2, np.int64)
        for name, one in zip(names, bins, strict=True):
            axis = CARTESIAN.index(name)
            low[axis], high[axis], cells[axis] = one["min"], one["max"], one["bins"]
        known[place] = low, cells, (high - low) / cells
    found = []
    for volume, layer, module in zip(*(part.tolist() for part in unpack_identifier(identifier)), strict=True):
        for place in ((volume, layer, module), (volume, layer, 0), (volume, 0, 0), (0, 0, 0)):
            if place in known:
                found.append(known[place])
                break
        else:
            raise DataError(f"{path} says nothing about module {module} of layer {layer} in volume {volume}")
    first, cells, pitch = (np.stack(part) for part in zip(*found, strict=True))
    whole = np.isnan(pitch)
    return np.where(whole, -size / 2, first), cells, np.where(whole, size, pitch)


def _place_name(place: tuple[int, ...]) -> str:
    """Return where an entry of a digitisation applies, in words."""
    return (
        ", ".join(f"{key} {value}" for key, value in zip(KEYS, place, strict=True) if value) or "all volumes"
    )


def write_detector(detector: TrackingDetector, geometry: Path, digitisation: Path) -> None:
    """Write the modules of a detector as `detectors.csv` and their cells as a geometric digitisation, as ACTS does; matter and field are not in them."""
    modules = detector.modules
    parts = unpack_identifier(modules.identifier)
    trapezoid = modules.half_u[:, 0] != modules.half_u[:, 1]
    low, high = modules.half_u.T
    bounds = np.where(
        trapezoid, [low, high, modules.half_v, 0 * low], [-low, -modules.half_v, high, modules.half_v]
    )
    columns: dict[str, np.ndarray] = {"geometry_id": modules.identifier}
    columns |= dict(zip(("volume_id", "layer_id", "module_id"), parts, strict=True))
    columns |= {f"c{axis}": modules.centre[:, k] for k, axis in enumerate("xyz")}
    columns |= {
        f"rot_{axis}{side}": modules.axes[:, j, k]
        for k, axis in enumerate("xyz")
        for j, side in enumerate("uvw")
    }
    columns["bounds_type"] = np.where(trapezoid, TRAPEZOID, RECTANGLE)
    columns |= {f"bound_param{k}": values for k, values in enumerate(bounds)}
    columns["module_t"] = modules.thickness
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    write_text(geometry, "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")
    write_text(digitisation, json.dumps(digitisation_of(modules), indent=1) + "\n")


def _entries(path: Path) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        for entry in document["entries"]:
            yield entry, entry["value"]["geometric"]["segmentation"]["binningdata"]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not a geometric digitisation of ACTS: {type(error).__name__} {error}"
        ) from error


def digitisation_of(modules: Modules) -> dict[str, object]:
    """Return the cells of modules as a geometric digitisation of ACTS: an entry for each layer, or for each module where they differ."""
    parts = unpack_identifier(modules.identifier)
    cells = np.concatenate(
        [modules.first, modules.first + modules.cells * modules.pitch, modules.cells], axis=1
    )
    entries = []
    for volume, layer in np.unique(np.stack(parts[:2], axis=1), axis=0).tolist():
        own = np.flatnonzero((parts[0] == volume) & (parts[1] == layer))
        place = {"volume": volume, "layer": layer}
        same = (cells[own] == cells[own[0]]).all()
        for row in own[:1] if same else own:
            axes = [
                {"bins": int(cells[row, 4 + k]), "min": cells[row, k], "max": cells[row, 2 + k], "option": "open", "type": "equidistant", "value": name}
                for k, name in enumerate(CARTESIAN)
            ]  # fmt: skip
            module = {} if same else {"sensitive": int(parts[2][row])}
            value = {
                "digital": False, "indices": [0, 1], "segmentation": {"binningdata": axes}, "thickness": float(modules.thickness[row]), "threshold": 0.0,
                "charge-smearing": {"mean": 0.0, "stddev": CHARGE_SPREAD, "type": "Gauss"},
            }  # fmt: skip
            entries.append(place | module | {"value": {"geometric": value}})
    header = {"format-version": 0, "value-identifier": "digitization-configuration"}
    return {"acts-geometry-hierarchy-map": header, "entries": entries}
