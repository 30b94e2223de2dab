"""Passes over programs: each takes one and returns another that does the same."""

from quickbeam.native.passes.forward import forward
from quickbeam.native.passes.fuse_finish import fuse_finish
from quickbeam.native.passes.fuse_gate import fuse_gate
from quickbeam.native.passes.fuse_multiply import fuse_multiply
from quickbeam.native.passes.hoist import hoist
from quickbeam.native.passes.hold import hold
from quickbeam.native.passes.pair import pair
from quickbeam.native.passes.round_weights import round_weights
from quickbeam.native.passes.side_by_side import side_by_side
from quickbeam.native.passes.winograd import winograd

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
