"""Calling compiled models from Python."""

from tamis.native.call.kernel import open_kernel
from tamis.native.call.seam import Kernel

__all__ = ["Kernel", "open_kernel"]
