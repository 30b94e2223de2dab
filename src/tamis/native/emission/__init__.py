"""From statements to C."""

from tamis.native.emission.module import Module, Ways, emit

__all__ = ["Module", "Ways", "emit"]
