"""The packaged model: a directory with the ONNX graph, a typed manifest, golden inputs and outputs."""

from tamis.bundle.choose_golden import precision_of
from tamis.bundle.golden import Golden
from tamis.bundle.manifest import Cost, FileEntry, Manifest, Parent, Rewrite, WorkingPoint
from tamis.bundle.pack import Packed, pack
from tamis.bundle.reference import Reference, evaluate
from tamis.bundle.sample import draw_inputs, free_sizes, inner_dims, parse_dims, read_samples, rows_of
from tamis.bundle.signature import BATCH, Input, Output, Signature, Tensor, Tolerance, contiguous
from tamis.bundle.store import (
    BUNDLE_GROUP,
    FIRMWARE_FILE,
    Bundle,
    add_texts,
    check_target,
    locate,
    with_working_points,
    write_bundle,
)
from tamis.bundle.working_points import (
    BACKGROUND_ABOVE_MIN,
    background_point,
    decision_flips,
    parse_working_points,
    threshold_point,
    wilson,
)

__all__ = [
    "BACKGROUND_ABOVE_MIN",
    "BATCH",
    "BUNDLE_GROUP",
    "FIRMWARE_FILE",
    "Bundle",
    "Cost",
    "FileEntry",
    "Golden",
    "Input",
    "Manifest",
    "Output",
    "Packed",
    "Parent",
    "Reference",
    "Rewrite",
    "Signature",
    "Tensor",
    "Tolerance",
    "WorkingPoint",
    "add_texts",
    "background_point",
    "check_target",
    "contiguous",
    "decision_flips",
    "draw_inputs",
    "evaluate",
    "free_sizes",
    "inner_dims",
    "locate",
    "pack",
    "parse_dims",
    "parse_working_points",
    "precision_of",
    "read_samples",
    "rows_of",
    "threshold_point",
    "wilson",
    "with_working_points",
    "write_bundle",
]
