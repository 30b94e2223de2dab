"""Silicon detectors: modules in space, their layers, and readers of other people's descriptions."""

from tamis.events.detector.acts_files import DetectorFiles, read_detector, write_detector
from tamis.events.detector.cells import CELL_COLUMNS, SiliconCells, sort_cells
from tamis.events.detector.field import FieldMap, constant_map, read_field_map, write_field_map
from tamis.events.detector.generic import generic_detector
from tamis.events.detector.layers import BARREL, DISK, DetectorLayer, PassiveSurface, find_layers
from tamis.events.detector.modules import Modules, TrackingDetector
from tamis.events.detector.solenoid import solenoid_field
from tamis.events.detector.stereo import strip_detector
from tamis.events.detector.strips import StripPairs, find_strip_pairs, pair_layers, stereo_angles

__all__ = [
    "BARREL",
    "CELL_COLUMNS",
    "DISK",
    "DetectorFiles",
    "DetectorLayer",
    "FieldMap",
    "Modules",
    "PassiveSurface",
    "SiliconCells",
    "StripPairs",
    "TrackingDetector",
    "constant_map",
    "find_layers",
    "find_strip_pairs",
    "generic_detector",
    "pair_layers",
    "read_detector",
    "read_field_map",
    "solenoid_field",
    "sort_cells",
    "stereo_angles",
    "strip_detector",
    "write_detector",
    "write_field_map",
]
