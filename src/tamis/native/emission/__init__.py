"""From statements to C."""

from tamis.native.emission.mode import Target
from tamis.native.emission.module import Module, Ways, emit

__all__ = ["Module", "Target", "Ways", "emit"]
