"""Passes: each rewrites a program into an equivalent one. Their order is `tamis.native.compiler.standard_pipeline`."""

from tamis.native.passes.base import Pass, ProgramCondition, run_passes, verifying
from tamis.native.passes.forward import ForwardTemporaries
from tamis.native.passes.fuse_finish import FuseFinish
from tamis.native.passes.fuse_gate import FuseGate
from tamis.native.passes.fuse_multiply import FuseMultiplyAdd
from tamis.native.passes.hoist import HoistContractions
from tamis.native.passes.hold import HoldProducts
from tamis.native.passes.pair import PairReductions
from tamis.native.passes.particle_major import ParticleMajor
from tamis.native.passes.round_weights import RoundWeights
from tamis.native.passes.side_by_side import SplitShortRows
from tamis.native.passes.split_gathered import SplitGathered
from tamis.native.passes.winograd import Winograd

__all__ = [
    "ForwardTemporaries",
    "FuseFinish",
    "FuseGate",
    "FuseMultiplyAdd",
    "HoistContractions",
    "HoldProducts",
    "PairReductions",
    "ParticleMajor",
    "Pass",
    "ProgramCondition",
    "RoundWeights",
    "SplitGathered",
    "SplitShortRows",
    "Winograd",
    "run_passes",
    "verifying",
]
