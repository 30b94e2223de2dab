"""Passes over programs: each takes one and returns another that does the same."""

from tamis.native.passes.forward import forward
from tamis.native.passes.fuse_finish import fuse_finish
from tamis.native.passes.fuse_gate import fuse_gate
from tamis.native.passes.fuse_multiply import fuse_multiply
from tamis.native.passes.hoist import hoist
from tamis.native.passes.hold import hold
from tamis.native.passes.pair import pair
from tamis.native.passes.round_weights import round_weights
from tamis.native.passes.side_by_side import side_by_side
from tamis.native.passes.winograd import winograd

__all__ = [
    "forward",
    "fuse_finish",
    "fuse_gate",
    "fuse_multiply",
    "hoist",
    "hold",
    "pair",
    "round_weights",
    "side_by_side",
    "winograd",
]
