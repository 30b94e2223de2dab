"""Cheaper models: pruning, quantisation and retraining of a bundle, or a small student of it, judged by decisions.

Importing it takes no torch.
"""

from tamis.compress.distillation.options import STUDENT_FAMILIES, STUDENT_LOSSES, DistilOptions
from tamis.compress.entry import compress, compress_front, distil, quantise_trees, to_trees
from tamis.compress.options import COSTS, FRONT_POINTS, WEIGHT_GROUPS, CompressOptions
from tamis.compress.trees.options import ForestOptions, TreeOptions

__all__ = [
    "COSTS",
    "FRONT_POINTS",
    "STUDENT_FAMILIES",
    "STUDENT_LOSSES",
    "WEIGHT_GROUPS",
    "CompressOptions",
    "DistilOptions",
    "ForestOptions",
    "TreeOptions",
    "compress",
    "compress_front",
    "distil",
    "quantise_trees",
    "to_trees",
]
