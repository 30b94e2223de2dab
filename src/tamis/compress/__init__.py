"""Cheaper models: pruning, quantisation and retraining of a bundle, or a small student of it, judged by decisions.

Importing it takes no torch.
"""

from tamis.compress.distillation.options import STUDENT_FAMILIES, STUDENT_LOSSES, DistilOptions
from tamis.compress.entry import compress, compress_front, distil, to_trees
from tamis.compress.options import COSTS, FRONT_POINTS, WEIGHT_GROUPS, CompressOptions
from tamis.compress.trees.options import TreeOptions

__all__ = [
    "COSTS",
    "FRONT_POINTS",
    "STUDENT_FAMILIES",
    "STUDENT_LOSSES",
    "WEIGHT_GROUPS",
    "CompressOptions",
    "DistilOptions",
    "TreeOptions",
    "compress",
    "compress_front",
    "distil",
    "to_trees",
]
