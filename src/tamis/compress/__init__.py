"""Cheaper models: pruning, quantisation and retraining of a bundle, judged by its decisions. Only `compress` imports torch."""

from tamis.compress.entry import compress
from tamis.compress.options import COSTS, WEIGHT_GROUPS, CompressOptions

__all__ = ["COSTS", "WEIGHT_GROUPS", "CompressOptions", "compress"]
