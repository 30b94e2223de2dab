"""The compiler: from a model to C for the processor at hand."""

from tamis.native.compiler import Compiled, compile_model
from tamis.native.emission import Module, Target, Ways
from tamis.native.example import example_event
from tamis.native.listing import listing

__all__ = ["Compiled", "Module", "Target", "Ways", "compile_model", "example_event", "listing"]
