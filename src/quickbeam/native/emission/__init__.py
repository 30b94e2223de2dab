"""From statements to C."""

from quickbeam.native.emission.mode import Target
from quickbeam.native.emission.module import Module, Ways, emit

__all__ = ["Module", "Target", "Ways", "emit"]
