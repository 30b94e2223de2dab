"""The compiler: from a model to C for the processor at hand."""

from quickbeam.native.compiler import Compiled, compile_model
from quickbeam.native.emission import Module, Target, Ways
from quickbeam.native.example import example_event
from quickbeam.native.listing import listing

__all__ = ["Compiled", "Module", "Target", "Ways", "compile_model", "example_event", "listing"]
