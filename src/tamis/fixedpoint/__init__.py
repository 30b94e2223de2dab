"""Fixed point: formats as HLS defines them, and the exact integer part of a quantised model, its ranges and its emulation."""

from tamis.fixedpoint.count import count_program
from tamis.fixedpoint.count_graph import count_model
from tamis.fixedpoint.emulate import FixedPointArray, emulate
from tamis.fixedpoint.formats import OVERFLOWS, ROUNDINGS, FixedFormat
from tamis.fixedpoint.grids import FixedGrid, fraction_bits, grids
from tamis.fixedpoint.liveness import live_elements
from tamis.fixedpoint.program import FixedProgram, ProgramInput, Rounding, Step
from tamis.fixedpoint.translate import INPUT_LAYER, QuantisedGraph, TranslatedNode, split_graph

__all__ = [
    "INPUT_LAYER",
    "OVERFLOWS",
    "ROUNDINGS",
    "FixedFormat",
    "FixedGrid",
    "FixedPointArray",
    "FixedProgram",
    "ProgramInput",
    "QuantisedGraph",
    "Rounding",
    "Step",
    "TranslatedNode",
    "count_model",
    "count_program",
    "emulate",
    "fraction_bits",
    "grids",
    "live_elements",
    "split_graph",
]
