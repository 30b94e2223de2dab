"""The compiler: from a model to C for this host's processor."""

from tamis.native.compiler import (
    CompiledModel,
    Pipeline,
    compile_model,
    example_event,
    may_hold,
    standard_pipeline,
)
from tamis.native.emission import Module, Ways
from tamis.native.listing import listing
from tamis.native.targets import Target

__all__ = [
    "CompiledModel",
    "Module",
    "Pipeline",
    "Target",
    "Ways",
    "compile_model",
    "example_event",
    "listing",
    "may_hold",
    "standard_pipeline",
]
