"""Calling compiled models from Python."""

from quickbeam.native.call.kernel import open_kernel
from quickbeam.native.call.seam import Kernel

__all__ = ["Kernel", "open_kernel"]
