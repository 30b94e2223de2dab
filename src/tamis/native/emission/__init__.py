"""From statements to C."""

from tamis.native.emission.memory import Blob
from tamis.native.emission.module import Module, Ways, emit

__all__ = ["Blob", "Module", "Ways", "emit"]
