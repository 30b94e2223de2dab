"""The compiler: from a model to C for this host's processor."""

from tamis.native.compiler import CompiledModel, Pipeline, compile_model, standard_pipeline
from tamis.native.emission import Module, Target, Ways
from tamis.native.example import example_event
from tamis.native.listing import listing

__all__ = [
    "CompiledModel",
    "Module",
    "Pipeline",
    "Target",
    "Ways",
    "compile_model",
    "example_event",
    "listing",
    "standard_pipeline",
]
