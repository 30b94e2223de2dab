"""Silicon detectors: modules in space, their layers, and readers of other people's descriptions."""

from tamis.events.detector.acts_files import read_detector
from tamis.events.detector.cells import CELL_COLUMNS, SiliconCells, sort_cells
from tamis.events.detector.field import FieldMap, constant_map, read_field_map, write_field_map
from tamis.events.detector.generic import generic_detector
from tamis.events.detector.layers import BARREL, DISK, DetectorLayer, PassiveSurface, find_layers
from tamis.events.detector.modules import Modules, TrackingDetector
from tamis.events.detector.solenoid import solenoid_field

__all__ = [
    "BARREL",
    "CELL_COLUMNS",
    "DISK",
    "DetectorLayer",
    "FieldMap",
    "Modules",
    "PassiveSurface",
    "SiliconCells",
    "TrackingDetector",
    "constant_map",
    "find_layers",
    "generic_detector",
    "read_detector",
    "read_field_map",
    "solenoid_field",
    "sort_cells",
    "write_field_map",
]
