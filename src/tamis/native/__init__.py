"""The compiler: from a model to C for this host's processor."""

from tamis.native.compiler import Compiled, compile_model
from tamis.native.emission import Module, Ways
from tamis.native.example import example_event
from tamis.native.listing import listing
from tamis.native.targets import Target

__all__ = ["Compiled", "Module", "Target", "Ways", "compile_model", "example_event", "listing"]
